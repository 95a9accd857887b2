"""What a person can set for `make run`; each error names the variable."""

import fcntl
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

ROOT = Path(__file__).parents[4]
"""The repository."""

PORTS = {
    "gateway": ("GATEWAY_PORT", 8000),
    "accounts": ("ACCOUNTS_PORT", 8001),
    "deals": ("DEALS_PORT", 8002),
    "payments": ("PAYMENTS_PORT", 8003),
    "chat": ("CHAT_PORT", 8004),
    "signer": ("SIGNER_PORT", 8005),
    "tron": ("TRON_SANDBOX_PORT", 9090),
    "postgres": ("POSTGRES_PORT", 5433),
    "nats": ("NATS_PORT", 4222),
}


class SettingError(Exception):
    """A setting can't be used; the text is one line that names the variable."""


@dataclass(frozen=True, slots=True)
class LocalSettings:
    """The ports by process and the data folder."""

    ports: Mapping[str, int]
    data: Path

    @property
    def run_env(self) -> Path:
        """The file that tells clients where everything is."""
        return self.data / "run.env"


def read_settings(environment: Mapping[str, str]) -> LocalSettings:
    """Read the settings.

    Raises:
        SettingError: when one is malformed or two ports are the same.
    """
    ports: dict[str, int] = {}
    for process, (variable, default) in PORTS.items():
        text = environment.get(variable, "") or str(default)
        if not (text.isascii() and text.isdecimal()) or not 1 <= int(text) <= 65535:
            raise SettingError(f"{variable}={text!r} is not a port; use a number from 1 to 65535")
        for other, port in ports.items():
            if port == int(text):
                raise SettingError(f"{variable}={text} is the port of {PORTS[other][0]} too")
        ports[process] = int(text)
    return LocalSettings(ports, Path(environment.get("GARANT_DATA") or ROOT / ".garant").absolute())


def check_ports(settings: LocalSettings) -> None:
    """Make sure that every port is free.

    Raises:
        SettingError: naming the port and the variable.
    """
    for process, port in settings.ports.items():
        variable = PORTS[process][0]
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except PermissionError as error:
                raise SettingError(
                    f"port {port} ({variable}) wants more rights; set {variable} above 1023"
                ) from error
            except OSError as error:
                raise SettingError(
                    f"port {port} for {process} is taken; stop what uses it or set {variable}"
                ) from error


def prepare_data(settings: LocalSettings) -> None:
    """Create the data folder.

    Raises:
        SettingError: when it can't be written.
    """
    try:
        settings.data.mkdir(parents=True, exist_ok=True)
        (settings.data / "log").mkdir(mode=0o700, exist_ok=True)
        marker = settings.data / ".garant-data"
        marker.write_text("Garant keeps its data here; `make clean` removes this folder.\n")
        if not os.access(settings.data, os.W_OK | os.X_OK):
            raise PermissionError("not writable")
    except OSError as error:
        reason = error.strerror or str(error)
        raise SettingError(f"the data folder GARANT_DATA={settings.data} can't be written: {reason}") from error


def lock_data(settings: LocalSettings) -> IO[str]:
    """Take the data folder for this process, until the returned file is closed.

    Raises:
        SettingError: when another run has it: two would damage each other's data.
    """
    lock = (settings.data / ".lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.close()
        raise SettingError(
            f"another run uses the data folder GARANT_DATA={settings.data}; stop it or set GARANT_DATA"
        ) from error
    return lock
