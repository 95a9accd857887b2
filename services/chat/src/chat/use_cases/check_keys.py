"""Check that the key that asked for a token, and the tenant of the chat, still stand."""

import time
from collections.abc import Callable

from chat.domain.errors import NotAdmitted
from chat.domain.model import Admission
from chat.domain.ports import Keys
from common.errors import Unavailable
from common.logging import get_logger

log = get_logger()

FRESH_S = 5.0
MOST_REMEMBERED = 10_000


class Standings:
    """Asks accounts, and remembers for seconds that a key and a tenant were good.

    While accounts is away, who comes with a token that deals has signed is let in: the token is an hour old at
    most, and whoever is connected is looked at again as soon as accounts answers.
    """

    def __init__(self, keys: Keys, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._keys = keys
        self._monotonic = monotonic
        self._good_until: dict[tuple[int | None, int], float] = {}

    async def check(self, admission: Admission) -> None:
        """Check one connection's right.

        Raises:
            NotAdmitted: when its key was revoked or its tenant closed.
        """
        who = (admission.claims.key_id, admission.chat.tenant_id)
        now = self._monotonic()
        if self._good_until.get(who, 0.0) > now:
            return
        try:
            revoked, closed = await self._keys.ended([who[0]] if who[0] is not None else [], [who[1]])
        except Unavailable as error:
            log.warning("chat.key_not_checked", error=error.detail)
        else:
            if revoked or closed:
                raise NotAdmitted("the key of this token was revoked, or its tenant closed")
        if len(self._good_until) >= MOST_REMEMBERED:
            self._good_until.clear()
        self._good_until[who] = now + FRESH_S
