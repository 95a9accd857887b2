"""Tron's addresses in base58check: `T…`, 34 characters, 21 bytes beginning with 0x41."""

from tronpy.keys import is_base58check_address

LENGTH = 34
ZERO = "T9yD14Nj9j7xAB4dbGeiX9h8unkKHxuWwb"
"""Nobody's: what is sent there is gone."""


def is_tron_address(text: str) -> bool:
    """Tell whether a text is somebody's address, with the right checksum."""
    try:
        return len(text) == LENGTH and text != ZERO and is_base58check_address(text)
    except ValueError:
        return False
