"""Users, tenants and keys over HTTP."""

import asyncio
from typing import Any

import asyncpg
import httpx
import pytest

from accounts.domain.errors import TenantUnknown
from accounts.use_cases import manage_keys
from common.auth import hash_key, new_key
from common.errors import InvalidInput
from common.metrics import REGISTRY, render
from support.house import House


async def test_a_user_is_created_once_and_renamed(house: House) -> None:
    first = await house.call("accounts", "POST", "/user/", {"name": "Alice", "external_id": 7})
    again = await house.call("accounts", "POST", "/user", {"name": "Alice", "external_id": 7})
    renamed = await house.call("accounts", "POST", "/user/", {"name": "Alicia", "external_id": 7})

    assert first.json() == again.json()
    assert (renamed.json()["id"], renamed.json()["name"]) == (first.json()["id"], "Alicia")
    assert [e["data"]["name"] for e in await house.outbox("accounts")] == ["Alice", "Alicia"]


async def test_the_same_external_id_is_another_user_in_another_tenant(house: House) -> None:
    assert await house.user(7) != await house.user(7, key="other")


async def test_what_is_not_yours_is_not_found(house: House) -> None:
    alice = await house.user(7)
    for path in (f"/user/{alice}", f"/user/{alice}/balance", f"/user/{alice}/adjustments"):
        foreign = await house.call("accounts", "GET", path, key="other")
        absent = await house.call("accounts", "GET", path.replace(str(alice), "999999"))
        assert foreign.status_code == absent.status_code == 404
        assert foreign.json()["code"] == absent.json()["code"] == "user_not_found"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"name": "A"}',
        b'{"name": "A", "external_id": "7"}',
        b'{"name": "A", "external_id": true}',
        b'{"name": "A", "external_id": 7.0}',
        b'{"name": "A", "external_id": 0}',
        b'{"name": "A", "external_id": -1}',
        b'{"name": "A", "external_id": 9223372036854775808}',
        b'{"name": "A", "external_id": NaN}',
        b'{"name": "", "external_id": 7}',
        b'{"name": "   ", "external_id": 7}',
        b'{"name": "a\\u0000b", "external_id": 7}',
        b'{"name": "\\ud800", "external_id": 7}',
        b'{"name": "A", "external_id": 7, "admin": true}',
        b'{"name": "' + b"a" * 201 + b'", "external_id": 7}',
        b'{"name": "\xff", "external_id": 7}',
        b"[" * 30_000,
        b'{"name": "A", "external_id": ' + b"9" * 5_000 + b"}",
    ],
)
async def test_bad_input_is_422_and_changes_nothing(house: House, body: bytes) -> None:
    async with house.client("accounts") as client:
        headers = {"content-type": "application/json"}
        answer = await client.post("/api/v1/user/", content=body, headers=headers)

    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == "invalid_input"
    assert await house.outbox("accounts") == []


async def test_a_body_over_64_kib_is_413(house: House) -> None:
    async with house.client("accounts") as client:
        answer = await client.post("/api/v1/user/", content=b"x" * 65_537)
    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")


