"""Runs a service: its server and its background work, until SIGTERM or until one of them fails."""

import asyncio
import contextlib
import gc
import os
import resource
import signal
from collections.abc import Awaitable, Callable, Iterator, Sequence

import uvicorn
from starlette.types import ASGIApp

from common import crash, logging
from common.logging import get_logger, report
from common.settings import ProcessSettings

log = get_logger()

GARBAGE_AFTER = (20_000, 10, 10)
"""Objects, then collections of the younger generation, until the next one: batches make many at a time."""

FILES = 65_536
"""Descriptors that a process takes, where it may: a client of the chat is one. Often they are 1,024 at first."""
ENDS_WITHIN_S = 18.0
"""From the signal to our end. Docker kills it after 20 s (`stop_grace_period`). The drain (`DRAIN_S`),
what the consumers hold (`bus.FINISH_S`) and the connections' closing are each limited so that all of them fit."""
EXIT_LATE = 1

Work = Callable[[], Awaitable[None]]
Serving = Callable[[asyncio.Event], Awaitable[None]]
"""Serves until the event is set, then drains and returns."""


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: `run_until_signal` decides when to stop."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def prepare(service: str, settings: ProcessSettings) -> None:
    """Set up what a process has from its first moment: logs, reports, descriptors, and a test's crash points."""
    logging.configure(service, json=settings.log_json, sentry_dsn=settings.sentry_dsn)
    crash.arm(service, settings.crash_point_file)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


async def serve(app: ASGIApp, host: str, port: int, background: Sequence[Work], drain_s: int) -> None:
    """Serve an ASGI application and run `background` until a signal (see `run_until_signal`)."""
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        lifespan="off",
        log_config=None,
        access_log=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=drain_s,
        limit_concurrency=2000,
        server_header=False,
    )
    server = _Server(config)

    async def serving(stop: asyncio.Event) -> None:
        async def until_stopped() -> None:
            await stop.wait()
            server.should_exit = True

        watcher = asyncio.create_task(until_stopped())
        await server.serve()
        watcher.cancel()

    await run_until_signal(serving, background)


async def run_until_signal(serving: Serving, background: Sequence[Work]) -> None:
    """Run a server and background work until SIGTERM or SIGINT; drain the server, then cancel the work.

    The process is gone `ENDS_WITHIN_S` after the signal, whatever hangs, what its caller still closes included.

    Raises:
        BaseExceptionGroup: when one of them fails or ends: the process must end, to be started again.
    """
    gc.freeze()  # what is loaded by now lives as long as the process
    gc.set_threshold(*GARBAGE_AFTER)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def told() -> None:
        stop.set()
        loop.call_later(ENDS_WITHIN_S, _end_at_once)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told)

    async def working(work: Work) -> None:
        try:
            await work()
        except Exception as error:
            log.error("service.background_failed", exc_info=error)
            report(error)
            raise
        raise RuntimeError(f"background work ended: {work}")

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(working(work)) for work in background]
        await serving(stop)
        if not stop.is_set():
            raise RuntimeError("the server stopped by itself")
        for task in tasks:
            task.cancel()


def _end_at_once() -> None:
    """End the process as a kill does, which harms nothing that it does; the log tells why."""
    log.error("service.ended_late", after_s=ENDS_WITHIN_S)
    os._exit(EXIT_LATE)


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
