"""Post operations to the ledger: those that wait are gathered and posted as one transaction, with one flush."""

from collections.abc import Callable, Sequence

from accounts.db import ledger
from accounts.domain import events
from accounts.domain.errors import KindForbidden
from accounts.domain.ledger import KINDS_BY_CALLER, Operation, Outcome, Result, decide
from common import outbox
from common.crash import crash_point
from common.db import Database, away
from common.errors import Unavailable
from common.gather import Gatherer
from common.logging import get_logger, report

log = get_logger()

MAX_BATCH = 500
DECIDE_TRIES = 10


def check_kinds(caller: str, operations: Sequence[Operation]) -> None:
    """Refuse kinds of operation that this service may not post.

    Raises:
        KindForbidden: naming the first such kind; nothing is posted then.
    """
    allowed = KINDS_BY_CALLER.get(caller, frozenset())
    for operation in operations:
        if operation.kind not in allowed:
            raise KindForbidden(f"{caller} may not post operations of the kind {operation.kind!r}")


class Ledger:
    """Posts operations; the outcomes are final before the caller hears of them.

    Args:
        database: where the ledger is.
        on_commit: called after a batch that told events.
    """

    def __init__(self, database: Database, on_commit: Callable[[], None]) -> None:
        self._database = database
        self._on_commit = on_commit
        self._gatherer = Gatherer(self._post_batch, MAX_BATCH)

    async def post(self, operations: Sequence[Operation]) -> list[Result]:
        """Post 1 to 100 operations and return an outcome for each, in their order.

        Raises:
            Unavailable: when the database failed: whether they were posted is not known; post them again.
        """
        return await self._gatherer.ask(operations)

    async def _post_batch(self, operations: Sequence[Operation]) -> list[Result]:
        """Post what was gathered; where the database's own rules refuse, in halves: one holds up no other."""
        try:
            results = await post_operations(self._database, operations)
        except Exception as error:
            if away(error):
                raise Unavailable(f"the ledger's database failed ({type(error).__name__}); post again") from error
            log.error("ledger.batch_refused", keys=[o.key for o in operations], error=repr(error))
            report(error)
            if len(operations) == 1:
                return [Result(operations[0].key, Outcome.INVALID, "refused_by_the_database")]
            half = len(operations) // 2
            return [*await self._post_batch(operations[:half]), *await self._post_batch(operations[half:])]
        crash_point("batch.committed")
        self._on_commit()
        return results


async def post_operations(database: Database, operations: Sequence[Operation]) -> list[Result]:
    """Post a batch in one transaction; deciding again when a key was lost to another process."""
    for _ in range(DECIDE_TRIES):
        try:
            return await _post_once(database, operations)
        except ledger.KeyLost:
            continue
    raise Unavailable("the keys are contended; post again")


async def _post_once(database: Database, operations: Sequence[Operation]) -> list[Result]:
    async with database.transaction() as connection:
        well_formed = [o for o in operations if o.flaw() is None]
        accounts = await ledger.open_accounts(connection, well_formed)
        stored = await ledger.stored(connection, [o.key for o in well_formed])
        decision = decide(operations, accounts, stored)
        stored_at = await ledger.write(connection, decision)
        by_key = {o.key: o for o, kept in decision.fresh if kept.outcome is Outcome.APPLIED}
        told = [e for e in decision.entries if e.account.owner.startswith("user:")]
        await outbox.append(connection, [events.balance_changed(by_key[e.key], e, stored_at[e.key]) for e in told])
    return decision.results
