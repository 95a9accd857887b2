"""The signer over HTTP on real PostgreSQL: whom it answers, what it counts, and that a lost answer costs nothing."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import httpx
import pytest

from common.errors import Unavailable
from common.internal import InternalClient, Refused
from payments.adapters.keys import DepositAddresses
from payments.adapters.remote_signer import RemoteSigner
from payments.domain.errors import LimitReached, SignerRefused
from payments.domain.intents import NATIVE, Collect, DepositKey, Fuel, Intent, Payout
from payments.domain.model import Header, Signed
from payments.settings import USDT_MAINNET as USDT
from payments.use_cases.check_payments import check_payments
from payments.use_cases.scan_chain import scan_chain
from support.chain import SandboxNode
from support.house import CALLERS, House, Wire
from support.servers import Databases
from support.signing import SIGNER_CREDENTIAL, SigningHouse, open_signer
from support.wires import At

STRANGER = "TB8hS63CKx92bKwaHkoUChNxoazzS3SFYs"
SETTINGS = {
    "signer_fuel_per_hour_sun": 1000,
    "signer_payout_most": {"USDT": "10"},
    "signer_payout_per_day": {"USDT": "25"},
    "signer_payout_tries": 2,
}


@pytest.fixture
async def house(migrated: Databases) -> AsyncIterator[SigningHouse]:
    await migrated.clean()
    async with AsyncExitStack() as stack:
        yield await open_signer(migrated, stack, **SETTINGS)


def block(age_s: float = 0) -> Header:
    """Return a block whose time has whole milliseconds, as the chain's have."""
    time = datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=age_s)
    return Header(9, f"{9:016x}" + "ab" * 24, "00" * 32, time, True)


def stop_clock(house: SigningHouse) -> None:
    """Let no hour and no day turn."""
    house.app.state.signing = replace(house.app.state.signing, clock=At(datetime.now(UTC)))


def after(moment: Header, seconds: int) -> Header:
    return replace(moment, time=moment.time + timedelta(seconds=seconds))


def wallet(house: SigningHouse) -> DepositKey:
    return DepositKey(3, DepositAddresses(house.stored.root.deposit_xpub).deposit_address(3))


def payout(withdrawal_id: int, units: int = 10_000_000) -> Payout:
    return Payout(withdrawal_id, USDT, STRANGER, units, 1)


async def sign(house: SigningHouse, intent: Intent, age_s: float = 0, timestamp_ms: int = 1) -> Signed:
    return await house.remote.sign(intent, block(age_s), timestamp_ms)


async def spent(databases: Databases) -> dict[str, int]:
    connection = await asyncpg.connect(databases.owner_url("payments"))
    try:
        rows = await connection.fetch("SELECT name, sum(amount)::bigint FROM signer.spent GROUP BY 1")
        return {name.partition(":")[0]: amount for name, amount in rows}
    finally:
        await connection.close()


@pytest.mark.parametrize(
    "credential", ["", *(CALLERS[name] for name in ("payments", "operator", "accounts"))], ids=range(4)
)
async def test_nobody_but_payments_by_its_own_secret_is_answered(house: SigningHouse, credential: str) -> None:
    client = InternalClient("http://signer", credential, transport=httpx.ASGITransport(house.app))
    with pytest.raises(Refused, match="401"):
        await RemoteSigner(client).sign(payout(1), block(), 1)


