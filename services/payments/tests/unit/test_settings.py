"""The settings of payments that would stop all sweeps are refused at the start."""

import pytest

from common.settings import load
from payments.settings import PaymentsSettings


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("SWEEP_THRESHOLD", "0"),
        ("SWEEP_THRESHOLD", "-1"),
        ("SWEEP_THRESHOLD", "NaN"),
        ("SWEEP_THRESHOLD", "banana"),
        ("TRON_MAIN_WALLET", "TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6u"),
        ("TRON_USDT_CONTRACT", "banana"),
        ("PAYMENTS_DATABASE_URL", "sqlite://"),
    ],
)
def test_a_broken_setting_is_named(
    variable: str, value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SERVICE_CREDENTIAL", "x" * 20)
    monkeypatch.setenv("SERVICE_CALLERS", "{}")
    monkeypatch.setenv("PAYMENTS_DATABASE_URL", "postgresql://x")
    monkeypatch.setenv("SIGNER_CREDENTIAL", "x" * 20)
    load(PaymentsSettings)
    monkeypatch.setenv(variable, value)

    with pytest.raises(SystemExit):
        load(PaymentsSettings)

    assert variable in capsys.readouterr().err
