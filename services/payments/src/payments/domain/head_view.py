"""The blocks between the newest solid one and the head, as they were fetched. Pure; for display alone.

A block stays under its hash until it is solid or forked away, so each is fetched once. What moves money is fetched
from the solid chain; from here it may take headers alone, of blocks that a solid block's parents lead to.
"""

from dataclasses import dataclass, field

from payments.domain.model import HeadBlock, Header

MOST_UNSOLID = 64
"""Blocks between solid and head that are looked at; eighteen are usual."""


@dataclass(slots=True)
class HeadView:
    """A line of blocks on top of the solid chain."""

    blocks: dict[int, HeadBlock] = field(default_factory=dict)
    """By height, without a gap."""
    quiet: int = 0
    """How often in a row nothing new was solid."""

    @property
    def top(self) -> int | None:
        """The newest block's height."""
        return max(self.blocks, default=None)

    def hash_at(self, height: int) -> str | None:
        """Return the hash of the block that is known at a height."""
        block = self.blocks.get(height)
        return None if block is None else block.header.hash

    def put(self, branch: list[HeadBlock]) -> None:
        """Take blocks that follow each other; those that they replace, and what was above those, are gone."""
        lowest = min(block.header.height for block in branch)
        self.blocks = {h: b for h, b in self.blocks.items() if h < lowest}
        self.blocks |= {block.header.height: block for block in sorted(branch, key=lambda b: b.header.height)}

    def solid_headers(self, solid: Header) -> dict[int, Header]:
        """Return the headers of the known blocks that are solid because a solid block's parents lead to them."""
        found: dict[int, Header] = {}
        height, block_hash = solid.height, solid.hash
        while (block := self.blocks.get(height)) is not None and block.header.hash == block_hash:
            found[height] = block.header
            height, block_hash = height - 1, block.header.parent
        return found

    def drop_solid(self, solid: Header) -> None:
        """Forget what is solid; forget everything when it does not lead on from there."""
        first = self.blocks.get(solid.height + 1)
        fits = first is not None and first.header.parent == solid.hash
        self.blocks = {h: b for h, b in self.blocks.items() if h > solid.height} if fits else {}
