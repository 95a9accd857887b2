"""Payments' database is lost: the words, the ledger and the chain give wallets and deposits back."""

from datetime import timedelta
from typing import Any

import asyncpg
import httpx
import pytest

from payments.adapters.node_pool import ROUNDS
from payments.domain.errors import AddressNotFound, InvalidPayment, NodeUnavailable, UserNotFound
from payments.domain.ports import Gateway
from payments.use_cases.assign_wallet import assign_wallet
from payments.use_cases.check_payments import check_payments
from payments.use_cases.context import Payments
from payments.use_cases.manage_seed import restore_seed
from payments.use_cases.reconcile import ScannerBehind, reconcile
from payments.use_cases.rescan_blocks import rescan_blocks
from payments.use_cases.restore_wallets import Restored, restore_wallets
from payments.use_cases.scan_chain import scan_chain
from support.chain import USDT as CONTRACT
from support.chain import SandboxNode
from support.house import CALLERS, House
from support.signing import SEED_KEY

GAP = 30


def parts_of(house: House) -> Payments:
    assert house.parts is not None
    return house.parts


def gateway_of(house: House) -> Gateway:
    return parts_of(house).gateways["tron_usdt"]


async def begin(house: House, node: SandboxNode) -> tuple[int, int]:
    for address, money in (
        (gateway_of(house).fuel_address, {"trx": "10000"}),
        (gateway_of(house).main_address, {"trx": "1", "usdt": "1"}),
    ):
        await node.admin("faucet", address=address, **money)
    await node.settle()
    await scan_chain(parts_of(house), gateway_of(house))
    return await house.user(1, "Alice"), await house.user(2, "Bob")


async def new_wallet(house: House, user: int) -> str:
    """Create a payment; it waits, so each gets another wallet."""
    body = {"gateway_id": "tron_usdt", "user_id": user, "amount": "30", "currency": "USDT"}
    answer = await house.call("payments", "POST", "/payment", body)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["gateway_data"]["address"])


async def pay(node: SandboxNode, address: str, usdt: str) -> None:
    await node.admin("faucet", address=address, usdt=usdt)
    await node.settle()


async def credit(house: House) -> None:
    await scan_chain(parts_of(house), gateway_of(house))
    await house.deliver()


async def sweep(house: House, node: SandboxNode) -> None:
    for _ in range(4):
        await check_payments(parts_of(house), timedelta())
        await node.settle()
        await scan_chain(parts_of(house), gateway_of(house))
    await check_payments(parts_of(house), timedelta())


async def execute(house: House, statement: str) -> list[Any]:
    connection = await asyncpg.connect(house.databases.owner_url("payments"))
    try:
        return [tuple(row) for row in await connection.fetch(statement)]
    finally:
        await connection.close()


async def lose(house: House) -> None:
    """Leave payments' database as `migrate` makes it."""
    tables = await execute(
        house,
        "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables"
        " WHERE schemaname IN ('public', 'signer') AND tablename <> 'alembic_version'",
    )
    await execute(house, f"TRUNCATE {', '.join(name for (name,) in tables)} RESTART IDENTITY CASCADE")
    await execute(house, "ALTER SEQUENCE wallet_index RESTART")


async def restore(house: House, gap: int = GAP, from_height: int | None = None) -> Restored:
    assert house.signing is not None
    database = house.signing.app.state.signing.database
    await restore_seed(database, house.signing.words, SEED_KEY)
    return await restore_wallets(parts_of(house), gap, from_height, lambda _: None)


async def wrong(house: House) -> dict[str, Any]:
    """Return what payments' proof names."""
    assert house.payments is not None
    headers = {"authorization": f"Bearer {CALLERS['operator']}"}
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(house.payments), base_url="http://test", headers=headers
    ) as client:
        answer = (await client.get("/internal/v1/invariants")).json()
    return {name: items for name, items in answer["violations"].items() if items}


