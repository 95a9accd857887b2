"""The chain: a pool of transactions, blocks that are made of them, what is solid, and forks."""

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from coincurve import PrivateKey

from tron_sandbox import addresses
from tron_sandbox.evm import Evm
from tron_sandbox.executor import BandwidthError, ContractError, Executor, Parameters
from tron_sandbox.journal import Journal
from tron_sandbox.protocol import (
    Json,
    ProtocolError,
    Tx,
    block_id,
    header_bytes,
    merkle_root,
)
from tron_sandbox.world import Account, World

PRODUCERS = 27
VERSION = 34
TAPOS_WINDOW = 65_536
MAX_EXPIRATION_MS = 24 * 3600 * 1000
MAX_TX_BYTES = 500 * 1024
MAX_POOL = 50_000
TXS_PER_BLOCK = 2_000
FAUCET_SUN = 9 * 10**18

FAUCET_KEY = PrivateKey(hashlib.sha256(b"garant sandbox faucet").digest())
FAUCET = addresses.of_public_key(FAUCET_KEY.public_key.format(compressed=False))


def _producer(index: int) -> PrivateKey:
    return PrivateKey(hashlib.sha256(b"garant sandbox producer %d" % index).digest())


PRODUCER_KEYS = [_producer(index) for index in range(PRODUCERS)]
PRODUCER_ADDRESSES = [addresses.of_public_key(k.public_key.format(compressed=False)) for k in PRODUCER_KEYS]


class Refused(Exception):
    """A broadcast that java-tron refuses: the code and its text."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


@dataclass(slots=True)
class Block:
    """A block; times in milliseconds."""

    number: int
    id: bytes
    parent: bytes
    root: bytes
    timestamp: int
    producer: int
    state_root: bytes
    txs: list[Tx] = field(default_factory=list)
    results: list[str] = field(default_factory=list)

    def header(self) -> bytes:
        """Return the header's bytes, which the producer signs."""
        return header_bytes(
            timestamp=self.timestamp,
            root=self.root,
            parent=self.parent,
            number=self.number,
            witness=PRODUCER_ADDRESSES[self.producer],
            version=VERSION,
        )

    def to_json(self, *, visible: bool, detail: bool = True) -> Json:
        """Write java-tron's JSON."""
        signature = PRODUCER_KEYS[self.producer].sign_recoverable(
            hashlib.sha256(self.header()).digest(), hasher=None
        )
        found: Json = {
            "blockID": self.id.hex(),
            "block_header": {
                "raw_data": {
                    "number": self.number,
                    "txTrieRoot": self.root.hex(),
                    "witness_address": addresses.to_text(PRODUCER_ADDRESSES[self.producer], visible=visible),
                    "parentHash": self.parent.hex(),
                    "version": VERSION,
                    "timestamp": self.timestamp,
                },
                "witness_signature": signature.hex(),
            },
        }
        if self.number == 0:
            del found["block_header"]["raw_data"]["number"]
        if detail and self.txs:
            found["transactions"] = [
                tx.to_json(visible=visible, result=result)
                for tx, result in zip(self.txs, self.results, strict=True)
            ]
        return found


