"""Whether keys and tenants still stand for somebody, as chat asks accounts."""

import pytest

from accounts.use_cases import manage_keys
from chat.adapters.accounts import HttpKeys
from common.errors import Unavailable
from common.internal import InternalClient
from support.house import CALLERS, House, Wire


async def test_keys_and_tenants_that_ended_are_named_however_many_are_asked_for(house: House) -> None:
    wire = Wire(house.accounts)
    keys = HttpKeys(InternalClient("http://accounts", CALLERS["chat"], transport=wire))
    made = [(await manage_keys.create_key(house.accounts_db, 1, ["default"]))[0] for _ in range(3)]
    tenant = await manage_keys.create_tenant(house.accounts_db, "leaving")
    await manage_keys.revoke_key(house.accounts_db, made[1])
    await manage_keys.close_tenant(house.accounts_db, tenant)
    strangers = list(range(10**6, 10**6 + 1200))

    found = await keys.ended([*strangers, *made], [1, tenant])
    assert found == ({*strangers, made[1]}, {tenant})
    assert len(wire.calls) == 3
    assert await keys.ended([], []) == (set(), set())

    wire.cut = True
    with pytest.raises(Unavailable):
        await keys.ended(made, [])
