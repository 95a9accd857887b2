"""Admit a connection to a chat, by a participant token or by the chat's id."""

from dataclasses import dataclass
from uuid import UUID

from chat.domain.errors import NotAdmitted
from chat.domain.model import Admission, Chat, Claims, may_enter
from chat.domain.ports import Deals, Tokens
from chat.use_cases.check_keys import Standings
from chat.use_cases.find_chat import find_chat
from common.clock import Clock
from common.db import Database

MAX_TOKEN = 4096


@dataclass(frozen=True, slots=True)
class Door:
    """Lets connections in.

    Args:
        accept_plain: whether the plain chat id is enough.
    """

    database: Database
    deals: Deals
    tokens: Tokens
    standings: Standings
    clock: Clock
    accept_plain: bool

    async def admit(self, token: object) -> Admission:
        """Return the connection's right to one chat.

        Args:
            token: what the client sent as `auth.token`.

        Raises:
            NotAdmitted: when the token opens no chat, is an arbiter's without an open dispute, or was asked for
                with a key that does not stand any more.
            Unavailable: when deals can't be asked about a chat that we do not know, or about its dispute.
        """
        claims = self._claims(token)

        def lets_in(chat: Chat) -> bool:
            return may_enter(chat.standing, claims)

        def tells_standing(chat: Chat) -> bool:
            return chat.standing.status is not None and lets_in(chat)

        chat = await find_chat(self.database, self.deals, claims.chat_id, usable=lets_in, enough=tells_standing)
        if chat is None or (claims.user_id is not None and chat.role_of(claims.user_id) is not claims.role):
            raise NotAdmitted("there is no such chat")
        if not lets_in(chat):
            raise NotAdmitted("an arbiter enters while a dispute is open")
        admission = Admission(chat, claims)
        await self.standings.check(admission)
        return admission

    def _claims(self, token: object) -> Claims:
        if not isinstance(token, str) or len(token) > MAX_TOKEN:
            raise NotAdmitted("auth.token must be a participant token or a chat id")
        claims = _plain(token) if self.accept_plain else None
        claims = claims or self.tokens.read(token, self.clock.now())
        if claims is None:
            raise NotAdmitted("the token is not accepted")
        return claims


def _plain(token: str) -> Claims | None:
    try:
        return Claims(UUID(token))
    except ValueError:
        return None