class Chain:
    """The one chain of the node, in memory; the journal makes it whole again after a kill.

    Args:
        solid_after: how many blocks must follow a block until it is solid.
        journal: where blocks and forks are written down; None keeps nothing.
        now_ms: the wall clock in milliseconds.
    """

    def __init__(
        self,
        solid_after: int,
        journal: Journal | None = None,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        parameters: Parameters | None = None,
    ) -> None:
        self.solid_after = solid_after
        self.blocks: list[Block] = []
        self.pool: OrderedDict[bytes, Tx] = OrderedDict()
        self.where: dict[bytes, tuple[int, int]] = {}
        self.infos: dict[bytes, Json] = {}
        self.now_ms = now_ms
        self.ahead_ms = 0
        """How far the clock of resources, loans and unstaking was put ahead; that of blocks never is: clients date
        their transactions by the wall's."""
        self._journal = journal
        self._forks = 0
        self.world = World()
        self.evm = Evm(FAUCET)
        self.executor = Executor(self.world, self.evm, parameters or Parameters(), lambda: self.clock_ms)
        self._begin()

    def _begin(self) -> None:
        """Make the genesis, then replay the journal, or make enough blocks that some are solid."""
        entries = list(self._journal.read()) if self._journal else []
        started = entries[0]["genesis"] if entries else self.now_ms() - (self.solid_after + 2) * 3000
        self.world.put(FAUCET, Account(FAUCET_SUN, started, unlimited=True))
        self._append(started, [])
        if not entries:
            if self._journal:
                self._journal.write({"genesis": started})
            self.mine(self.solid_after + 2)
            return
        for entry in entries[1:]:
            if "fork" in entry:
                self._rewind(entry["fork"])
            elif "ahead" in entry:
                self.ahead_ms += entry["ahead"]
            else:
                self._append(entry["t"], [Tx.from_bytes(bytes.fromhex(tx)) for tx in entry.get("x", [])])

    @property
    def clock_ms(self) -> int:
        """The time by which resources come back and stakes fall due."""
        return self.head.timestamp + self.ahead_ms

    def advance(self, milliseconds: int) -> None:
        """Put that clock ahead, and make a block."""
        self.ahead_ms += milliseconds
        if self._journal:
            self._journal.write({"ahead": milliseconds})
        self.mine()

    @property
    def head(self) -> Block:
        """The newest block."""
        return self.blocks[-1]

    @property
    def solid_number(self) -> int:
        """The newest solid block's number."""
        return max(0, len(self.blocks) - 1 - self.solid_after)

    def block(self, number: int, *, solid: bool) -> Block | None:
        """Return a block by its number, where it exists."""
        top = self.solid_number if solid else len(self.blocks) - 1
        return self.blocks[number] if 0 <= number <= top else None

    def account(self, address: bytes, *, solid: bool) -> Account | None:
        """Return an account as it is at the head or was at the newest solid block."""
        return self.world.before(address, self.solid_after) if solid else self.world.get(address)

    def find(self, txid: bytes, *, solid: bool) -> tuple[Block, int] | None:
        """Return the block of a transaction and its place in it."""
        place = self.where.get(txid)
        if place is None or (solid and place[0] > self.solid_number):
            return None
        return self.blocks[place[0]], place[1]

    def mine(self, count: int = 1) -> None:
        """Make blocks now; their times never run past the wall clock."""
        first, now = self.head.timestamp, max(self.now_ms(), self.head.timestamp)
        for step in range(1, count + 1):
            txs = [self.pool.popitem(last=False)[1] for _ in range(min(len(self.pool), TXS_PER_BLOCK))]
            timestamp = first + (now - first) * step // count
            kept = self._append(timestamp, txs)
            if self._journal:
                entry: Json = {"t": timestamp}
                if kept:
                    entry["x"] = [tx.to_bytes().hex() for tx in kept]
                self._journal.write(entry)

    def _append(self, timestamp: int, txs: list[Tx]) -> list[Tx]:
        """Execute transactions as the next block; return those that were still valid."""
        number = len(self.blocks)
        parent = self.head.id if self.blocks else bytes(32)
        if number:
            self.world.begin_block()
        kept: list[Tx] = []
        results: list[str] = []
        for tx in txs:
            try:
                result, info = self.executor.execute(tx, number, timestamp, timestamp + self.ahead_ms)
            except (ContractError, BandwidthError):
                continue
            self.where[tx.txid] = (number, len(kept))
            self.infos[tx.txid] = info
            kept.append(tx)
            results.append(result)
        unchanged = number > 0 and not kept
        block = Block(
            number=number,
            id=b"",
            parent=parent,
            root=merkle_root([hashlib.sha256(tx.to_bytes()).digest() for tx in kept]),
            timestamp=timestamp,
            producer=(number + self._forks) % PRODUCERS,
            state_root=self.head.state_root if unchanged else self.evm.commit(),
            txs=kept,
            results=results,
        )
        block.id = block_id(number, block.header())
        self.blocks.append(block)
        self.world.forget_undo(self.solid_after)
        return kept

    def fork(self, depth: int, *, drop: bool) -> None:
        """Replace the newest unsolid blocks by as many others; their transactions return to the pool.

        Raises:
            ValueError: when a solid block would have to go.
        """
        if not 1 <= depth <= len(self.blocks) - 1 - self.solid_number:
            raise ValueError(f"depth must be from 1 to {len(self.blocks) - 1 - self.solid_number}")
        orphaned = [tx for block in self.blocks[-depth:] for tx in block.txs]
        waiting = list(self.pool.items())
        self.pool.clear()
        if self._journal:
            self._journal.write({"fork": depth})
        self._rewind(depth)
        self.mine(depth)
        if not drop:
            self.pool.update((tx.txid, tx) for tx in orphaned)
        self.pool.update(waiting)

    def _rewind(self, depth: int) -> None:
        self._forks += 1
        for _ in range(depth):
            for tx in self.blocks.pop().txs:
                del self.where[tx.txid]
                del self.infos[tx.txid]
            self.world.undo_block()
        self.evm.rewind(self.head.state_root)

    def broadcast(self, tx: Tx) -> None:
        """Take a transaction into the pool, checking in java-tron's order.

        Raises:
            Refused: with java-tron's code and text.
        """
        if tx.txid in self.where or tx.txid in self.pool:
            raise Refused("DUP_TRANSACTION_ERROR", "Dup transaction.")
        if len(self.pool) >= MAX_POOL:
            raise Refused("SERVER_BUSY", "Server busy.")
        self._check_expiration(tx)
        self._check_signature(tx)
        self._check_tapos(tx)
        if len(tx.to_bytes()) > MAX_TX_BYTES:
            raise Refused("TOO_BIG_TRANSACTION_ERROR", "Transaction size is too big.")
        try:
            self.executor.validate(tx)
            self.executor.check_bandwidth(tx)
        except ContractError as error:
            raise Refused("CONTRACT_VALIDATE_ERROR", str(error)) from error
        except BandwidthError as error:
            raise Refused("BANDWITH_ERROR", str(error)) from error
        self.pool[tx.txid] = tx

    def _check_expiration(self, tx: Tx) -> None:
        expiration, head = tx.message.raw_data.expiration, self.head.timestamp
        if expiration <= head or expiration > head + MAX_EXPIRATION_MS:
            raise Refused(
                "TRANSACTION_EXPIRATION_ERROR",
                f"Transaction expiration, transaction expiration time is {expiration},"
                f" but headBlockTime is {head}",
            )

    def _check_signature(self, tx: Tx) -> None:
        try:
            signers = tx.signers()
        except ProtocolError as error:
            raise Refused("SIGERROR", f"Validate signature error: {error}") from error
        if not signers:
            raise Refused("SIGERROR", "Validate signature error: miss sig or contract")
        for signer in signers:
            if signer != tx.owner:
                raise Refused(
                    "SIGERROR",
                    f"Validate signature error: {tx.message.signature[0].hex()} is signed by"
                    f" {addresses.to_base58(signer)} but it is not contained of permission.",
                )

    def _check_tapos(self, tx: Tx) -> None:
        raw = tx.message.raw_data
        low = int.from_bytes(raw.ref_block_bytes, "big")
        head = self.head.number
        number = head - ((head - low) % TAPOS_WINDOW)
        known = self.block(number, solid=False)
        if len(raw.ref_block_bytes) != 2 or known is None or known.id[8:16] != raw.ref_block_hash:
            raise Refused("TAPOS_ERROR", "Tapos check error.")