async def test_all_that_was_paid_is_found_again(paying_house: House, tron_node: SandboxNode) -> None:
    house, node = paying_house, tron_node
    alice, bob = await begin(house, node)
    idle, swept, full, bobs = [await new_wallet(house, user) for user in (bob, alice, alice, bob)]
    await pay(node, swept, "30")
    await credit(house)
    await sweep(house, node)
    await pay(node, full, "7")
    await pay(node, bobs, "12.5")
    await credit(house)
    assert [await house.balance(user) for user in (alice, bob)] == ["37.000000", "12.500000"]
    await lose(house)
    await pay(node, full, "0.5")  # while we are away

    found = await restore(house)

    assert found.problems == []
    assert (found.deposits, found.wallets, found.next_index) == (3, 3, 3 + GAP + 1)
    assert found.without_owner == found.next_index - 3
    await house.deliver()
    assert [await house.balance(user) for user in (alice, bob)] == ["37.500000", "12.500000"]
    owners = "SELECT address, user_id, derivation_index, status FROM wallet ORDER BY derivation_index"
    assert await execute(house, owners) == [
        (swept, alice, 1, "transferred"),
        (full, alice, 2, "received"),
        (bobs, bob, 3, "received"),
    ]
    assert await wrong(house) == {}

    # Done again it finds nothing, and what comes now goes the usual way.
    again = await restore(house)
    assert (again.deposits, again.wallets, again.without_owner, again.carried_forward) == (0, 0, 0, 0)
    assert again.next_index == found.next_index
    await pay(node, swept, "5")
    await pay(node, bobs, "1")
    await credit(house)
    await sweep(house, node)
    await house.deliver()
    assert [await house.balance(user) for user in (alice, bob)] == ["42.500000", "13.500000"]
    assert [await gateway_of(house).chain.balance(CONTRACT, a) for a in (swept, bobs)] == [0, 0]
    assert await wrong(house) == {}

    # An old address that never received anything is nobody's; a new one is beyond all that were given out.
    assert await new_wallet(house, bob) == bobs
    fresh = await new_wallet(house, bob)
    (index,) = (await execute(house, f"SELECT derivation_index FROM wallet WHERE address = '{fresh}'"))[0]
    assert index == found.next_index
    (payment,) = (await execute(house, "SELECT min(id) FROM payment"))[0]
    assert payment >= found.next_index
    await the_money_of_an_old_address_waits_for_its_owner(house, node, idle, bob)


async def the_money_of_an_old_address_waits_for_its_owner(
    house: House, node: SandboxNode, address: str, user: int
) -> None:
    await pay(node, address, "3")
    await pay(node, address, "4")
    await credit(house)
    assert await house.balance(user) == "13.500000"
    kept = f"SELECT class, amount::bigint FROM transfer WHERE to_address = '{address}' ORDER BY height"
    assert await execute(house, kept) == [("unexplained", 3_000_000), ("unexplained", 4_000_000)]

    for owner, gateway, error in (
        ((1, user), "paypal", InvalidPayment),
        ((2, user), "tron_usdt", UserNotFound),
        ((1, user), "tron_usdt", None),
        ((1, user), "tron_usdt", AddressNotFound),
    ):
        if error is None:
            assert await assign_wallet(parts_of(house), address, owner, gateway) == 2
        else:
            with pytest.raises(error):
                await assign_wallet(parts_of(house), address, owner, gateway)
    await house.deliver()

    assert await house.balance(user) == "20.500000"
    await sweep(house, node)
    assert await gateway_of(house).chain.balance(CONTRACT, address) == 0
    assert await wrong(house) == {}


