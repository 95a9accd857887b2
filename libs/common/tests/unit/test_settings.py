"""A broken setting is one clear line that names the variable, and exit code 2."""

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
