"""Invariants of a long history: a pass reads what is new and what takes its turn, and still finds what is wrong."""

from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from common import metrics
from common.upkeep import Watch
from payments.domain.model import Booking
from payments.use_cases import prove_books
from payments.use_cases.check_invariants import check_invariants
from payments.use_cases.prove_wallets import WALLETS_A_PASS
from support.cashier import Cashier, usual_chain
from support.chain import SandboxNode
from support.counted_rows import as_if_large, rows_read
from support.house import House

A_DEPOSIT = 5
POST_AT_ONCE = 100
BOOKS = ("transfer", "booking", "outgoing", "operation", "adjustment", "payment", "withdrawal", "sweep")
FIRST_INDEX = 1_000_000
LONG_AGO = "now() - interval '3 days'"

# A past that the chain, our rows and the ledger agree on: deposits, swept, and taken whole by the token's owner.
_WALLETS = """
    INSERT INTO wallet (tenant_id, user_id, gateway_id, network, derivation_index, address, status)
    SELECT 1, $1::bigint, 'tron_usdt', 'tron', u.i, u.a, 'transferred'
      FROM unnest($2::bigint[], $3::text[]) AS u (i, a)
"""
_DEPOSITS = f"""
    INSERT INTO transfer (network, gateway_id, txid, log_index, class, height, block_time, currency, amount, arrival,
                          from_address, to_address, wallet_id, applied_at, stored_at)
    SELECT 'tron', 'tron_usdt', lpad(to_hex(n), 64, '0'), 0, 'deposit', n, {LONG_AGO}, 'USDT', {A_DEPOSIT}, 'unasked',
           'a stranger', w.address, w.id, {LONG_AGO}, {LONG_AGO}
      FROM generate_series($1::int, $2::int) n JOIN wallet w ON w.derivation_index = {FIRST_INDEX} + n
"""
_SWEPT = f"""
    INSERT INTO transfer (network, gateway_id, txid, log_index, class, height, block_time, currency, amount,
                          from_address, to_address, stored_at)
    SELECT 'tron', 'tron_usdt', lpad(to_hex(n), 64, '0'), place, 'own', n, {LONG_AGO}, 'USDT', {A_DEPOSIT},
           CASE place WHEN 1 THEN w.address ELSE $3 END, CASE place WHEN 1 THEN $3 ELSE 'the owner' END, {LONG_AGO}
      FROM generate_series($1::int, $2::int) n JOIN wallet w ON w.derivation_index = {FIRST_INDEX} + n
     CROSS JOIN generate_series(1, 2) place
"""
_BOOKED = f"""
    INSERT INTO booking (key, kind, tenant_id, currency, giver, taker, amount, created_at, applied_at)
    SELECT 'tron:' || lpad(to_hex(n), 64, '0') || ':2:token_fee', 'fee', 0, 'USDT', 'fees', 'external:tron_usdt',
           {A_DEPOSIT}, {LONG_AGO}, {LONG_AGO} FROM generate_series($1::int, $2::int) n
"""


@pytest.fixture
async def cashier(paying_house: House, tron_node: SandboxNode) -> AsyncIterator[Cashier]:
    """A cashier's desk, whose own wallets have opened their books."""
    async with usual_chain(tron_node):
        yield Cashier(paying_house, tron_node)


async def remember(cashier: Cashier, user: int, numbers: range) -> None:
    """Give a user so many wallets with an old deposit, on the chain, in our rows and in the ledger."""
    for first in range(numbers.start, numbers.stop, POST_AT_ONCE):
        some = range(first, min(first + POST_AT_ONCE, numbers.stop))
        txids = [f"{n:064x}" for n in some]
        outside = "external:tron_usdt"
        operations = [
            *(Booking(f"tron:{t}:0", "deposit", 1, "USDT", outside, f"user:{user}", A_DEPOSIT) for t in txids),
            *(Booking(f"tron:{t}:2:token_fee", "fee", 0, "USDT", "fees", outside, A_DEPOSIT) for t in txids),
        ]
        for half in (operations[: len(txids)], operations[len(txids) :]):
            assert {outcome for outcome, _ in await cashier.parts.accounts.book(half)} == {"applied"}
    connection = await asyncpg.connect(cashier.house.databases.owner_url("payments"))
    try:
        bounds, main = (numbers.start, numbers.stop - 1), cashier.gateway().main_address
        indexes = [FIRST_INDEX + n for n in numbers]
        addresses = [cashier.gateway().addresses.deposit_address(index) for index in indexes]
        await connection.execute(_WALLETS, user, indexes, addresses)
        await connection.execute(_DEPOSITS, *bounds)
        await connection.execute(_SWEPT, *bounds, main)
        await connection.execute(_BOOKED, *bounds)
    finally:
        await connection.close()
    for service in ("payments", "accounts"):
        await know_sizes(cashier, service)


async def know_sizes(cashier: Cashier, service: str) -> None:
    """Let PostgreSQL plan by what is there, as it does after a while."""
    connection = await asyncpg.connect(cashier.house.databases.owner_url(service))
    try:
        await connection.execute("VACUUM ANALYZE")
    finally:
        await connection.close()


async def a_minute_later(cashier: Cashier) -> None:
    """Let what was seen have settled, and prove it."""
    for _ in range(3):
        await cashier.rows("UPDATE proof_mark SET next_since = next_since - interval '5 minutes'")
        await wrong(cashier)


