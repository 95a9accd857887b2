"""`make up` and `make down`, before the container engine is asked for anything."""

from collections.abc import Callable
from pathlib import Path

import pytest

from garant_local import compose
from garant_local.settings import lock_data, prepare_data, read_settings


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GARANT_DATA", str(tmp_path))
    (tmp_path / "run.env").write_text("A=1\n")
    return tmp_path


@pytest.mark.parametrize("command", [compose.up, compose.down])
def test_without_an_engine_there_is_one_clear_line(
    command: Callable[[], int], data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(compose, "DOCKER", str(data / "no-docker"))

    assert command() == 1
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "no container engine answers" in told


@pytest.mark.parametrize("command", [compose.up, compose.down])
def test_what_make_run_has_started_is_left_alone(
    command: Callable[[], int], data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = read_settings({"GARANT_DATA": str(data)})
    prepare_data(settings)
    with lock_data(settings):
        assert command() == 2

    assert "another run uses the data folder" in capsys.readouterr().err
    assert (data / "run.env").exists()
