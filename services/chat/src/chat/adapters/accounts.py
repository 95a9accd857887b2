"""Accounts over HTTP."""

from collections.abc import Collection

from common.internal import InternalClient

MOST_ASKED = 500
"""The most keys, and the most tenants, that accounts is asked about at a time."""


class HttpKeys:
    """See `chat.domain.ports.Keys`."""

    def __init__(self, client: InternalClient) -> None:
        self._client = client

    async def ended(self, key_ids: Collection[int], tenant_ids: Collection[int]) -> tuple[set[int], set[int]]:
        """See the port."""
        asked_keys, asked_tenants = list(key_ids), list(tenant_ids)
        keys, tenants = set[int](), set[int]()
        for start in range(0, max(len(asked_keys), len(asked_tenants)), MOST_ASKED):
            some = slice(start, start + MOST_ASKED)
            body = {"key_ids": asked_keys[some], "tenant_ids": asked_tenants[some]}
            found = await self._client.call("POST", "/internal/v1/keys/standing", body)
            keys.update(found["revoked_key_ids"])
            tenants.update(found["closed_tenant_ids"])
        return keys, tenants