@pytest.mark.parametrize(
    "change",
    [
        {"intent": {"kind": "hash", "digest": "ab" * 32}},
        {"intent": {"kind": "fuel", "wallet": {"index": 1, "address": STRANGER}, "sun": 5}},
        {"intent": {"kind": "fuel", "wallet": {"index": 2**31, "address": STRANGER}, "sun": "5"}},
        {"intent": {"kind": "stake", "sun": "-5"}},
        {"intent": {"kind": "stake", "sun": "5", "raw_data": "00"}},
        {"reference": {"height": 9, "hash": "zz" * 32, "time_ms": 1}},
        {"timestamp_ms": -1},
    ],
)
async def test_what_is_no_intent_is_422(house: SigningHouse, change: dict[str, Any]) -> None:
    reference = {"height": 9, "hash": block().hash, "time_ms": int(block().time.timestamp() * 1000)}
    body = {"intent": {"kind": "stake", "sun": "5"}, "reference": reference, "timestamp_ms": 1, **change}
    headers = {"authorization": f"Bearer {SIGNER_CREDENTIAL}"}
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(house.app), base_url="http://signer", headers=headers
    ) as client:
        answer = await client.post("/internal/v1/sign", json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input")


async def test_a_refusal_tells_its_reason_and_counts_nothing(house: SigningHouse, migrated: Databases) -> None:
    for intent, age_s, why in (
        (Fuel(wallet(house), 5), 901, "SIGNER_REFERENCE_AGE_S"),
        (Fuel(wallet(house), 5), -60, "SIGNER_REFERENCE_AGE_S"),
        (Fuel(DepositKey(4, wallet(house).address), 5), 0, "does not hold the key"),
        (Collect(wallet(house), STRANGER, 5, 5), 0, "no asset"),
        (Fuel(wallet(house), 10**29), 0, "not within"),
        (Payout(1, NATIVE, STRANGER, 2**63, 0), 0, "more than there are"),
    ):
        with pytest.raises(SignerRefused, match=why):
            await sign(house, intent, age_s)
    assert await spent(migrated) == {}


async def test_fuel_is_signed_up_to_the_hours_limit_however_many_ask_at_once(
    house: SigningHouse, migrated: Databases
) -> None:
    stop_clock(house)
    fuel = Fuel(wallet(house), 300)
    asked = (sign(house, fuel, timestamp_ms=n) for n in range(10))
    answers = await asyncio.gather(*asked, return_exceptions=True)

    assert len({answer.txid for answer in answers if isinstance(answer, Signed)}) == 3
    refused = [str(answer) for answer in answers if isinstance(answer, LimitReached)]
    assert len(refused) == 7
    assert all("SIGNER_FUEL_PER_HOUR_SUN" in text for text in refused)
    assert await spent(migrated) == {"fuel": 900}


async def test_payouts_are_signed_up_to_the_days_limit(house: SigningHouse, migrated: Databases) -> None:
    stop_clock(house)
    await asyncio.gather(*(sign(house, payout(n)) for n in (1, 2)))
    with pytest.raises(LimitReached, match="SIGNER_PAYOUT_PER_DAY"):
        await sign(house, payout(3, 5_000_001))
    with pytest.raises(LimitReached, match="SIGNER_PAYOUT_MOST"):
        await sign(house, payout(4, 10_000_001))
    with pytest.raises(LimitReached, match="SIGNER_PAYOUT_MOST"):
        await sign(house, Payout(5, NATIVE, STRANGER, 1, 0))
    await sign(house, payout(3, 5_000_000))

    assert await spent(migrated) == {"payout": 25_000_000, "fuel": 3}


async def test_a_payout_has_one_living_transaction_and_counts_once(
    house: SigningHouse, migrated: Databases
) -> None:
    # The answers of many at once, and of later ones with other timestamps and fees, are the first one's.
    moment = block(300)
    first = await house.remote.sign(payout(1), moment, 1)
    again = await asyncio.gather(*(house.remote.sign(payout(1), moment, n) for n in range(5)))
    again.append(await house.remote.sign(replace(payout(1), fee_limit=2), after(moment, 119), 7))
    assert {signed.signed for signed in again} == {first.signed}

    # It died: the same payout is signed anew, and counted once.
    second = await house.remote.sign(payout(1), after(moment, 120), 8)
    assert second.txid != first.txid
    assert await spent(migrated) == {"payout": 10_000_000, "fuel": 2}
    with pytest.raises(LimitReached, match="SIGNER_PAYOUT_TRIES"):
        await sign(house, payout(1), 0, 9)
    for other in (payout(1, 5), replace(payout(1), to=house.stored.root.main_address[:-1] + "x")):
        with pytest.raises(SignerRefused, match="withdrawal 1 was signed for"):
            await sign(house, other)


async def test_equal_payouts_of_one_millisecond_have_transactions_of_their_own(house: SigningHouse) -> None:
    moment = block()
    signed = [await house.remote.sign(payout(n, 1_000_000), moment, 1) for n in (1, 2)]
    signed += await asyncio.gather(*(house.remote.sign(payout(n, 1_000_000), moment, 1) for n in range(3, 10)))
    assert len({one.txid for one in signed}) == 9


async def test_a_lost_answer_is_had_again_and_counted_once(house: SigningHouse, migrated: Databases) -> None:
    wire = Wire(house.app)
    signer = RemoteSigner(InternalClient("http://signer", SIGNER_CREDENTIAL, transport=wire))
    moment = block()
    for name in ("cut", "deaf"):
        setattr(wire, name, True)
        with pytest.raises(Unavailable):
            await signer.sign(payout(1), moment, 1)
        setattr(wire, name, False)

    signed = await signer.sign(payout(1), moment, 2)

    assert signed == await sign(house, payout(1))
    assert await spent(migrated) == {"payout": 10_000_000, "fuel": 1}


async def test_the_role_of_the_api_can_neither_read_the_seed_nor_write_what_is_counted(
    house: SigningHouse, migrated: Databases
) -> None:
    connection = await asyncpg.connect(migrated.url("payments"))
    try:
        for statement in (
            "SELECT ciphertext FROM signer.seed",
            "DELETE FROM signer.spent",
            "UPDATE signer.payout SET tries = 0",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(statement)
        with pytest.raises(asyncpg.ObjectNotInPrerequisiteStateError):
            await connection.execute(f"UPDATE wallet_root SET main_address = '{STRANGER}'")
        assert await connection.fetchval("SELECT main_address FROM wallet_root") == house.stored.root.main_address
    finally:
        await connection.close()
    connection = await asyncpg.connect(migrated.signer_url)
    try:
        for statement in ("DELETE FROM signer.spent", "SELECT * FROM wallet"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(statement)
    finally:
        await connection.close()


async def test_a_sweep_waits_while_the_signer_is_away_or_refuses(
    paying_house: House, tron_node: SandboxNode
) -> None:
    payments, node = paying_house.parts, tron_node
    assert payments is not None
    assert paying_house.signing is not None
    gateway = payments.gateways["tron_usdt"]
    wire = Wire(paying_house.signing.app)
    remote = RemoteSigner(InternalClient("http://signer", SIGNER_CREDENTIAL, transport=wire))
    parts = replace(payments, signer=remote)
    await node.admin("faucet", address=gateway.fuel_address, trx="10000")
    await node.admin("faucet", address=gateway.main_address, trx="1", usdt="1")
    await node.settle()
    await scan_chain(parts, gateway)
    alice = await paying_house.user(1)
    body = {"gateway_id": "tron_usdt", "user_id": alice, "amount": "30", "currency": "USDT"}
    payment = (await paying_house.call("payments", "POST", "/payment", body)).json()
    await node.admin("faucet", address=payment["gateway_data"]["address"], usdt="30")

    async def work() -> None:
        await node.settle()
        await scan_chain(parts, gateway)
        await paying_house.deliver()
        await execute(paying_house.databases, "UPDATE sweep SET due_at = now() WHERE step <> 'swept'")
        await check_payments(parts, timedelta())

    state = paying_house.signing.app.state
    open_handed, strict = state.signing, replace(state.signing.limits, fuel_per_hour_sun=0)
    for fault in ("cut", "deaf"):
        setattr(wire, fault, True)
        await work()
        setattr(wire, fault, False)
    state.signing = replace(open_handed, limits=strict)
    await work()
    said = await execute(paying_house.databases, "SELECT step, tries, last_error FROM sweep")
    assert [(step, tries) for step, tries, _ in said] == [("planned", 3)]
    assert "LimitReached" in said[0][2]
    assert "SIGNER_FUEL_PER_HOUR_SUN" in said[0][2]
    assert await paying_house.balance(alice) == "30.000000"  # crediting never waits for the signer

    state.signing = open_handed
    for _ in range(5):
        await work()
    assert await execute(paying_house.databases, "SELECT step FROM sweep") == [("swept",)]


async def execute(databases: Databases, statement: str) -> list[Any]:
    connection = await asyncpg.connect(databases.owner_url("payments"))
    try:
        return [tuple(row) for row in await connection.fetch(statement)]
    finally:
        await connection.close()
