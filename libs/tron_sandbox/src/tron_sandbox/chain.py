"""The chain: a pool of transactions, blocks that are made of them, what is solid, and forks."""

import contextlib
import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from coincurve import PrivateKey

from tron_sandbox import addresses
from tron_sandbox.errors import BandwidthError, ContractError, Refused
from tron_sandbox.evm import Evm
from tron_sandbox.executor import Executor
from tron_sandbox.journal import Journal
from tron_sandbox.jsonformat import Json, ProtocolError, read, write
from tron_sandbox.messages import ABI
from tron_sandbox.protocol import Tx, block_id, header_bytes, merkle_root
from tron_sandbox.tvm import surroundings
from tron_sandbox.world import BANDWIDTH, ENERGY, Account, Contract, Overlay, Stake, World

PRODUCER_NAMES = tuple(
    "alder ash aspen beech birch cedar cherry cypress elder elm fir hawthorn hazel holly juniper larch lime maple"  # noqa: SIM905 - a list of 27 lines says no more.
    " oak pear pine plane poplar rowan spruce walnut willow".split()
)
PRODUCERS = len(PRODUCER_NAMES)
VERSION = 34
TAPOS_WINDOW = 65_536
MAX_EXPIRATION_MS = 24 * 3600 * 1000
MAX_TX_BYTES = 500 * 1024
MAX_POOL = 50_000
TXS_PER_BLOCK = 2_000
FAUCET_SUN = 9 * 10**18

FAUCET_KEY = PrivateKey(hashlib.sha256(b"garant sandbox faucet").digest())
FAUCET = addresses.of_public_key(FAUCET_KEY.public_key.format(compressed=False))


def abi_json(abi: list[Json]) -> Json:
    """Return a compiler's ABI as java-tron shows it."""
    return write(read(ABI, {"entrys": abi}), visible=True)


def _producer(index: int) -> PrivateKey:
    return PrivateKey(hashlib.sha256(b"garant sandbox producer %d" % index).digest())


