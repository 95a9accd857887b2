"""Gateways from outside of the tree: the example of docs/gateways.md at work, and what is refused at the start."""

import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

import payments.main
from common.db import Database
from common.internal import InternalClient
from payments.adapters.gateway_plugins import Host, PluginError, load_gateways
from payments.adapters.tron_gateway import TronGateway
from payments.domain.model import WalletRoot
from payments.settings import PaymentsSettings
from support.cashier import Cashier, usual_chain, wallet
from support.chain import USDT as CONTRACT
from support.chain import SandboxNode, address_of, new_key
from support.customer import FAKE, rich, token_owner
from support.house import GATEWAYS, TRX, USDT, House, Plugged, build_house, nothing
from support.plugins import install, install_example
from support.servers import Databases

ALL = (*GATEWAYS, "tron_fusd")
ONE = """
from payments.domain.model import GatewayInfo

def gateways(host):
    return [host.tron(GatewayInfo("{id}", "Any", "{network}", "{currency}"), "{asset}")]
"""


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder where packages are installed for this test."""
    monkeypatch.syspath_prepend(tmp_path)
    known = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - known:
        if name.startswith("garant_"):
            del sys.modules[name]


@pytest.fixture
def example(outside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_example(outside)
    monkeypatch.setenv("FUSD_CONTRACT", FAKE)


async def opened(databases: Databases, node: SandboxNode, plugged: Plugged) -> AsyncIterator[Cashier]:
    async with usual_chain(node), build_house(databases, node.url, plugged) as house:
        yield Cashier(house, node)


@pytest.fixture
async def cashier(migrated: Databases, tron_node: SandboxNode, example: None) -> AsyncIterator[Cashier]:
    async for found in opened(migrated, tron_node, Plugged(ALL, {"FUSD": FAKE})):
        yield found


@pytest.fixture
async def unsigned(migrated: Databases, tron_node: SandboxNode, example: None) -> AsyncIterator[Cashier]:
    """Payments knows FUSD, and the signer does not."""
    async for found in opened(migrated, tron_node, Plugged(ALL)):
        yield found


async def balances(cashier: Cashier, user: int) -> list[str]:
    return [await cashier.house.balance(user, currency=code) for code in ("FUSD", "USDT", "TRX")]


async def test_the_example_of_the_page_takes_credits_and_sweeps_a_payment(cashier: Cashier) -> None:
    alice = await cashier.open()
    payment = await cashier.ask(alice, "40", "tron_fusd")
    listed = (await cashier.house.call("payments", "GET", "/payment/gateways")).json()

    await token_owner(cashier.node).pay(wallet(payment), 40 * USDT, FAKE)
    await cashier.credit()
    await cashier.sweep()

    assert [gateway["id"] for gateway in listed] == list(ALL)
    assert listed[-1]["currencies"] == ["FUSD"]
    assert payment["gateway_data"]["token_contract"] == FAKE
    assert await cashier.arrived(payment) == [("exact", "40.000000", "FUSD")]
    assert (await cashier.read(payment))["status"] == "success"
    assert await balances(cashier, alice) == ["40.000000", "0.000000", "0.000000"]
    assert await cashier.chain_balance(wallet(payment), "tron_fusd") == 0
    assert await cashier.chain_balance(cashier.gateway().main_address, "tron_fusd") == 40 * USDT
    await cashier.prove()


async def test_two_tokens_in_one_wallet_are_swept_one_after_the_other(cashier: Cashier) -> None:
    alice = await cashier.open()
    payment = await cashier.ask(alice)
    customer = await rich(cashier.node)

    await token_owner(cashier.node).pay(wallet(payment), 40 * USDT, FAKE)
    await customer.pay(wallet(payment), 30 * USDT)
    await cashier.credit()
    await cashier.sweep()

    assert sorted(await cashier.arrived(payment)) == [
        ("exact", "30.000000", "USDT"),
        ("other_currency", "40.000000", "FUSD"),
    ]
    assert await balances(cashier, alice) == ["40.000000", "30.000000", "0.000000"]
    states = await cashier.rows("SELECT DISTINCT state FROM outgoing")
    assert states == [("succeeded",)], "neither burned what the other was given"
    await cashier.prove()


async def test_what_the_signer_does_not_know_is_credited_and_its_sweep_says_why(unsigned: Cashier) -> None:
    cashier = unsigned
    alice = await cashier.open()
    payment = await cashier.ask(alice, "40", "tron_fusd")
    await cashier.stake(20_000 * TRX)

    await token_owner(cashier.node).pay(wallet(payment), 40 * USDT, FAKE)
    await cashier.credit()
    for _ in range(3):  # fuel, a loan, and the refusal
        await cashier.step()
    error = (await cashier.rows("SELECT last_error FROM sweep"))[0][0]
    await cashier.step()

    assert await balances(cashier, alice) == ["40.000000", "0.000000", "0.000000"]
    assert "SIGNER_ASSETS" in error
    assert await cashier.lent(wallet(payment)) == 0
    await cashier.prove()


def host() -> Host:
    root = WalletRoot("", address_of(new_key()), address_of(new_key()))

    def on_tron(info: object, asset: str) -> TronGateway:
        return TronGateway(info, asset, None, None, root.main_address, root.fuel_address)  # type: ignore[arg-type]

    return Host({}, on_tron)


def one(gateway_id: str = "new", network: str = "tron", currency: str = "NEW", asset: str = "TX") -> str:
    return ONE.format(id=gateway_id, network=network, currency=currency, asset=asset)


@pytest.mark.parametrize(
    ("module", "said"),
    [
        (
            "raise RuntimeError('out of order')",
            "whose plugin garant_bad:gateways failed: RuntimeError: out of order",
        ),
        ("def gateways(host): return 1 / 0", "ZeroDivisionError"),
        ("def gateways(host): return None", "TypeError"),
        ("def gateways(host): return ['USDT']", "AttributeError"),
        ("", "AttributeError"),
        (one(gateway_id="tron_usdt"), "the id of tron_usdt"),
        (one(asset=CONTRACT), "the asset of tron_usdt"),
        (one(currency="USDT"), "the currency of tron_usdt"),
        (one(gateway_id="Tron-New"), "'Tron-New' is no id of a gateway"),
        (one(currency="usd"), "'usd' is no currency of a gateway"),
        (one(network="tron:main"), "'tron:main' is no network of a gateway"),
        (one(asset=""), "'' is no asset of a gateway"),
    ],
)
def test_a_plugin_that_cannot_be_used_is_refused_by_name(outside: Path, module: str, said: str) -> None:
    install(outside, "garant_bad", module, {"bad": "garant_bad:gateways"})

    with pytest.raises(PluginError) as refused:
        load_gateways(host(), ["tron_usdt", "bad"])

    assert str(refused.value).startswith("GATEWAYS names 'bad', whose ")
    assert said in str(refused.value)


def test_two_packages_with_one_name_are_refused(outside: Path) -> None:
    for name in ("garant_first", "garant_second"):
        install(outside, name, one(), {"both": f"{name}:gateways"})

    with pytest.raises(PluginError, match="GATEWAYS names 'both', which is in several packages: garant_first"):
        load_gateways(host(), ["both"])


def test_one_currency_on_two_networks_is_two_gateways(outside: Path) -> None:
    install(outside, "garant_far", one(network="far", currency="USDT"), {"far": "garant_far:gateways"})

    assert list(load_gateways(host(), ["tron_usdt", "far"])) == ["tron_usdt", "new"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"gateways": "tron_usdt,paypal"}, "GATEWAYS names 'paypal', which no installed package gives; installed"),
        ({"gateways": ""}, "GATEWAYS names ''"),
        ({"gateways": "tron_usdt,tron_usdt"}, "GATEWAYS names 'tron_usdt', whose gateway tron_usdt has the id of"),
        ({"gateways": "tron_fusd"}, "FUSD_CONTRACT is missing"),
        ({"gateways": "tron_fusd", "contract": "banana"}, "'banana' is no contract on Tron"),
        ({"gateways": "tron_fusd", "contract": FAKE}, "the setting CURRENCIES must name FUSD"),
        ({"gateways": "tron_fusd", "contract": FAKE, "currencies": "FUSD:6"}, "SWEEP_THRESHOLDS must name FUSD"),
    ],
)
async def test_what_is_wrong_ends_the_start_and_names_the_setting(
    change: dict[str, str],
    said: str,
    paying_house: House,
    outside: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    install_example(outside)
    if "contract" in change:
        monkeypatch.setenv("FUSD_CONTRACT", change.pop("contract"))
    given = {
        "payments_database_url": paying_house.databases.url("payments"),
        "service_credential": "x" * 20,
        "service_callers": {},
        "signer_credential": "x" * 20,
    }
    settings = PaymentsSettings(**given, **change)  # type: ignore[arg-type]  # as texts, like the environment's
    assert paying_house.signing is not None
    assert paying_house.parts is not None
    known: tuple[Database, WalletRoot] = (paying_house.parts.database, paying_house.signing.stored.root)
    client = InternalClient("http://accounts", "x" * 20)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(client.close)
        told: Callable[[], None] = nothing

        with pytest.raises(SystemExit) as ended:
            payments.main.build_parts(settings, stack, client, told, known)

    assert ended.value.code == 2
    assert said in capsys.readouterr().err