async def wrong(cashier: Cashier) -> dict[str, list[Any]]:
    """Return what a pass names."""
    found = (await check_invariants(cashier.parts))["violations"]
    return {name: items for name, items in found.items() if items}


async def cost(cashier: Cashier) -> int:
    """Return how many rows of books a pass reads, ours and those of the ledger."""
    house = cashier.house
    sides = {"payments": cashier.parts.database, "accounts": house.accounts_db}

    async def read() -> "Counter[str]":
        found: Counter[str] = Counter()
        for service, database in sides.items():
            found.update(await rows_read(house.databases, service, database))
        return found

    before = await read()
    assert await wrong(cashier) == {}
    return sum(rows - before[name] for name, rows in (await read()).items() if name in BOOKS)


@pytest.fixture
async def begun(cashier: Cashier, monkeypatch: pytest.MonkeyPatch) -> tuple[Cashier, int]:
    """A desk with a user; a turn is short, so that a history of some hundred rows is long."""
    monkeypatch.setattr(prove_books, "PAGE", 20)
    monkeypatch.setattr(prove_books, "MOST_PAGES", 500)
    monkeypatch.setattr("accounts.use_cases.list_books.PAGE", 20)
    return cashier, await cashier.open()


async def test_a_pass_costs_the_same_however_long_the_history_is(begun: tuple[Cashier, int]) -> None:
    cashier, user = begun
    databases = cashier.house.databases
    async with as_if_large(databases, "payments"), as_if_large(databases, "accounts"):
        await remember(cashier, user, range(1, 101))
        await a_minute_later(cashier)
        short = await cost(cashier)

        await remember(cashier, user, range(101, 401))
        fresh = await cost(cashier)
        await a_minute_later(cashier)
        long = await cost(cashier)

    assert fresh > 300 * 4, "what is new is read"
    assert long <= short + 100, f"{short} rows with 100 deposits in the past, {long} with 400"


async def test_what_was_changed_long_ago_comes_to_its_turn_and_stays_an_alarm(
    begun: tuple[Cashier, int],
) -> None:
    cashier, user = begun
    await remember(cashier, user, range(1, 101))
    await a_minute_later(cashier)
    lost, changed = (f"tron:{n:064x}" for n in (7, 70))

    await cashier.rows(f"DELETE FROM transfer WHERE txid = '{7:064x}' AND log_index = 0 RETURNING txid")
    await cashier.rows(f"UPDATE booking SET amount = 6 WHERE key = '{changed}:2:token_fee' RETURNING key")
    watch = Watch(lambda: check_invariants(cashier.parts))
    for _ in range(10 + 1):  # 200 operations, 20 a pass, and one more look
        await watch.look()

    raised = {s.labels["invariant"]: s.value for m in metrics.VIOLATIONS.collect() for s in m.samples if s.value}
    assert raised == {"credited_without_deposit": 2, "applied_not_booked": 1, "wallet_unlike_chain": 1}
    found = await wrong(cashier)
    assert [item["key"] for item in found["credited_without_deposit"]] == [f"{lost}:0", f"{changed}:2:token_fee"]
    assert [item["key"] for item in found["applied_not_booked"]] == [f"{changed}:2:token_fee"]

    await cashier.rows(f"UPDATE booking SET amount = 5 WHERE key = '{changed}:2:token_fee' RETURNING key")
    assert [item["key"] for item in (await wrong(cashier))["credited_without_deposit"]] == [f"{lost}:0"]
    assert "applied_not_booked" not in await wrong(cashier)


async def test_a_wallet_that_is_wrong_is_looked_at_again_though_others_take_their_turn(
    begun: tuple[Cashier, int],
) -> None:
    cashier, user = begun
    await remember(cashier, user, range(1, WALLETS_A_PASS + 6))
    address = cashier.gateway().addresses.deposit_address(FIRST_INDEX + 3)
    await cashier.rows(f"DELETE FROM transfer WHERE from_address = '{address}' RETURNING txid")

    watch = Watch(lambda: check_invariants(cashier.parts))
    for _ in range(4):
        await watch.look()

    found = (await wrong(cashier))["wallet_unlike_chain"]
    assert {item["address"] for item in found} == {address, cashier.gateway().main_address}
    raised = {s.labels["invariant"]: s.value for m in metrics.VIOLATIONS.collect() for s in m.samples if s.value}
    assert raised["wallet_unlike_chain"] == 2


async def test_the_sum_of_our_own_wallet_is_kept_and_made_anew_when_the_chain_contradicts_it(
    begun: tuple[Cashier, int],
) -> None:
    cashier, user = begun
    main = cashier.gateway().main_address
    await remember(cashier, user, range(1, 11))
    assert await wrong(cashier) == {}
    kept = await cashier.rows(f"SELECT units FROM proven_sum WHERE address = '{main}' AND currency = 'USDT'")
    assert kept == [(0,)], "the old past is nothing in sum, and the opening is too young to be kept"

    await cashier.rows("UPDATE proven_sum SET units = units + 3 RETURNING address")
    assert "wallet_unlike_chain" in await wrong(cashier)
    assert await wrong(cashier) == {}, "the whole history decides"