@pytest.mark.parametrize("path", ["/user/0", "/user/-1", "/user/x", "/user/9223372036854775808", "/user/1.5"])
async def test_an_id_that_cannot_be_is_422(house: House, path: str) -> None:
    assert (await house.call("accounts", "GET", path)).status_code == 422


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer nonsense", "Basic abc", "Bearer gk_\x7f"])
async def test_without_a_known_key_it_is_401(house: House, header: str | None) -> None:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(house.accounts), base_url="http://test") as client:
        headers = {} if header is None else {"authorization": header}
        answer = await client.get("/api/v1/user/1", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")


async def test_a_revoked_key_is_refused_once_the_event_came(house: House) -> None:
    key_id, key = await manage_keys.create_key(house.accounts_db, 1, ["default"])
    house.keys["short"] = key
    assert (await house.call("accounts", "GET", "/user/1", key="short")).status_code == 404

    await manage_keys.revoke_key(house.accounts_db, key_id)
    house.accounts.state.verifier.forget(key_id)

    assert (await house.call("accounts", "GET", "/user/1", key="short")).status_code == 401
    assert (await house.outbox("accounts"))[-1]["data"] == {"key_id": key_id}


async def test_a_balance_is_read_as_it_was_at_a_time(house: House) -> None:
    alice = await house.user(1)
    for number in range(1, 8):
        await house.credit(alice, number, f"tron:a:{number}")
    await house.call("accounts", "GET", f"/user/{alice}/balance")
    connection = await asyncpg.connect(house.databases.owner_url("accounts"))
    try:
        await connection.execute(
            "SET session_replication_role = replica;"
            "UPDATE adjustment SET at = '2026-01-01T00:00:00Z'::timestamptz + seq * interval '1 hour'"
            " WHERE seq IS NOT NULL"
        )
    finally:
        await connection.close()

    async def at(moment: str) -> tuple[int, Any]:
        answer = await house.call("accounts", "GET", f"/user/{alice}/balance?at={moment}")
        return answer.status_code, answer.json()

    found = [(await at(f"2026-01-01T0{hour}:00:00Z"))[1][0]["balance"] for hour in range(9)]
    assert found == [f"0.{n:06}" for n in (0, 1, 3, 6, 10, 15, 21, 28, 28)]
    assert (await at("2026-01-01T03:59:59.999999Z"))[1][0]["balance"] == "0.000006"
    status, problem = await at("2999-01-01T00:00:00Z")
    assert (status, problem["code"]) == (422, "time_not_settled")
    assert (await at("2026-01-01T00:00:00"))[0] == 422


async def ended(house: House, key_ids: list[int], tenant_ids: list[int], caller: str = "chat") -> httpx.Response:
    async with house.internal(caller) as client:
        body = {"key_ids": key_ids, "tenant_ids": tenant_ids}
        return await client.post("/internal/v1/keys/standing", json=body)


async def test_a_closed_tenant_has_no_key_and_keeps_its_money(house: House) -> None:
    database = house.accounts_db
    tenant = await manage_keys.create_tenant(database, "leaving")
    ids = [(await manage_keys.create_key(database, tenant, ["default"]))[0] for _ in range(2)]
    house.keys["leaving"] = (await manage_keys.create_key(database, tenant, ["default"]))[1]
    live = (await manage_keys.create_key(database, 1, ["default"]))[0]
    await manage_keys.revoke_key(database, ids[0])
    alice = await house.user(7, key="leaving")
    told = len(await house.outbox("accounts"))

    first = await manage_keys.close_tenant(database, tenant)
    again = await manage_keys.close_tenant(database, tenant)

    assert (first.was_open, len(first.revoked_key_ids)) == (True, 2)
    assert (again.was_open, again.revoked_key_ids) == (False, [])
    events = (await house.outbox("accounts"))[told:]
    assert [(e["type"], e["data"]["key_id"]) for e in events] == [
        ("api_key.revoked", key_id) for key_id in first.revoked_key_ids
    ]
    house.accounts.state.verifier.forget(first.revoked_key_ids[-1])
    assert (await house.call("accounts", "GET", f"/user/{alice}", key="leaving")).status_code == 401
    for make in (
        manage_keys.create_key(database, tenant, ["default"]),
        manage_keys.create_tenant(database, "leaving"),
    ):
        with pytest.raises(InvalidInput, match="closed"):
            await make
    found = (await ended(house, [*ids, live, 987_654], [1, tenant, 987_654])).json()
    assert sorted(found["revoked_key_ids"]) == [*ids, 987_654]
    assert sorted(found["closed_tenant_ids"]) == [tenant, 987_654]


@pytest.mark.parametrize("tenant_id", [0, 987_654])
async def test_a_tenant_that_is_not_there_and_the_house_itself_are_not_closed(
    house: House, tenant_id: int
) -> None:
    with pytest.raises(TenantUnknown):
        await manage_keys.close_tenant(house.accounts_db, tenant_id)


async def test_a_key_made_while_its_tenant_is_closed_is_not_left_alive(house: House) -> None:
    database = house.accounts_db
    tenants = [await manage_keys.create_tenant(database, f"leaving-{n}") for n in range(20)]
    jobs = [job for t in tenants for job in (_try_key(house, t), manage_keys.close_tenant(database, t))]

    made = [found for found in await asyncio.gather(*jobs) if isinstance(found, int)]

    assert sorted((await ended(house, made, [])).json()["revoked_key_ids"]) == sorted(made)


async def _try_key(house: House, tenant_id: int) -> int | None:
    try:
        return (await manage_keys.create_key(house.accounts_db, tenant_id, ["default"]))[0]
    except InvalidInput:
        return None


async def test_chat_alone_asks_for_the_standing_of_so_many_keys(house: House) -> None:
    codes = [
        (await ended(house, [], [], "deals")).status_code,
        (await ended(house, [1] * 501, [])).status_code,
        (await ended(house, [], [0])).status_code,
        (await ended(house, [1] * 500, [1] * 500)).status_code,
    ]
    assert codes == [403, 422, 422, 200]


async def test_keys_that_an_operator_made_are_made_known_once(house: House) -> None:
    database, key = house.accounts_db, new_key()
    wanted = [
        manage_keys.Wanted("shop", ("default",), key),
        manage_keys.Wanted("shop", ("default", "arbiter"), new_key()),
        manage_keys.Wanted("mall", ("default",), new_key()),
    ]

    assert [await manage_keys.bootstrap(database, wanted) for _ in range(2)] == [3, 0]

    known = [await manage_keys.LocalKeys(database).verify(hash_key(one.key)) for one in wanted]
    assert [one.scopes for one in known if one] == [frozenset(one.scopes) for one in wanted]
    assert known[0] is not None
    assert known[1] is not None
    assert known[2] is not None
    assert known[0].tenant_id == known[1].tenant_id != known[2].tenant_id
    await manage_keys.revoke_key(database, known[0].key_id)
    await manage_keys.close_tenant(database, known[2].tenant_id)
    late = [*wanted, manage_keys.Wanted("mall", ("default",), new_key())]
    assert await manage_keys.bootstrap(database, late) == 0
    assert await manage_keys.LocalKeys(database).verify(hash_key(key)) is None


async def test_requests_are_counted_by_route_and_status_and_never_by_path(house: House) -> None:
    found = {"method": "GET", "route": "/api/v1/user/{user_id}", "status": "404"}
    none = {"method": "GET", "route": "none", "status": "404"}
    before = [REGISTRY.get_sample_value("garant_http_requests_total", labels) or 0 for labels in (found, none)]
    for path in ("/user/999998", "/user/999999", "/nothing/here"):
        await house.call("accounts", "GET", path)

    after = [REGISTRY.get_sample_value("garant_http_requests_total", labels) or 0 for labels in (found, none)]
    assert [now - then for now, then in zip(after, before, strict=True)] == [2, 1]
    assert b"/999999" not in render()  # with its slash: a time may have these digits
