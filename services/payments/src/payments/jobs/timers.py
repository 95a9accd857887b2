"""The work that runs by itself: the block scanner and check_payments."""

from collections.abc import Awaitable, Callable
from datetime import timedelta

from common.logging import get_logger
from common.runner import every
from payments.domain.errors import NodeUnavailable
from payments.domain.ports import Gateway
from payments.use_cases.advance_withdrawals import advance_withdrawals
from payments.use_cases.check_payments import check_payments
from payments.use_cases.context import Payments
from payments.use_cases.scan_chain import MOST_BLOCKS, scan_chain
from payments.use_cases.tell_unswept import tell_unswept

log = get_logger()

PAY_OUT_EVERY_S = 1.0
TELL_EVERY_S = 60.0


def timers(parts: Payments, scan_every_s: float, check_every_s: float) -> list[Callable[[], Awaitable[None]]]:
    """Return the timers of one worker."""

    def scanner(gateway: Gateway) -> Callable[[], Awaitable[None]]:
        async def scan() -> None:
            try:
                while await scan_chain(parts, gateway) == MOST_BLOCKS:
                    pass
            except NodeUnavailable as error:  # an old head is the alarm; a node that fails is a line
                log.warning("scan.waits_for_node", network=gateway.info.network, error=error.detail)

        return lambda: every(scan_every_s, f"scan_{gateway.info.network}", scan)

    async def check() -> None:
        await check_payments(parts, timedelta(seconds=check_every_s))

    async def pay_out() -> None:
        await advance_withdrawals(parts)

    by_network = {gateway.info.network: gateway for gateway in parts.gateways.values()}
    return [
        *(scanner(gateway) for gateway in by_network.values()),
        lambda: every(check_every_s, "check_payments", check),
        lambda: every(TELL_EVERY_S, "tell_unswept", lambda: tell_unswept(parts)),
        lambda: every(PAY_OUT_EVERY_S, "advance_withdrawals", pay_out),
    ]
