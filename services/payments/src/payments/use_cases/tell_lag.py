"""Tell how far the scan is behind, and raise alarms: a head that is old, a wrong clock, a chain that is not ours.

Each is told once per episode. Nothing here stops anything: time that moves money is the chain's, never ours.
"""

from collections.abc import Sequence

from prometheus_client import Counter, Gauge

from common.logging import get_logger, report
from common.metrics import REGISTRY, of_the_elected
from payments.db import chain
from payments.db.chain import Cursor
from payments.domain.errors import ForeignBlock
from payments.use_cases.context import Payments

log = get_logger()

LAG_BLOCKS = of_the_elected(
    Gauge(
        "garant_payments_scan_lag_blocks", "Solid blocks that are not scanned yet", ["network"], registry=REGISTRY
    )
)
LAG_S = of_the_elected(
    Gauge(
        "garant_payments_scan_lag_seconds",
        "Age of the block scanned last, by our clock; about a minute is usual",
        ["network"],
        registry=REGISTRY,
    )
)
HEAD_AGE_S = of_the_elected(
    Gauge(
        "garant_payments_head_age_seconds",
        "Age of the newest block that a node has shown, by our clock",
        ["network"],
        registry=REGISTRY,
    )
)
FOREIGN = of_the_elected(
    Gauge(
        "garant_payments_chain_unlike_cursor",
        "1 while no node's chain fits on the cursor",
        ["network"],
        registry=REGISTRY,
    )
)


HIDDEN = Counter(
    "garant_payments_hidden_calls",
    "Transactions whose receipts hide what contracts sent inside them: a node without vm.saveInternalTx",
    ["network"],
    registry=REGISTRY,
)

BEHIND_LIMITS = 10
"""A scan that is so many times further behind than a head may be old is an alarm: a quarter of an hour."""


class ChainStale(Exception):
    """The chain's head is old by our clock: the nodes stand still, or our clock is ahead."""


class ScanBehind(Exception):
    """The block scanned last is old while the chain goes on: deposits are credited late."""


class ClockBehind(Exception):
    """The chain's head is in the future by our clock, which is behind."""


class ChainUnlikeCursor(Exception):
    """No node has a block that follows the one scanned last; a person has to look."""


class CallsHidden(Exception):
    """A node does not tell what contracts send inside transactions: TRX that comes so is not credited."""


def tell_hidden(parts: Payments, network: str, height: int, txids: Sequence[str]) -> None:
    """Count receipts that hide what contracts sent; the first one of a process is an alarm."""
    if txids:
        HIDDEN.labels(network).inc(len(txids))
        error = CallsHidden(f"{network} {height} {txids[0]}: its receipt has no internal_transactions")
        _episode(parts, network, "chain.calls_hidden", begun=True, error=error)


def tell_lag(parts: Payments, network: str, cursor: Cursor) -> None:
    """Set the metrics, and raise or end the alarms of an old head, a scan and a clock that are behind."""
    state, now = parts.scans[network], parts.clock.now()
    seen = [cursor.time]
    if state.solid is not None:
        LAG_BLOCKS.labels(network).set(max(0, state.solid.height - cursor.height))
        seen.append(state.solid.time)
    seen += [block.header.time for block in state.view.blocks.values()]
    age, lag, limit = now - max(seen), now - cursor.time, parts.policy.stale_after
    LAG_S.labels(network).set(max(0.0, lag.total_seconds()))
    HEAD_AGE_S.labels(network).set(age.total_seconds())
    newest = f"{network}: the newest block is {age.total_seconds():.0f} s old by our clock"
    scanned = f"{network}: the block scanned last is {lag.total_seconds():.0f} s old"
    is_behind = age <= limit and lag > BEHIND_LIMITS * limit
    _episode(parts, network, "chain.stale", begun=age > limit, error=ChainStale(newest))
    _episode(parts, network, "scan.behind", begun=is_behind, error=ScanBehind(scanned))
    _episode(parts, network, "clock.behind_chain", begun=age < -limit, error=ClockBehind(newest))


def tell_progress(parts: Payments, network: str, cursor: Cursor) -> None:
    """Tell that the cursor moved: the chain fits on it."""
    FOREIGN.labels(network).set(0)
    tell_lag(parts, network, cursor)


async def tell_foreign(parts: Payments, network: str, cursor: Cursor, error: ForeignBlock) -> None:
    """Note and tell that no node's chain fits on the cursor, unless another scanner has moved it meanwhile."""
    async with parts.database.transaction() as connection:
        new = await chain.set_unlike(connection, network, cursor, error.detail)
        current = await chain.cursor(connection, network)
    if current is None or current.hash != cursor.hash:
        return
    FOREIGN.labels(network).set(1)
    if new:
        log.error("chain.unlike_cursor", network=network, height=cursor.height, why=error.detail)
        report(ChainUnlikeCursor(f"{network} {cursor.height}: {error.detail}"))


def _episode(parts: Payments, network: str, name: str, *, begun: bool, error: Exception) -> None:
    episodes = parts.scans[network].episodes
    if begun and name not in episodes:
        episodes.add(name)
        log.error(name, network=network, why=str(error))
        report(error)
    elif not begun and name in episodes:
        episodes.remove(name)
        log.info(f"{name}_ended", network=network)
