"""Who was let in does not stay in for ever: the guard ends the connection, and a new one is refused."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from accounts.use_cases import manage_keys
from chat.api import app, guard
from chat.use_cases import check_keys
from chat.use_cases.note_transitions import note_transitions
from common.metrics import REGISTRY
from garant_local.nats import Nats
from support.chatting import ChatHouse, Listener, Nobody, Refused, build_chat
from support.house import House, received
from support.waiting import eventually


@pytest.fixture
async def watched(house: House, nats: Nats, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ChatHouse]:
    """A chat whose guard looks often, and which asks accounts about each that comes."""
    assert guard.GUARD_EVERY_S + check_keys.FRESH_S < 10
    monkeypatch.setattr(app, "GUARD_EVERY_S", 0.1)
    monkeypatch.setattr(check_keys, "FRESH_S", 0.0)
    async with build_chat(house, nats.url) as built:
        yield built


def ended(reason: str) -> float:
    return REGISTRY.get_sample_value("garant_chat_ended_total", {"reason": reason}) or 0.0


async def check_ended(listener: Listener, reason: str, before: float) -> None:
    """Check that a connection ends within 10 s: as when the wire breaks, so that a client connects anew."""
    await asyncio.wait_for(listener.closed.wait(), 10)
    assert ended(reason) == before + 1


async def looked_at(house: ChatHouse, times: int = 3) -> None:
    """Return when the guard has asked accounts so often again."""
    asked = len(house.accounts_wire.calls)

    async def calls() -> int:
        return len(house.accounts_wire.calls) - asked

    await eventually(calls, lambda count: count >= times)


async def key_id_of(house: ChatHouse, token: str) -> int:
    return int(jwt.decode(token, options={"verify_signature": False})["key_id"])


async def test_an_expired_token_ends_its_connection(watched: ChatHouse) -> None:
    chat_id, alice, bob, _ = await watched.chat()
    before = ended("token_expired")
    claims: dict[str, Any] = {"aud": "garant-chat", "chat_id": chat_id, "user_id": alice, "role": "customer"}
    claims["exp"] = int((datetime.now(UTC) + timedelta(seconds=6)).timestamp())
    token = jwt.encode(claims, Ed25519PrivateKey.from_private_bytes(b"\x11" * 32), algorithm="EdDSA")
    expiring, other = await watched.listen(token), await watched.listen(chat_id)
    await looked_at(watched, 1)
    assert not expiring.closed.is_set()

    await check_ended(expiring, "token_expired", before)

    with pytest.raises(Refused, match="authorization error"):
        await watched.listen(token)
    assert (await other.say(bob, "I stay"))["seq"] == 1


async def test_a_revoked_key_ends_the_connections_of_its_tokens(watched: ChatHouse) -> None:
    chat_id, alice, bob, deal_id = await watched.chat()
    before = ended("key_revoked")
    token = await watched.token(deal_id, alice)
    revoked, plain = await watched.listen(token), await watched.listen(chat_id)
    await looked_at(watched)
    assert not revoked.closed.is_set()

    await manage_keys.revoke_key(watched.house.accounts_db, await key_id_of(watched, token))

    await check_ended(revoked, "key_revoked", before)
    with pytest.raises(Refused, match="authorization error"):
        await watched.listen(token)
    assert (await plain.say(bob, "I came without a key"))["seq"] == 1


@pytest.mark.parametrize("plain", [True, False], ids=["plain", "token"])
async def test_a_closed_tenant_ends_all_its_connections(watched: ChatHouse, plain: bool) -> None:
    tenant = await manage_keys.create_tenant(watched.house.accounts_db, "leaving")
    _, secret = await manage_keys.create_key(watched.house.accounts_db, tenant, ["default"])
    watched.house.keys["leaving"] = secret
    users = [await watched.house.user(n, key="leaving") for n in (1, 2)]
    body = {"title": "A", "description": "B", "price": "1", "customer_id": users[0], "performer_id": users[1]}
    deal = (await watched.house.call("deals", "POST", "/deal/", body, key="leaving")).json()
    token = deal["chat_id"] if plain else await watched.token(deal["deal_id"], users[0], key="leaving")
    chat_id, alice, _, _ = await watched.chat()
    leaving, neighbour = await watched.listen(token), await watched.listen(chat_id)
    before = {reason: ended(reason) for reason in ("key_revoked", "tenant_closed")}

    await manage_keys.close_tenant(watched.house.accounts_db, tenant)

    await asyncio.wait_for(leaving.closed.wait(), 10)
    assert sum(ended(reason) - count for reason, count in before.items()) == 1
    with pytest.raises(Refused, match="authorization error"):
        await watched.listen(token)
    assert (await neighbour.say(alice, "hello"))["seq"] == 1


async def test_an_arbiter_leaves_when_the_dispute_is_over(watched: ChatHouse) -> None:
    chat_id, alice, _, deal_id = await watched.chat()
    await watched.dispute(deal_id, alice)
    before = ended("dispute_over")
    token = await watched.token(deal_id, None, "arbiter")
    arbiter, party = await watched.listen(token), await watched.listen(chat_id)
    await looked_at(watched)
    assert (await arbiter.say(None, "I decide"))["seq"] == 1

    await watched.house.act(deal_id, "dispute/close_customer", key="arbiter")
    for envelope in await watched.house.outbox("deals"):
        await note_transitions(watched.database, Nobody(), [received(envelope)])

    await check_ended(arbiter, "dispute_over", before)
    with pytest.raises(Refused, match="authorization error"):
        await watched.listen(token)
    assert (await party.say(alice, "thank you"))["seq"] == 2


async def test_while_accounts_is_away_nobody_is_put_out_and_then_who_must_go_goes(watched: ChatHouse) -> None:
    chat_id, alice, bob, deal_id = await watched.chat()
    token = await watched.token(deal_id, alice)
    inside = [await watched.listen(token), await watched.listen(chat_id)]
    watched.accounts_wire.cut = True
    await looked_at(watched)  # a look that was on its way already would learn of it
    await manage_keys.revoke_key(watched.house.accounts_db, await key_id_of(watched, token))

    await looked_at(watched)

    assert (await inside[0].say(alice, "here"))["seq"] == 1
    assert (await inside[1].say(bob, "here, too"))["seq"] == 2
    assert (await (await watched.listen(token)).say(alice, "as long as nobody knows"))["seq"] == 3
    watched.accounts_wire.cut = False
    await asyncio.wait_for(inside[0].closed.wait(), 10)
    assert not inside[1].closed.is_set()


async def test_with_its_own_intervals_it_ends_and_refuses_within_ten_seconds(chat_house: ChatHouse) -> None:
    """Who connects again at once may get in once more, for as long as it is remembered that the key was good."""
    _, alice, _, deal_id = await chat_house.chat()
    token = await chat_house.token(deal_id, alice)
    listener = await chat_house.listen(token)
    await manage_keys.revoke_key(chat_house.house.accounts_db, await key_id_of(chat_house, token))

    async def refused() -> bool:
        try:
            await chat_house.listen(token)
        except Refused:
            return True
        return False

    await asyncio.wait_for(listener.closed.wait(), 10)
    assert await eventually(refused, within_s=10)

    async def all_gone() -> bool:
        return all(one.closed.is_set() for one in chat_house.listeners)

    assert await eventually(all_gone, within_s=10)
