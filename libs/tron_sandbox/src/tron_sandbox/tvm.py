"""The virtual machine: py-evm with the TVM's instructions and prices, Tron's TRX, and a record of inner calls.

TRX is not in the contracts' state: balances are read from the accounts, and what a call changes of them is told
when it is over.
"""

from collections.abc import Callable, Iterable
from typing import Any

from eth.exceptions import InvalidInstruction
from eth.vm.execution_context import ExecutionContext
from eth.vm.forks.byzantium import ByzantiumVM
from eth.vm.forks.byzantium.computation import BYZANTIUM_PRECOMPILES, ByzantiumComputation
from eth.vm.forks.byzantium.state import ByzantiumState
from eth.vm.transaction_context import BaseTransactionContext

from tron_sandbox.internals import Internal, reject
from tron_sandbox.opcodes import OPCODES

Balance = Callable[[bytes], int | None]
"""Tells an account's balance in sun; None where there is no account. Addresses have 20 bytes here."""
CHAIN_ID = 0x9A7A17
"""What CHAINID answers; mainnet has 0x2b6653dc."""
_TRON_ONLY = {
    0x09: "batchvalidatesign",
    0x0A: "validatemultisign",
    0x1000001: "verifyMintProof",
    0x1000002: "verifyTransferProof",
    0x1000003: "verifyBurnProof",
    0x1000004: "merkleHash",
    0x1000005: "rewardBalance",
    0x1000006: "isSrCandidate",
    0x1000007: "voteCount",
    0x1000008: "usedVoteCount",
    0x1000009: "receivedVoteCount",
    0x100000A: "totalVoteCount",
    0x100000B: "getChainParameter",
    0x100000C: "availableUnfreezeV2Size",
    0x100000D: "unfreezableBalanceV2",
    0x100000E: "expireUnfreezeBalanceV2",
    0x100000F: "delegatableResource",
    0x1000010: "resourceV2",
    0x1000011: "checkUnDelegateResource",
    0x1000012: "resourceUsage",
    0x1000013: "totalResource",
    0x1000014: "totalDelegatedResource",
    0x1000015: "totalAcquiredResource",
}


MOST_CODES = 256
_JUMPS: dict[bytes, tuple[set[int], set[int]]] = {}


def nobody(_: bytes) -> int | None:
    """Tell that there are no accounts."""
    return None


def surroundings(number: int, time_ms: int, producer: bytes, price: int, ids: Iterable[bytes]) -> ExecutionContext:
    """Return what a contract can ask about its block.

    Args:
        number: the block's number.
        time_ms: the block's time.
        producer: who made it, in 21 bytes.
        price: the energy fee in sun.
        ids: the ids of the blocks before it, the newest first.
    """
    return ExecutionContext(
        coinbase=producer[1:],
        timestamp=time_ms // 1000,
        block_number=number,
        difficulty=0,
        mix_hash=bytes(32),
        gas_limit=10**9,
        prev_hashes=ids,
        chain_id=CHAIN_ID,
        base_fee_per_gas=price,
    )


class TvmContext(BaseTransactionContext):  # type: ignore[misc]  # py-evm ships no types here.
    """What all calls of a transaction share: its id, and the calls inside it in the order of their beginning."""

    def __init__(self, origin: bytes, txid: bytes) -> None:
        super().__init__(gas_price=0, origin=origin)
        self.txid = txid
        self.internals: list[Internal] = []


def _refused(name: str) -> Callable[[Any], Any]:
    def refuse(_: Any) -> Any:
        raise InvalidInstruction(f"the sandbox does not run the precompiled contract {name}")

    return refuse


class TvmComputation(ByzantiumComputation):  # type: ignore[misc]  # py-evm ships no types here.
    """A call that records the calls inside it."""

    opcodes = OPCODES
    _precompiles = BYZANTIUM_PRECOMPILES | {
        number.to_bytes(20, "big"): _refused(name) for number, name in _TRON_ONLY.items()
    }

    def __init__(self, state: Any, message: Any, transaction_context: Any) -> None:
        super().__init__(state, message, transaction_context)
        # Where jumps may go is found out once for each code, not once for each call.
        known = _JUMPS.get(message.code)
        if known is None:
            if len(_JUMPS) >= MOST_CODES:
                _JUMPS.clear()
            known = _JUMPS[message.code] = (self.code.valid_positions, self.code.invalid_positions)
        self.code.valid_positions, self.code.invalid_positions = known

    def consume_gas(self, amount: int, reason: str) -> None:
        """Take gas: done for each instruction, so without a call when there is enough."""
        left = self._gas_meter.gas_remaining - amount
        if left < 0 or amount < 0:
            self._gas_meter.consume_gas(amount, reason)
        self._gas_meter.gas_remaining = left

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

    @classmethod
    def validate_contract_code(cls, contract_code: bytes) -> None:
        """Refuse code that begins with EF; its size is not limited on Tron."""
        if contract_code.startswith(b"\xef"):
            raise InvalidInstruction("invalid code: must not begin with 0xef")


class TvmState(ByzantiumState):  # type: ignore[misc]  # py-evm ships no types here.
    """The contracts' state, whose TRX is that of the accounts."""

    computation_class = TvmComputation
    balances: dict[bytes, int]
    """What the call under way changed."""
    transient: dict[tuple[bytes, int], bytes]
    balance_of: Balance

    def begin(self, balance_of: Balance) -> None:
        """Start a transaction: TRX is as these accounts say."""
        self.balance_of, self.balances, self.transient = balance_of, {}, {}

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

    def get_transient_storage(self, address: bytes, slot: int) -> bytes:
        """Return what the transaction stored for itself."""
        return self.transient.get((address, slot), b"")

    def set_transient_storage(self, address: bytes, slot: int, value: bytes) -> None:
        """Store something until the transaction's end."""
        self.transient[address, slot] = bytes(value)

    def snapshot(self) -> Any:
        """Remember the state, to come back to it."""
        return (*super().snapshot(), dict(self.balances), dict(self.transient))

    def revert(self, snapshot: Any) -> None:
        """Come back to a snapshot."""
        super().revert(snapshot[:2])
        self.balances, self.transient = dict(snapshot[2]), dict(snapshot[3])

    def commit(self, snapshot: Any) -> None:
        """Keep what was done since a snapshot."""
        super().commit(snapshot[:2])


class Tvm(ByzantiumVM):  # type: ignore[misc]  # py-evm ships no types here.
    """The rules."""

    _state_class = TvmState
