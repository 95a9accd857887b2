"""Accounts in TRX, their resources and the fees, with an undo log per block so that forks can take blocks back."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from tron_sandbox.jsonformat import Json

WINDOW_MS = 24 * 3600 * 1000
"""What was used comes back evenly over a day (java-tron, ResourceProcessor)."""
SUN = 1_000_000

BANDWIDTH, ENERGY = 0, 1
"""The two resources that TRX can be staked for, as java-tron numbers them."""
TOTAL_LIMITS = (43_200_000_000, 180_000_000_000)
TOTAL_WEIGHTS = (27_000_000_000, 19_000_000_000)
"""Mainnet's, so that a staked TRX gives what it gives there: 1.6 bandwidth or 9.47 energy a day."""


def used_at(used: int, since_ms: int, now_ms: int) -> int:
    """Return what of a use is not come back yet."""
    gone = now_ms - since_ms
    return 0 if gone >= WINDOW_MS else used * (WINDOW_MS - gone) // WINDOW_MS


@dataclass(frozen=True, slots=True)
class Stake:
    """What an account has of a resource; amounts in sun, uses in the resource's units."""

    frozen: int = 0
    """Staked and at hand."""
    delegated: int = 0
    """Staked, and lent to others."""
    acquired: int = 0
    """Lent by others."""
    used: int = 0
    used_ms: int = 0

    def limit(self, resource: int) -> int:
        """Return what the account may use in a day."""
        return (self.frozen + self.acquired) * TOTAL_LIMITS[resource] // (TOTAL_WEIGHTS[resource] * SUN)

    def left(self, resource: int, now_ms: int) -> int:
        """Return what the account may use now."""
        return max(0, self.limit(resource) - used_at(self.used, self.used_ms, now_ms))

    def use(self, units: int, now_ms: int) -> "Stake":
        """Return the stake after a use."""
        return replace(self, used=used_at(self.used, self.used_ms, now_ms) + units, used_ms=now_ms)


@dataclass(frozen=True, slots=True)
class Loan:
    """A stake that is lent: to whom, of which resource, how much, and until when it can't be taken back."""

    receiver: bytes
    resource: int
    sun: int
    locked_until_ms: int = 0


@dataclass(frozen=True, slots=True)
class Unstaked:
    """TRX on its way back from a stake."""

    resource: int
    sun: int
    due_ms: int


@dataclass(frozen=True, slots=True)
class Contract:
    """What an account is told of that is a smart contract."""

    name: str = ""
    abi: Json = field(default_factory=dict)
    """As java-tron shows it."""
    bytecode: bytes = b""
    origin: bytes = b""
    """Who made it."""
    user_percent: int = 100
    """How much of a call's energy its caller pays."""
    energy_limit: int = 0
    """How much energy its maker pays for a call at most."""


@dataclass(frozen=True, slots=True)
class Account:
    """An activated account; amounts in sun."""

    balance: int = 0
    create_time: int = 0
    net_used: int = 0
    net_time: int = 0
    unlimited: bool = False
    """The faucet pays no fees."""
    stakes: tuple[Stake, Stake] = field(default=(Stake(), Stake()))
    """Of bandwidth and of energy."""
    loans: tuple[Loan, ...] = ()
    lenders: tuple[bytes, ...] = ()
    """Who lends to it."""
    unstaked: tuple[Unstaked, ...] = ()
    contract: Contract | None = None

    def bandwidth_used(self, now_ms: int) -> int:
        """Return how much free bandwidth is used at this time."""
        return used_at(self.net_used, self.net_time, now_ms)

    def with_stake(self, resource: int, stake: Stake) -> "Account":
        """Return the account with another stake."""
        net, energy = self.stakes
        return replace(self, stakes=(stake, energy) if resource == BANDWIDTH else (net, stake))


@dataclass(frozen=True, slots=True)
class Parameters:
    """The chain parameters that fees come from, in sun, and the bandwidth that each account has for nothing."""

    energy_fee: int = 100
    bandwidth_fee: int = 1000
    create_account_fee: int = 100_000
    new_account_fee: int = 1_000_000
    memo_fee: int = 1_000_000
    max_fee_limit: int = 15_000_000_000
    free_bandwidth: int = 600


class World:
    """All accounts by address."""

    def __init__(self, parameters: Parameters | None = None) -> None:
        self.parameters = parameters or Parameters()
        self.accounts: dict[bytes, Account] = {}
        self._undo: list[dict[bytes, Account | None]] = []

    def begin_block(self) -> None:
        """Start to remember what the block changes."""
        self._undo.append({})

    def undo_block(self) -> None:
        """Take the newest block's changes back."""
        for address, before in self._undo.pop().items():
            if before is None:
                self.accounts.pop(address, None)
            else:
                self.accounts[address] = before

    def forget_undo(self, keep: int) -> None:
        """Drop what only blocks that are solid by now would need."""
        del self._undo[: max(0, len(self._undo) - keep)]

    def get(self, address: bytes) -> Account | None:
        """Return the account, or None while it is not activated."""
        return self.accounts.get(address)

    def before(self, address: bytes, blocks: int) -> Account | None:
        """Return the account as it was before the newest `blocks` blocks."""
        for undo in self._undo[-blocks:]:
            if address in undo:
                return undo[address]
        return self.accounts.get(address)

    def put(self, address: bytes, account: Account) -> None:
        """Store an account; what is stored last is the last of `accounts`."""
        before = self.accounts.pop(address, None)
        if self._undo:
            self._undo[-1].setdefault(address, before)
        self.accounts[address] = account

    def drop(self, address: bytes) -> None:
        """Remove an account: a contract's that ended itself."""
        if self._undo:
            self._undo[-1].setdefault(address, self.accounts.get(address))
        self.accounts.pop(address, None)

    def touched(self, most: int) -> list[tuple[bytes, Account]]:
        """Return the accounts that changed last, the newest change first."""
        return list(itertools.islice(reversed(self.accounts.items()), most))

    def apply(self, change: Mapping[bytes, Account]) -> None:
        """Store accounts."""
        for address, account in change.items():
            self.put(address, account)


class Overlay(World):
    """A world with changes on top of it, which itself stays as it is until they are merged."""

    def __init__(self, base: World) -> None:
        super().__init__(base.parameters)
        self._base = base
        self._changed: dict[bytes, Account | None] = {}

    def get(self, address: bytes) -> Account | None:
        """Return the account as it is with the changes."""
        return self._changed[address] if address in self._changed else self._base.get(address)

    def put(self, address: bytes, account: Account) -> None:
        """Store an account."""
        self._changed[address] = account

    def drop(self, address: bytes) -> None:
        """Remove an account."""
        self._changed[address] = None

    def clear(self) -> None:
        """Forget the changes; take up the fees as they are now."""
        self._changed.clear()
        self.parameters = self._base.parameters

    def merge(self) -> None:
        """Change the world itself."""
        for address, account in self._changed.items():
            if account is None:
                self._base.drop(address)
            else:
                self._base.put(address, account)
        self.clear()


@dataclass(frozen=True, slots=True)
class Context:
    """Where a contract is carried out: the world and the block's time."""

    world: World
    now_ms: int


Change = dict[bytes, Account]
"""The accounts as they are afterwards."""
