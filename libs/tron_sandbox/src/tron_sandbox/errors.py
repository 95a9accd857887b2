"""Why a transaction is not carried out.

Exception
├── ValueError
│   ├── ContractError    java-tron's ContractValidateException
│   └── BandwidthError   java-tron's AccountResourceInsufficientException
└── Refused              what a broadcast answers: a code and a text
"""


class ContractError(ValueError):
    """java-tron's ContractValidateException; the text is its message."""


class BandwidthError(ValueError):
    """Neither bandwidth nor TRX to burn for it."""


class Refused(Exception):
    """A broadcast that java-tron refuses: the code and its text."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text
