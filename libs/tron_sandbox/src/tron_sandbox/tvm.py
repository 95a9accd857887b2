"""The virtual machine: py-evm on Byzantium rules, with Tron's TRX and a record of what calls inside a call do.

TRX is not in the contracts' state: balances are read from the accounts, and what a call changes of them is told
when it is over.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from eth.vm.forks.byzantium import ByzantiumVM
from eth.vm.forks.byzantium.computation import ByzantiumComputation
from eth.vm.forks.byzantium.state import ByzantiumState
from eth.vm.transaction_context import BaseTransactionContext

Balance = Callable[[bytes], int | None]
"""Tells an account's balance in sun; None where there is no account. Addresses have 20 bytes here."""


def nobody(_: bytes) -> int | None:
    """Tell that there are no accounts."""
    return None


@dataclass(slots=True)
class Internal:
    """A call inside a call (java-tron's internal transaction); addresses have 20 bytes."""

    caller: bytes
    to: bytes
    sun: int
    note: str
    rejected: bool = False


class TvmContext(BaseTransactionContext):  # type: ignore[misc]  # py-evm ships no types here.
    """What all calls of a transaction share: the calls inside it, in the order of their beginning."""

    def __init__(self, origin: bytes) -> None:
        super().__init__(gas_price=0, origin=origin)
        self.internals: list[Internal] = []


class TvmComputation(ByzantiumComputation):  # type: ignore[misc]  # py-evm ships no types here.
    """A call that records the calls inside it."""

    def apply_child_computation(self, child_msg: Any) -> Any:
        """Run a call inside this one and record it; a precompiled contract is no call."""
        record = self.transaction_context.internals
        first = len(record)
        if child_msg.code_address not in self.precompiles:
            sun = child_msg.value if child_msg.should_transfer_value else 0
            note = "create" if child_msg.is_create else "call"
            record.append(Internal(self.msg.storage_address, child_msg.storage_address, sun, note))
        child = super().apply_child_computation(child_msg)
        if child.is_error:
            reject(record[first:])
        return child


def reject(record: list[Internal]) -> None:
    """Mark calls whose effects were taken back."""
    for one in record:
        one.rejected = True


class TvmState(ByzantiumState):  # type: ignore[misc]  # py-evm ships no types here.
    """The contracts' state, whose TRX is that of the accounts."""

    computation_class = TvmComputation
    balances: dict[bytes, int]
    """What the call under way changed."""
    balance_of: Balance

    def begin(self, balance_of: Balance) -> None:
        """Start a transaction: TRX is as these accounts say."""
        self.balance_of, self.balances = balance_of, {}

    def get_balance(self, address: bytes) -> int:
        """Return an account's TRX in sun."""
        changed = self.balances.get(address)
        return changed if changed is not None else self.balance_of(address) or 0

    def set_balance(self, address: bytes, balance: int) -> None:
        """Remember an account's TRX in sun."""
        self.balances[address] = balance

    def account_exists(self, address: bytes) -> bool:
        """Tell whether an address has an account or a contract."""
        if address in self.balances or self.balance_of(address) is not None:
            return True
        return bool(super().account_exists(address))

    def account_is_empty(self, address: bytes) -> bool:
        """Tell whether sending to an address would make an account."""
        return not self.account_exists(address)

    def touch_account(self, address: bytes) -> None:
        """Do nothing: an account without a contract has no place in this state."""

    def snapshot(self) -> Any:
        """Remember the state, to come back to it."""
        return (*super().snapshot(), dict(self.balances))

    def revert(self, snapshot: Any) -> None:
        """Come back to a snapshot."""
        super().revert(snapshot[:2])
        self.balances = dict(snapshot[2])

    def commit(self, snapshot: Any) -> None:
        """Keep what was done since a snapshot."""
        super().commit(snapshot[:2])


class Tvm(ByzantiumVM):  # type: ignore[misc]  # py-evm ships no types here.
    """The rules."""

    _state_class = TvmState
