"""Issue a participant token: who may enter a deal's chat, signed, for a while."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from common.auth import Principal
from common.clock import Clock
from common.db import Database
from common.errors import Forbidden
from common.idempotency import Retry, begin
from deals.domain.errors import InvalidDeal
from deals.use_cases.read_deals import read_deal

LIFETIME = timedelta(hours=1)


class TokenSigner(Protocol):
    """Signs the claims of a token."""

    def sign(self, claims: dict[str, object]) -> str:
        """Return the signed token."""
        ...


@dataclass(frozen=True, slots=True)
class ChatToken:
    """A token and when it ends."""

    token: str
    expires_at: datetime


async def issue_chat_token(
    database: Database,
    clock: Clock,
    signer: TokenSigner,
    who: Principal,
    deal_id: int,
    user_id: int | None,
    retry: Retry | None = None,
) -> ChatToken:
    """Issue a token for a party of the deal, or for the arbiter.

    Args:
        who: the key that asks: a party's token wants its scope `default`, an arbiter's `arbiter`.
        user_id: a party of the deal; None asks for the arbiter's token.
        retry: the call's idempotency key, if it has one: a retry gets a token of its own, none is ever stored.

    Raises:
        DealNotFound: when the tenant has no such deal.
        InvalidDeal: when the user is no party of it.
        Forbidden: when the key lacks the scope.
    """
    tenant_id, scopes = who.tenant_id, who.scopes
    deal, _ = await read_deal(database, tenant_id, deal_id)
    role = "arbiter" if user_id is None else deal.role_of(user_id)
    if role is None:
        raise InvalidDeal(f"user {user_id} is not a party of deal {deal_id}")
    if role == "arbiter" and "arbiter" not in scopes:
        raise Forbidden("an arbiter's token wants a key with the scope arbiter; else send user_id")
    if role != "arbiter" and "default" not in scopes:
        raise Forbidden("a party's token wants a key with the scope default")
    async with database.transaction() as connection:
        await begin(connection, tenant_id, retry)
    now = clock.now()
    expires_at = (now + LIFETIME).replace(microsecond=0)
    claims: dict[str, object] = {
        "aud": "garant-chat",
        "chat_id": str(deal.chat_id),
        "tenant_id": tenant_id,
        "key_id": who.key_id,
        "user_id": user_id,
        "role": role,
        "iat": int(now.timestamp()),
        "exp": int(expires_at.timestamp()),
    }
    return ChatToken(signer.sign(claims), expires_at)