PRODUCER_KEYS = [_producer(index) for index in range(PRODUCERS)]
PRODUCER_ADDRESSES = [addresses.of_public_key(k.public_key.format(compressed=False)) for k in PRODUCER_KEYS]


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
        self.skew_ms = 0
        """How far the times of new blocks are from the wall clock."""
        self.solid_stopped_at: int | None = None
        self.world = World()
        self.evm = Evm()
        self.executor = Executor(self.world, self.evm)
        self._waiting = Overlay(self.world)
        self._preview = Executor(self._waiting, self.evm)
        self._begin()

    def _begin(self) -> None:
        """Make the genesis, then replay the journal, or make enough blocks that some are solid."""
        entries = list(self._journal.read()) if self._journal else []
        started = entries[0]["genesis"] if entries else self.now_ms() - (self.solid_after + 2) * 3000
        self.world.put(FAUCET, Account(FAUCET_SUN, started, unlimited=True))
        for address, made in self.evm.deploy_genesis(FAUCET).items():
            contract = Contract(made.name, abi_json(made.abi), made.bytecode, FAUCET, energy_limit=10_000_000)
            self.world.put(address, Account(create_time=started, contract=contract))
        self._append(started, [])
        if not entries:
            if self._journal:
                self._journal.write({"genesis": started})
            self.mine(self.solid_after + 2)
            return
        for entry in entries[1:]:
            self._replay(entry)

    def _replay(self, entry: Json) -> None:
        match entry:
            case {"fork": depth}:
                self._rewind(depth)
            case {"ahead": milliseconds}:
                self.ahead_ms += milliseconds
            case {"skew": milliseconds}:
                self.skew_ms = milliseconds
            case {"stop_solid": stop}:
                self.solid_stopped_at = self.solid_number if stop else None
            case {"parameters": changes}:
                self.world.parameters = replace(self.world.parameters, **changes)
            case {"left": left, "of": address}:
                self._leave(bytes.fromhex(address), left)
            case _:
                self._append(entry["t"], [Tx.from_bytes(bytes.fromhex(tx)) for tx in entry.get("x", [])])

    def _do(self, entry: Json) -> None:
        """Change something that is no block, and write it down."""
        self._replay(entry)
        if self._journal:
            self._journal.write(entry)
        self._preview_again()

    @property
    def clock_ms(self) -> int:
        """The time by which resources come back and stakes fall due."""
        return self.head.timestamp + self.ahead_ms

    def advance(self, milliseconds: int) -> None:
        """Put that clock ahead, and make a block."""
        self._do({"ahead": milliseconds})
        self.mine()

    def skew(self, milliseconds: int) -> None:
        """Let new blocks be dated before or after the wall clock, but never before the head."""
        self._do({"skew": milliseconds})

    def stop_solid(self, stop: bool) -> None:
        """Let no further block become solid, or catch up."""
        self._do({"stop_solid": stop})

    def set_parameters(self, changes: Mapping[str, int]) -> None:
        """Change what fees are computed from, from the next block on; the names are those of `Parameters`."""
        self._do({"parameters": dict(changes)})

    def leave(self, address: bytes, left: Mapping[str, int]) -> None:
        """Use up what an account has, until that much is left: `free_bandwidth`, `bandwidth`, `energy`.

        Raises:
            ValueError: when the account is not activated.
        """
        if self.world.get(address) is None:
            raise ValueError("the account is not activated")
        self._do({"left": dict(left), "of": address.hex()})

    def _leave(self, address: bytes, left: Mapping[str, int]) -> None:
        account = self.world.get(address)
        assert account is not None
        if "free_bandwidth" in left:
            used = max(0, self.world.parameters.free_bandwidth - left["free_bandwidth"])
            account = replace(account, net_used=used, net_time=self.clock_ms)
        for name, resource in (("bandwidth", BANDWIDTH), ("energy", ENERGY)):
            if name in left:
                stake: Stake = account.stakes[resource]
                used = max(0, stake.limit(resource) - left[name])
                account = account.with_stake(resource, replace(stake, used=used, used_ms=self.clock_ms))
        self.world.put(address, account)

    @property
    def head(self) -> Block:
        """The newest block."""
        return self.blocks[-1]

    @property
    def solid_number(self) -> int:
        """The newest solid block's number."""
        if self.solid_stopped_at is not None:
            return self.solid_stopped_at
        return max(0, len(self.blocks) - 1 - self.solid_after)

    @property
    def _unsolid(self) -> int:
        return len(self.blocks) - 1 - self.solid_number

    def block(self, number: int, *, solid: bool) -> Block | None:
        """Return a block by its number, where it exists."""
        top = self.solid_number if solid else len(self.blocks) - 1
        return self.blocks[number] if 0 <= number <= top else None

    def account(self, address: bytes, *, solid: bool) -> Account | None:
        """Return an account as it is at the head or was at the newest solid block."""
        return self.world.before(address, self._unsolid) if solid else self.world.get(address)

    def find(self, txid: bytes, *, solid: bool) -> tuple[Block, int] | None:
        """Return the block of a transaction and its place in it."""
        place = self.where.get(txid)
        if place is None or (solid and place[0] > self.solid_number):
            return None
        return self.blocks[place[0]], place[1]

    def mine(self, count: int = 1) -> None:
        """Make blocks now; their times never run past the wall clock and its skew."""
        first, now = self.head.timestamp, max(self.now_ms() + self.skew_ms, self.head.timestamp)
        for step in range(1, count + 1):
            txs = self._next_txs()
            timestamp = first + (now - first) * step // count
            kept = self._append(timestamp, txs)
            if self._journal:
                entry: Json = {"t": timestamp}
                if kept:
                    entry["x"] = [tx.to_bytes().hex() for tx in kept]
                self._journal.write(entry)
        self._preview_again()

    def _next_txs(self) -> list[Tx]:
        """Take what the next block holds out of the pool, without what expired or refers to a block that went."""
        txs = [self.pool.popitem(last=False)[1] for _ in range(min(len(self.pool), TXS_PER_BLOCK))]
        alive = self.head.timestamp
        return [tx for tx in txs if tx.message.raw_data.expiration > alive and self._refers_to_a_block(tx)]

    def _preview_again(self) -> None:
        """Compute anew what the pool will have done."""
        self._waiting.clear()
        for tx in self.pool.values():
            with contextlib.suppress(ContractError, BandwidthError):
                self._preview.preview(tx, self.clock_ms)

    def _append(self, timestamp: int, txs: list[Tx]) -> list[Tx]:
        """Execute transactions as the next block; return those that were still valid."""
        number = len(self.blocks)
        parent = self.head.id if self.blocks else bytes(32)
        producer = (number + self._forks) % PRODUCERS
        if number:
            self.world.begin_block()
            self.evm.begin_block(self.surroundings(number, timestamp, producer))
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
            producer=producer,
            state_root=self.head.state_root if unchanged else self.evm.commit(),
            txs=kept,
            results=results,
        )
        block.id = block_id(number, block.header())
        self.blocks.append(block)
        self.world.forget_undo(max(self.solid_after, self._unsolid))
        return kept

    def surroundings(self, number: int, timestamp: int, producer: int) -> Any:
        """Return what a contract can ask about a block."""
        ids = (self.blocks[below].id for below in range(number - 1, -1, -1))
        fee = self.world.parameters.energy_fee
        return surroundings(number, timestamp, PRODUCER_ADDRESSES[producer], fee, ids)

    def fork(self, depth: int, *, drop: bool) -> None:
        """Replace the newest unsolid blocks by as many others; their transactions return to the pool.

        Raises:
            ValueError: when a solid block would have to go.
        """
        if not 1 <= depth <= self._unsolid:
            raise ValueError(f"depth must be from 1 to {self._unsolid}")
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
        self._preview_again()

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
        if not self._refers_to_a_block(tx):
            raise Refused("TAPOS_ERROR", "Tapos check error.")
        if len(tx.to_bytes()) > MAX_TX_BYTES:
            raise Refused("TOO_BIG_TRANSACTION_ERROR", "Transaction size is too big.")
        try:
            self._preview.preview(tx, self.clock_ms)
        except ContractError as error:
            raise Refused("CONTRACT_VALIDATE_ERROR", f"Contract validate error : {error}") from error
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

    def _refers_to_a_block(self, tx: Tx) -> bool:
        """Tell whether the reference block is on this chain, and not too old (TAPOS)."""
        raw = tx.message.raw_data
        low = int.from_bytes(raw.ref_block_bytes, "big")
        head = self.head.number
        known = self.block(head - ((head - low) % TAPOS_WINDOW), solid=False)
        return len(raw.ref_block_bytes) == 2 and known is not None and known.id[8:16] == raw.ref_block_hash
