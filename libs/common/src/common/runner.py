"""Runs a service: its HTTP server and its background work, until SIGTERM or until one of them fails."""

import asyncio
import contextlib
import signal
from collections.abc import Awaitable, Callable, Iterator, Sequence

import uvicorn
from starlette.types import ASGIApp

from common.logging import get_logger, report

log = get_logger()

DRAIN_S = 5

Work = Callable[[], Awaitable[None]]


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: `serve` decides when to stop."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve(app: ASGIApp, host: str, port: int, background: Sequence[Work]) -> None:
    """Serve `app` and run `background` until a signal; drain, then cancel.

    Raises:
        BaseExceptionGroup: when background work fails or ends: the process must end, to be started again.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        lifespan="off",
        log_config=None,
        access_log=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=DRAIN_S,
        limit_concurrency=2000,
        h11_max_incomplete_event_size=32 * 1024,
        server_header=False,
    )
    server = _Server(config)

    async def until_stopped() -> None:
        await stop.wait()
        server.should_exit = True

    async def serving() -> None:
        await server.serve()
        if not stop.is_set():
            raise RuntimeError(f"the HTTP server on {host}:{port} stopped")

    async def working(work: Work) -> None:
        try:
            await work()
        except Exception as error:
            log.error("service.background_failed", exc_info=error)
            report(error)
            raise
        raise RuntimeError(f"background work ended: {work}")

    async with asyncio.TaskGroup() as group:
        helpers = [group.create_task(working(work)) for work in background]
        helpers.append(group.create_task(until_stopped()))
        http = group.create_task(serving())
        await http
        for helper in helpers:
            helper.cancel()


async def every(seconds: float, name: str, step: Work, wake: asyncio.Event | None = None) -> None:
    """Run `step` at this interval (and when woken) until cancelled; a failure is told and tried again."""
    while True:
        if wake is not None:
            wake.clear()
        try:
            await step()
        except Exception as error:
            log.error("job.failed", job=name, error=repr(error))
            report(error)
        if wake is None:
            await asyncio.sleep(seconds)
        else:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(wake.wait(), seconds)
