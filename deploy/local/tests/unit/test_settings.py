"""The settings of `make run`: each error is one line that names the variable."""

import socket
from pathlib import Path

import pytest

from garant_local.secrets import load_secrets, write_private
from garant_local.settings import PORTS, SettingError, check_ports, lock_data, prepare_data, read_settings
from support.servers import free_ports


def test_the_defaults_are_those_of_the_contract() -> None:
    settings = read_settings({})

    assert (settings.ports["gateway"], settings.ports["tron"]) == (8000, 9090)
    assert settings.data.name == ".garant"


@pytest.mark.parametrize("variable", [variable for variable, _ in PORTS.values()])
@pytest.mark.parametrize("value", ["banana", "0", "-1", "65536", "8000.5", " ", "٨٠٠٠"])
def test_a_port_that_is_none_names_its_variable(variable: str, value: str) -> None:
    with pytest.raises(SettingError, match=variable):
        read_settings({variable: value})


def test_two_equal_ports_name_both_variables() -> None:
    with pytest.raises(SettingError, match=r"DEALS_PORT.*ACCOUNTS_PORT"):
        read_settings({"ACCOUNTS_PORT": "7000", "DEALS_PORT": "7000"})


@pytest.mark.parametrize(("process", "variable"), [(p, v) for p, (v, _) in PORTS.items()])
def test_a_taken_port_names_the_port_and_the_variable(process: str, variable: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        # The others are free, also beside a running system on the default ports.
        ports = map(str, free_ports(len(PORTS)))
        free = {other: next(ports) for other, _ in PORTS.values()}
        with pytest.raises(SettingError, match=f"port {port} .*{variable}"):
            check_ports(read_settings(free | {variable: str(port)}))


def test_a_data_folder_that_cannot_be_made_names_the_variable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingError, match="GARANT_DATA"):
        prepare_data(read_settings({"GARANT_DATA": str(tmp_path / "file" / "below")}))


def test_a_data_folder_in_use_names_the_variable(tmp_path: Path) -> None:
    settings = read_settings({"GARANT_DATA": str(tmp_path)})
    with lock_data(settings), pytest.raises(SettingError, match=r"another run .*GARANT_DATA"):
        lock_data(settings)
    lock_data(settings).close()


def test_secrets_are_made_once_and_readable_by_us_alone(tmp_path: Path) -> None:
    first = load_secrets(tmp_path)

    assert load_secrets(tmp_path) == first
    assert (tmp_path / "secrets.json").stat().st_mode & 0o777 == 0o600
    write_private(tmp_path / "run.env", "A=1\n")
    assert (tmp_path / "run.env").stat().st_mode & 0o777 == 0o600
