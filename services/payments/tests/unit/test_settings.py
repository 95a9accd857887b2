"""The settings of payments that would stop all sweeps are refused at the start."""

import pytest

from common.settings import load
from payments.main import build_limits
from payments.settings import USDT_MAINNET, PaymentsSettings, SignerSettings


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("SWEEP_THRESHOLDS", '{"USDT": "0"}'),
        ("SWEEP_THRESHOLDS", '{"USDT": "-1"}'),
        ("SWEEP_THRESHOLDS", '{"USDT": "NaN"}'),
        ("SWEEP_THRESHOLDS", '{"USDT": "banana"}'),
        ("TRON_MAIN_WALLET", "TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6u"),
        ("TRON_USDT_CONTRACT", "banana"),
        ("PAYMENTS_DATABASE_URL", "sqlite://"),
        ("TRON_NODE_URL", "node:9090"),
        ("TRON_NODE_URLS", "http://a,banana"),
        ("TRON_NODE_URLS", "http://a,http://a"),
        ("TRON_NODE_KEYS", '{"http://elsewhere": "key"}'),
        ("TRON_NODE_CALLS_PER_S", "0"),
        ("TRON_NODE_CALLS_PER_DAY", "-1"),
        ("TRON_BLOCKS_IN_FLIGHT", "0"),
        ("TRON_STALE_AFTER_S", "1"),
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


@pytest.mark.parametrize(
    ("variables", "nodes"),
    [
        ({}, ("http://127.0.0.1:9090",)),
        ({"TRON_NODE_URL": "http://one"}, ("http://one",)),
        ({"TRON_NODE_URLS": "http://a, https://b/key/"}, ("http://a", "https://b/key/")),
        ({"TRON_NODE_URLS": '["http://a", "http://b"]', "TRON_NODE_URL": "http://one"}, ("http://a", "http://b")),
    ],
)
def test_nodes_are_one_url_or_several(
    variables: dict[str, str], nodes: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    needed = {"SERVICE_CREDENTIAL": "x" * 20, "SIGNER_CREDENTIAL": "x" * 20, "SERVICE_CALLERS": "{}"}
    for name, value in {**needed, "PAYMENTS_DATABASE_URL": "postgresql://x", **variables}.items():
        monkeypatch.setenv(name, value)

    assert load(PaymentsSettings).nodes == nodes


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("SIGNER_PAYOUT_MOST", '{"DOGE": "1"}'),
        ("SIGNER_PAYOUT_PER_DAY", '{"USDT": "0.0000001"}'),
        ("SIGNER_PAYOUT_PER_DAY", '{"USDT": -1}'),
        ("SIGNER_ASSETS", '{"USDC": "banana"}'),
        ("SIGNER_ASSETS", f'{{"USDC": "{USDT_MAINNET}"}}'),
        ("SIGNER_FUEL_PER_HOUR_SUN", "-1"),
        ("SIGNER_REFERENCE_AGE_S", "0"),
        ("SIGNER_ADDRESS", "banana"),
        ("SIGNER_DATABASE_URL", "sqlite://"),
    ],
)
def test_a_broken_setting_of_the_signer_is_named(
    variable: str, value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SERVICE_CALLERS", "{}")
    monkeypatch.setenv("SIGNER_DATABASE_URL", "postgresql://x")
    monkeypatch.setenv("PAYMENTS_SEED_KEY_FILE", "key")
    build_limits(load(SignerSettings))
    monkeypatch.setenv(variable, value)

    with pytest.raises(SystemExit) as ended:
        build_limits(load(SignerSettings))

    assert ended.value.code == 2
    assert variable in capsys.readouterr().err


def test_limits_are_in_smallest_units_and_by_contract(monkeypatch: pytest.MonkeyPatch) -> None:
    other = "TB8hS63CKx92bKwaHkoUChNxoazzS3SFYs"
    for variable, value in {
        "SERVICE_CALLERS": "{}",
        "SIGNER_DATABASE_URL": "postgresql://x",
        "PAYMENTS_SEED_KEY_FILE": "key",
        "CURRENCIES": "USDT:6,USDC:8",
        "SIGNER_ASSETS": f'{{"USDC": "{other}"}}',
        "SIGNER_PAYOUT_MOST": '{"USDC": "0.5", "TRX": "2"}',
    }.items():
        monkeypatch.setenv(variable, value)

    contracts, limits = build_limits(load(SignerSettings))

    assert contracts == [USDT_MAINNET, other]
    assert limits.payout_most == {other: 50_000_000, "TRX": 2_000_000}
