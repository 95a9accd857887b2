"""Fetch solid blocks: several at a time, handed out in order, and none that does not follow the one before."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence

from payments.domain.errors import ForeignBlock
from payments.domain.model import Block, Header
from payments.domain.ports import Chain


async def fetch_blocks(
    chain: Chain, heights: Iterable[int], known: Mapping[int, Header], in_flight: int
) -> AsyncGenerator[list[Block], None]:
    """Yield blocks in the order of their heights, as many at a time as are there.

    Args:
        chain: where they come from.
        heights: which.
        known: headers that need not be asked for.
        in_flight: how many blocks are fetched at a time.

    Raises:
        NodeUnavailable: when a block can't be had; those before it were yielded.
    """
    waiting = iter(heights)
    window: deque[asyncio.Task[Block]] = deque()

    def fill() -> None:
        while len(window) < in_flight and (height := next(waiting, None)) is not None:
            window.append(asyncio.create_task(_fetch(chain, height, known.get(height))))

    try:
        fill()
        while window:
            batch = [await window.popleft()]
            while window and window[0].done() and window[0].exception() is None:
                batch.append(window.popleft().result())
            fill()
            yield batch
    finally:
        for task in window:
            task.cancel()
        await asyncio.gather(*window, return_exceptions=True)


async def link_blocks(chain: Chain, parent: str, batch: Sequence[Block]) -> list[Block]:
    """Return the blocks, each of which follows the one before; what does not fit is asked for of other nodes.

    Where no node has one that fits, they end two before it: the block just before may be the one that is wrong.

    Raises:
        ForeignBlock: when that leaves none.
        NodeUnavailable: when nodes that might have one do not answer.
    """
    linked: list[Block] = []
    for block in batch:
        found = block
        if block.header.parent != parent:
            try:
                header = await chain.solid_header(block.header.height, parent)
            except ForeignBlock:
                if len(linked) > 1:
                    return linked[:-1]
                raise
            found = Block(header, await chain.solid_content(header))
        linked.append(found)
        parent = found.header.hash
    return linked


async def _fetch(chain: Chain, height: int, known: Header | None) -> Block:
    header = known or await chain.solid_header(height)
    return Block(header, await chain.solid_content(header))
