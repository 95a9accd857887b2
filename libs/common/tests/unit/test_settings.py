"""A broken setting is one clear line that names the variable, and exit code 2."""

from pathlib import Path

import pytest

from common.settings import ServiceSettings, load


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("CURRENCIES", "banana"),
        ("SENTRY_DSN", "banana"),
        ("LISTEN_ADDRESS", "banana"),
        ("LOG_JSON", "banana"),
        ("SERVICE_CREDENTIAL", "short"),
        ("SERVICE_CALLERS", '{"deals": "short"}'),
        ("SERVICE_CALLERS", "{"),
    ],
)
def test_a_broken_setting_is_named(
    variable: str, value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SERVICE_CREDENTIAL", "x" * 20)
    monkeypatch.setenv("SERVICE_CALLERS", "{}")
    monkeypatch.setenv(variable, value)

    with pytest.raises(SystemExit) as ended:
        load(ServiceSettings)

    told = capsys.readouterr().err
    assert ended.value.code == 2
    assert told.count("\n") == 1
    assert variable in told.upper()
    assert "short" not in told or variable.startswith("SERVICE")


def test_a_missing_setting_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("SERVICE_CREDENTIAL", raising=False)
    monkeypatch.setenv("SERVICE_CALLERS", "{}")

    with pytest.raises(SystemExit):
        load(ServiceSettings)

    assert capsys.readouterr().err == "error: the setting SERVICE_CREDENTIAL is not set\n"


def test_a_secret_comes_from_a_file_and_the_environment_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "service_credential").write_text("from-the-file-1234\n")
    (tmp_path / "service_callers").write_text('{"deals": "a-long-enough-secret"}\n')
    (tmp_path / "nats_url").write_text("nats://file:4222")
    monkeypatch.setenv("SECRETS_DIR", str(tmp_path))
    monkeypatch.delenv("SERVICE_CREDENTIAL", raising=False)
    monkeypatch.delenv("SERVICE_CALLERS", raising=False)
    monkeypatch.setenv("NATS_URL", "nats://environment:4222")
    monkeypatch.setenv("SENTRY_DSN", "")  # as a composition writes what is not set

    found = load(ServiceSettings)

    assert found.service_credential == "from-the-file-1234"
    assert found.service_callers == {"deals": "a-long-enough-secret"}
    assert found.nats_url == "nats://environment:4222"
    assert found.sentry_dsn is None


def test_a_folder_of_secrets_that_is_not_there_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SECRETS_DIR", str(tmp_path / "none"))

    with pytest.raises(SystemExit):
        load(ServiceSettings)

    assert capsys.readouterr().err == "error: the setting SECRETS_DIR is not valid: there is no such folder\n"
