"""Stories of an operator: commands that die in their midst and are given again, and books that are opened anew."""

import asyncio
import contextlib
import os
import signal
import sys
from typing import Any

import asyncpg

from common.crash import CRASHED
from garant_local.settings import ROOT
from support.client import GaveUp
from support.stories import Cast
from support.system import read_environment

COMMAND_S = 90.0
TRIES = 10
RESCANNED = 40
"""Blocks: the customer's deposit is among them."""
_FORGET = (
    "DELETE FROM booking b USING transfer t WHERE t.from_address = 'opening' AND t.to_address = $1"
    " AND b.key = t.network || ':' || t.txid || ':' || t.log_index",
    "DELETE FROM transfer WHERE from_address = 'opening' AND to_address = $1",
    "DELETE FROM own_wallet WHERE address = $1",
)
_OPENED = """
    SELECT (SELECT count(*) FROM own_wallet WHERE address = $1) = 1
       AND NOT EXISTS (SELECT FROM booking WHERE applied_at IS NULL)
"""


async def stake(cast: Cast) -> None:
    """TRX is staked; the command is given again until it says how that ended, and stakes once."""
    began = await _value(cast, "SELECT now()")
    cast.arm()
    await _insist(cast, "stake", "10")
    count = await _value(cast, "SELECT count(*) FROM outgoing WHERE purpose = 'stake' AND created_at >= $1", began)
    assert count == 1, f"{count} stakes were signed"


async def rescan(cast: Cast) -> None:
    """Blocks are read again, until the command comes to its end; nothing is credited twice."""
    height = await _value(cast, "SELECT height FROM scan_cursor")
    cast.arm()
    await _insist(cast, "rescan", "--from", str(max(0, height - RESCANNED)))


async def reopen(cast: Cast) -> None:
    """The books of the main wallet are lost and opened anew: its capital is booked as it was, under the same key."""
    address, system = cast.client.system.environment["TRON_MAIN_WALLET"], cast.client.system
    connection = await asyncpg.connect(system.environment["PAYMENTS_DATABASE_URL"], timeout=5)
    try:
        async with connection.transaction():
            for statement in _FORGET:
                await connection.execute(statement, address)
    finally:
        await connection.close()
    cast.arm()
    os.kill(system.process("payments"), signal.SIGKILL)  # it knows that they were open
    await cast.client.until(
        "the main wallet's books to be open", lambda: _value(cast, _OPENED, address), lambda opened: opened is True
    )


async def _value(cast: Cast, query: str, *arguments: Any) -> Any:
    url = cast.client.system.environment["PAYMENTS_DATABASE_URL"]
    connection = await asyncpg.connect(url, timeout=5)
    try:
        return await connection.fetchval(query, *arguments)
    finally:
        await connection.close()


async def _insist(cast: Cast, *words: str) -> None:
    """Give a command of payments until it ends well, as an operator does whose machine fails."""
    for _ in range(TRIES):
        code, said = await _run(cast, *words)
        if code == 0:
            return
        assert code in (CRASHED, 2), f"{words}: {code} {said}"
    raise GaveUp(f"{' '.join(words)}: {said}")


async def _run(cast: Cast, *words: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "payments", *words,
        env=read_environment(cast.client.system.process("payments")),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    try:
        said, _ = await asyncio.wait_for(process.communicate(), COMMAND_S)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
    assert process.returncode is not None
    return process.returncode, said.decode(errors="replace")
