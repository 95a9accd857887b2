"""The chain: a pool of transactions, blocks that are made of them, what is solid, and forks."""

import contextlib
import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import orjson
from coincurve import PrivateKey

from tron_sandbox import accounts as genesis
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
TXS_PER_COMMIT = 25
"""After so many the contracts' state is written, which takes longer the more there is of it."""
PREVIEWS_PER_STEP = 50
SHOWN_BLOCKS = 200
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
    shown: list[bytes] | None = None
    """The transactions as JSON that is ready to be sent; of old blocks it is made anew."""

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
        if detail and self.shown and not visible:
            found["transactions"] = [orjson.Fragment(one) for one in self.shown]
        elif detail and self.txs:
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
        accounts: how many accounts with TRX there are from genesis, unless a journal says otherwise.
    """

    def __init__(
        self,
        solid_after: int,
        journal: Journal | None = None,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        accounts: int = 0,
    ) -> None:
        self.solid_after = solid_after
        self.blocks: list[Block] = []
        self.pool: OrderedDict[bytes, Tx] = OrderedDict()
        self.where: dict[bytes, tuple[int, int]] = {}
        self.infos: dict[bytes, bytes] = {}
        """What each transaction did, as JSON that is ready to be sent."""
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
        self._building = Overlay(self.world)
        self._executor = Executor(self._building, self.evm)
        self._waiting = Overlay(self.world)
        self._preview = Executor(self._waiting, self.evm)
        self._in_work: set[bytes] = set()
        self._begin(accounts)

    def _begin(self, accounts: int) -> None:
        """Make the genesis, then replay the journal, or make enough blocks that some are solid."""
        entries = list(self._journal.read()) if self._journal else []
        started = entries[0]["genesis"] if entries else self.now_ms() - (self.solid_after + 2) * 3000
        self.world.put(FAUCET, Account(FAUCET_SUN, started, unlimited=True))
        for address, made in self.evm.deploy_genesis(FAUCET).items():
            contract = Contract(made.name, abi_json(made.abi), made.bytecode, FAUCET, energy_limit=10_000_000)
            self.world.put(address, Account(create_time=started, contract=contract))
        accounts = entries[0].get("accounts", 0) if entries else accounts
        for number in range(accounts):
            self.world.put(genesis.address(number), Account(genesis.SUN_EACH, started))
        self._append(started, [])
        if not entries:
            if self._journal:
                self._journal.write({"genesis": started, "accounts": accounts})
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
                self._building.clear()
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

    def info(self, txid: bytes) -> Json:
        """Return what a transaction in a block did."""
        found: Json = orjson.loads(self.infos[txid])
        return found

    def mine(self, count: int = 1) -> None:
        """Make blocks now."""
        for _ in self.mining(count):
            pass

    def mining(self, count: int = 1) -> Iterator[None]:
        """Make blocks in small steps; between two of them the chain may be read, and transactions may come in.

        Blocks' times never run past the wall clock and its skew. What a block changes is seen once it is whole.
        Nothing else may change the chain meanwhile, and once begun the steps must be taken to their end.
        """
        first, now = self.head.timestamp, max(self.now_ms() + self.skew_ms, self.head.timestamp)
        for step in range(1, count + 1):
            timestamp = first + (now - first) * step // count
            yield from self._make(timestamp, self._next_txs())
            if self._journal:
                entry: Json = {"t": timestamp}
                if self.head.txs:
                    entry["x"] = [tx.to_bytes().hex() for tx in self.head.txs]
                self._journal.write(entry)
            yield
        yield from self._previewing()

    def _next_txs(self) -> list[Tx]:
        """Take what the next block holds out of the pool, without what expired or refers to a block that went."""
        txs = [self.pool.popitem(last=False)[1] for _ in range(min(len(self.pool), TXS_PER_BLOCK))]
        alive = self.head.timestamp
        return [tx for tx in txs if tx.message.raw_data.expiration > alive and self._refers_to_a_block(tx)]

    def _previewing(self) -> Iterator[None]:
        """Compute anew what the pool will have done, in small steps."""
        self._waiting.clear()
        for place, tx in enumerate(list(self.pool.values())):
            with contextlib.suppress(ContractError, BandwidthError):
                self._preview.preview(tx, self.clock_ms)
            if place % PREVIEWS_PER_STEP == PREVIEWS_PER_STEP - 1:
                yield

    def _preview_again(self) -> None:
        for _ in self._previewing():
            pass

    def _append(self, timestamp: int, txs: list[Tx]) -> None:
        """Execute transactions as the next block."""
        for _ in self._make(timestamp, txs):
            pass

    def _make(self, timestamp: int, txs: list[Tx]) -> Iterator[None]:
        """Execute transactions as the next block, without those that are not valid any more."""
        number = len(self.blocks)
        producer = (number + self._forks) % PRODUCERS
        self.evm.begin_block(self.surroundings(number, timestamp, producer))
        self._in_work = {tx.txid for tx in txs}
        kept: list[tuple[Tx, str, bytes, bytes]] = []
        for place, tx in enumerate(txs):
            with contextlib.suppress(ContractError, BandwidthError):
                result, info = self._executor.execute(tx, number, timestamp, timestamp + self.ahead_ms)
                shown = tx.to_json(visible=False, result=result)
                kept.append((tx, result, orjson.dumps(info), orjson.dumps(shown)))
            yield
            if place % TXS_PER_COMMIT == TXS_PER_COMMIT - 1:
                self.evm.commit()
                yield
        unchanged = number > 0 and not kept
        block = Block(
            number=number,
            id=b"",
            parent=self.head.id if self.blocks else bytes(32),
            root=merkle_root([hashlib.sha256(tx.to_bytes()).digest() for tx, *_ in kept]),
            timestamp=timestamp,
            producer=producer,
            state_root=self.head.state_root if unchanged else self.evm.commit(),
            txs=[tx for tx, *_ in kept],
            results=[result for _, result, *_ in kept],
            shown=[shown for *_, shown in kept],
        )
        block.id = block_id(number, block.header())
        yield
        self._add(block, [info for *_, info, _ in kept])

    def _add(self, block: Block, infos: list[bytes]) -> None:
        """Put a block that is whole on the chain, with what it changed."""
        if block.number:
            self.world.begin_block()
        self._building.merge()
        for place, (tx, info) in enumerate(zip(block.txs, infos, strict=True)):
            self.where[tx.txid] = (block.number, place)
            self.infos[tx.txid] = info
        self._in_work = set()
        self.blocks.append(block)
        if block.number >= SHOWN_BLOCKS:
            self.blocks[block.number - SHOWN_BLOCKS].shown = None
        self.world.forget_undo(max(self.solid_after, self._unsolid))

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
        if tx.txid in self.where or tx.txid in self.pool or tx.txid in self._in_work:
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
