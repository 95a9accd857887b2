"""What the ledger is told of, and what becomes of the rest while it refuses some of it."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from payments.domain.model import Booking
from payments.use_cases import check_payments as checks
from payments.use_cases import post_bookings as posting
from payments.use_cases.check_payments import check_payments
from support.cashier import AT_ONCE, Cashier, usual_chain, wallet
from support.chain import SandboxNode
from support.house import House

NOBODY = 999_999
"""A user that the ledger does not know."""
BATCH = 3


@pytest.fixture
async def cashier(
    paying_house: House, tron_node: SandboxNode, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Cashier]:
    """A cashier's desk with small batches, one a pass, that posts at once."""
    for module in (checks, posting):
        monkeypatch.setattr(module, "BATCH", BATCH)
        monkeypatch.setattr(module, "MOST_BATCHES", 1)
    monkeypatch.setattr(checks, "CREDIT_AFTER", timedelta())
    async with usual_chain(tron_node):
        yield Cashier(paying_house, tron_node)


async def test_deposits_that_the_ledger_refuses_hold_up_no_other(cashier: Cashier) -> None:
    alice = await cashier.open()
    payment = await cashier.ask(alice)
    await cashier.rows(
        "WITH w AS (INSERT INTO wallet (tenant_id, user_id, gateway_id, network, derivation_index, address)"
        f" VALUES (1, {NOBODY}, 'tron_usdt', 'tron', 1000000, 'T-nobody') RETURNING id)"
        " INSERT INTO transfer (network, gateway_id, txid, log_index, class, height, block_time, currency, amount,"
        " arrival, from_address, to_address, wallet_id, stored_at, due_at)"
        " SELECT 'tron', 'tron_usdt', lpad(to_hex(n), 64, '0'), 0, 'deposit', n, now(), 'USDT', 5, 'unasked', 'x',"
        f" 'T-nobody', w.id, now() - interval '1 hour', now() - interval '1 hour' FROM w, generate_series(1, {BATCH}) n"
    )
    await cashier.node.admin("faucet", address=wallet(payment), usdt="30")
    await cashier.scan()

    await check_payments(cashier.parts, AT_ONCE)
    assert await cashier.house.balance(alice) == "0.000000", "a batch is full of what is refused"
    await check_payments(cashier.parts, AT_ONCE)
    assert await cashier.house.balance(alice) == "30.000000"

    refused = "SELECT refusals, due_at - now() > interval '10 seconds' FROM transfer WHERE to_address = 'T-nobody'"
    assert await cashier.rows(refused) == [(1, True)] * BATCH
    await cashier.rows("UPDATE transfer SET due_at = now() WHERE to_address = 'T-nobody' RETURNING txid")
    await check_payments(cashier.parts, AT_ONCE)
    longer = "SELECT refusals, due_at - now() > interval '25 seconds' FROM transfer WHERE to_address = 'T-nobody'"
    assert await cashier.rows(longer) == [(2, True)] * BATCH


async def test_bookings_that_the_ledger_refuses_hold_up_no_other(cashier: Cashier) -> None:
    await cashier.open()
    others = [Booking(f"000:{n}", "fee", 0, "TRX", "fees", "external:tron_trx", 2) for n in range(1, BATCH + 1)]
    await cashier.parts.accounts.book(others)
    await cashier.rows(
        "INSERT INTO booking (key, kind, tenant_id, currency, giver, taker, amount, created_at, due_at)"
        " SELECT '000:' || n, 'fee', 0, 'TRX', 'fees', 'external:tron_trx', 1, now(), now() - interval '1 hour'"
        f" FROM generate_series(1, {BATCH}) n"
    )
    unposted = "SELECT count(*) FROM booking WHERE applied_at IS NULL AND key NOT LIKE '000%'"
    assert await cashier.rows(unposted) != [(0,)]

    for _ in range(4):  # what is refused, and four openings
        await check_payments(cashier.parts, AT_ONCE)

    assert await cashier.rows(unposted) == [(0,)]
    assert await cashier.rows("SELECT DISTINCT refusals FROM booking WHERE key LIKE '000%'") == [(1,)]