async def test_a_restore_that_was_cut_off_goes_on(
    paying_house: House, tron_node: SandboxNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    house, node = paying_house, tron_node
    alice, bob = await begin(house, node)
    wallets = [await new_wallet(house, user) for user in (alice, bob)]
    for address in wallets:
        await pay(node, address, "30")
    await credit(house)
    await sweep(house, node)
    await lose(house)
    monkeypatch.setattr("payments.use_cases.restore_wallets.CHUNK", 1)
    await node.admin("faults", endpoint="gettransactioninfobyid", kind="503", count=ROUNDS)
    with pytest.raises(NodeUnavailable):
        await restore(house)
    await node.admin("faults", endpoint="triggerconstantcontract", kind="503", count=ROUNDS)
    with pytest.raises(NodeUnavailable):
        await restore(house)

    found = await restore(house)

    assert found.problems == []
    assert found.next_index == 1 + GAP + 1
    assert await execute(house, "SELECT user_id FROM wallet ORDER BY 1") == [(alice,), (bob,)]
    assert await wrong(house) == {}


async def test_what_left_before_the_scanned_blocks_is_carried_forward(
    paying_house: House, tron_node: SandboxNode
) -> None:
    house, node = paying_house, tron_node
    alice, _ = await begin(house, node)
    address = await new_wallet(house, alice)
    await pay(node, address, "30")
    await credit(house)
    await sweep(house, node)
    await lose(house)
    head = (await gateway_of(house).chain.solid_head()).height

    late = await restore(house, from_height=head)
    assert (late.problems, late.carried_forward) == ([], 2), "what was swept, and the fuel that is left"
    assert await wrong(house) == {}
    await check_payments(parts_of(house), timedelta())
    assert await execute(house, "SELECT step, amount::bigint FROM sweep") == [("swept", 30_000_000)]

    (deposit,) = (await execute(house, "SELECT height FROM transfer WHERE class = 'deposit'"))[0]
    whole = await restore(house, from_height=deposit)
    assert (whole.problems, whole.carried_forward) == ([], 1), "what a sweep burned, whose receipt is lost"
    assert await execute(house, "SELECT step, amount::bigint FROM sweep") == [("swept", 30_000_000)]
    assert await wrong(house) == {}


async def test_what_the_seed_or_the_chain_does_not_know_is_a_problem_and_stops_nothing(
    paying_house: House, tron_node: SandboxNode
) -> None:
    house, node = paying_house, tron_node
    alice, bob = await begin(house, node)
    for user in (alice, bob):
        await pay(node, await new_wallet(house, user), "30")
    await credit(house)
    (far,) = (await execute(house, "SELECT txid FROM transfer ORDER BY wallet_id DESC LIMIT 1"))[0]
    await house.credit(alice, 5, f"tron:{'ab' * 32}:0")
    await lose(house)

    found = await restore(house, gap=1)

    assert (found.deposits, len(found.problems)) == (2, 1)
    assert "the ledger has 5 units, the chain nothing" in found.problems[0]
    assert far not in str(found.problems)


async def test_an_empty_ledger_moves_the_counters_all_the_same(
    paying_house: House, tron_node: SandboxNode
) -> None:
    house, node = paying_house, tron_node
    alice, _ = await begin(house, node)
    old = await new_wallet(house, alice)
    await lose(house)

    found = await restore(house)

    assert (found.deposits, found.next_index, found.problems) == (0, GAP, [])
    assert (await restore(house)).next_index == GAP
    assert await new_wallet(house, alice) != old


async def test_restored_books_agree_and_a_rescan_adds_nothing_to_what_was_carried_forward(
    paying_house: House, tron_node: SandboxNode
) -> None:
    house, node = paying_house, tron_node
    alice, _ = await begin(house, node)
    await pay(node, await new_wallet(house, alice), "30")
    await credit(house)
    await sweep(house, node)
    await lose(house)
    parts_of(house).opened.clear()
    await restore(house, from_height=(await gateway_of(house).chain.solid_head()).height)
    with pytest.raises(ScannerBehind, match="not open yet"):
        await reconcile(parts_of(house), lambda _: None, everyone=True)
    await credit(house)

    for _ in range(2):
        found = await reconcile(parts_of(house), lambda _: None, everyone=True)
        assert found.agrees, found
        again = await rescan_blocks(parts_of(house), gateway_of(house), 0, None, lambda _: None)
        assert again.found == []
