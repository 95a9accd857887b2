"""`make run`: start everything, tell where it is, and end it all at Ctrl-C."""

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Mapping

from garant_local.secrets import write_private
from garant_local.settings import (
    LocalSettings,
    SettingError,
    check_ports,
    lock_data,
    prepare_data,
    read_settings,
)
from garant_local.stack import Stack
from garant_local.supervisor import EXIT_BAD_SETTING, Console, StartError, Supervisor


def run() -> int:
    """Run until a signal; return the exit code: 0, 1 when something failed, 2 for a wrong setting."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)  # until the loop has handlers of its own
    try:
        settings = read_settings(os.environ)
        prepare_data(settings)
        with lock_data(settings):
            check_ports(settings)
            settings.run_env.unlink(missing_ok=True)
            print("garant: preparing PostgreSQL", flush=True)
            return asyncio.run(_run(Stack.prepare(settings)))
    except SettingError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return EXIT_BAD_SETTING
    except StartError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return 1
    except KeyboardInterrupt:
        print("garant: stopped before anything was started", flush=True)
        return 0


async def _run(stack: Stack) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stop.set)
    console = Console(width=9)
    supervisor = Supervisor(stack.settings.data / "log", console)
    starting = asyncio.create_task(_start(stack, supervisor, console))
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            starting.result()
        await stopping
        console.line("garant", "stopping")
    finally:
        for task in (starting, stopping):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, SettingError, StartError):
                await task
        stack.settings.run_env.unlink(missing_ok=True)
        await supervisor.stop()
        console.line("garant", "stopped")
    return 0


def write_run_env(settings: LocalSettings, environment: Mapping[str, str]) -> None:
    """Tell clients where everything is."""
    write_private(settings.run_env, "".join(f"{name}={value}\n" for name, value in environment.items()))


async def _start(stack: Stack, supervisor: Supervisor, console: Console) -> None:
    started = time.monotonic()
    await stack.start(supervisor, lambda text: console.line("garant", text))
    environment = stack.run_env()
    write_run_env(stack.settings, environment)
    for name in ("GATEWAY_URL", "API_KEY", "ARBITER_API_KEY", "TRON_NODE_URL"):
        if name in environment:
            console.line("garant", f"{name}={environment[name]}")
    console.line("garant", f"everything else is in {stack.settings.run_env}")
    console.line("garant", f"API documentation: {environment['GATEWAY_URL']}/docs")
    console.line("garant", f"ready after {time.monotonic() - started:.1f} s; Ctrl-C stops it")
