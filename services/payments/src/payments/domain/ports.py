"""What payments needs from others: the chain, the signer, accounts."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from payments.domain.intents import Intent
from payments.domain.model import (
    BlockContent,
    Booking,
    Credited,
    Deposit,
    Facts,
    GatewayInfo,
    HeadBlock,
    Header,
    Placed,
    Signed,
)


class Chain(Protocol):
    """A blockchain as a node shows it. Every method may raise `NodeUnavailable`."""

    async def solid_head(self) -> Header:
        """Return the newest block that can't be forked away."""
        ...

    async def head_height(self) -> int:
        """Return the height of the newest block, solid or not."""
        ...

    async def solid_header(self, height: int, parent: str | None = None) -> Header:
        """Return a solid block's header, of the block that follows `parent` where that is given.

        Raises:
            ForeignBlock: when every node has another block there.
        """
        ...

    async def head_block(self, height: int) -> HeadBlock | None:
        """Return a block by its height, solid or not; None when there is none yet. For display alone."""
        ...

    async def solid_content(self, header: Header) -> BlockContent:
        """Return what a solid block holds."""
        ...

    async def transfer_at(self, txid: str, log_index: int) -> Placed | None:
        """Return the gateway's transfer at this place of a solid transaction, or None where there is none."""
        ...

    async def balance(self, asset: str, address: str) -> int:
        """Return the solid balance of an asset in smallest units."""
        ...

    async def facts(self, asset: str, move: tuple[str, str, int], lender: str) -> Facts:
        """Return what a transfer needs and what there is for it.

        Args:
            move: from which address, to which, and how much.
            lender: whose staked TRX could be lent.

        Raises:
            ContractRefuses: when the contract would refuse the transfer.
        """
        ...

    def is_address(self, text: str) -> bool:
        """Tell whether a text is an address of this chain, its checksum right."""
        ...

    async def broadcast(self, signed: bytes) -> str:
        """Send a transaction; return the node's words, which decide nothing."""
        ...


class Addresses(Protocol):
    """Derives addresses without any private key."""

    def deposit_address(self, index: int) -> str:
        """Return the deposit address at an index."""
        ...


class Signer(Protocol):
    """Signs intents, never bare hashes."""

    async def sign(self, intent: Intent, reference: Header, timestamp_ms: int) -> Signed:
        """Build the intent's transaction and sign it; it lives two minutes from the reference block's time.

        A payout whose last transaction may still come into a block is answered with that transaction again.

        Raises:
            SignerRefused: when the signer must not sign it; asking again changes nothing.
            LimitReached: when a limit of the signer would be passed.
            Unavailable: when no answer came.
        """
        ...


class Accounts(Protocol):
    """Users and the ledger. Every method may raise `Unavailable`."""

    async def user_exists(self, tenant_id: int, user_id: int) -> bool:
        """Tell whether the user exists in the tenant."""
        ...

    async def credit(self, deposits: Sequence[Deposit]) -> list[bool]:
        """Post deposits; tell for each whether it is applied."""
        ...

    async def book(self, bookings: Sequence[Booking]) -> list[tuple[str, str | None]]:
        """Post bookings; return each one's outcome and the reason of a refusal."""
        ...

    async def credited(self, after: int) -> list[Credited]:
        """Return a page of what was applied between the ledger and the outside, in its order, above a place."""
        ...

    async def booked(self, keys: Sequence[str]) -> dict[str, int]:
        """Return, of these keys, those whose operation is applied, with the amount in smallest units."""
        ...


class Gateway(Protocol):
    """A way to pay: its description, its chain, and its own wallets."""

    @property
    def info(self) -> GatewayInfo:
        """What it is called and what it takes."""
        ...

    @property
    def chain(self) -> Chain:
        """Its chain."""
        ...

    @property
    def addresses(self) -> Addresses:
        """Its deposit addresses."""
        ...

    @property
    def main_address(self) -> str:
        """Where sweeps go."""
        ...

    @property
    def fuel_address(self) -> str:
        """Where the fees of sweeps come from."""
        ...

    @property
    def asset(self) -> str:
        """The token's contract, or `NATIVE`."""
        ...

    def data(self, address: str) -> Mapping[str, str]:
        """Return what a customer has to know to pay to an address."""
        ...
