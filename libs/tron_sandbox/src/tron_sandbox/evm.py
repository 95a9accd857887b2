"""Contracts: those of genesis, their state, calls of them, and new ones.

Each block has a state root, so a fork is a new state at an old root. Energy is the gas of the call without its
intrinsic cost; for popular contracts mainnet asks a multiple (dynamic energy).
"""

import json
import re
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

from eth import constants
from eth.chains.base import MiningChain
from eth.db.atomic import AtomicDB
from eth.exceptions import (
    FullStack,
    InsufficientStack,
    InvalidInstruction,
    InvalidJumpDestination,
    OutOfGas,
    Revert,
)
from eth.vm.message import Message
from eth_abi import encode
from eth_utils import keccak

from tron_sandbox import addresses
from tron_sandbox.internals import Internal, reject
from tron_sandbox.tvm import Balance, Tvm, TvmContext, nobody, surroundings

USDT = addresses.from_text("TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t")
FAKE_USDT = addresses.PREFIX + keccak(b"garant sandbox: fake USDT")[-20:]
PAYOUT = addresses.PREFIX + keccak(b"garant sandbox: several transfers")[-20:]
TRX_PAYOUT = addresses.PREFIX + keccak(b"garant sandbox: TRX inside a call")[-20:]
SUPPLY = 10**24
DYNAMIC_FACTOR, DYNAMIC_BASE = 4.4, 824
"""What mainnet asks for USDT: a multiple of the gas, and what its code does more in a call than the one here."""
CONSTANT_ENERGY = 100_000_000
"""What a call that is forgotten may use at most (java-tron, maxEnergyLimitForConstant)."""

_GENESIS: dict[str, Any] = {
    "difficulty": 1,
    "gas_limit": 10**9,
    "timestamp": 1,
    "coinbase": constants.ZERO_ADDRESS,
    "nonce": bytes(8),
    "mix_hash": bytes(32),
    "extra_data": b"",
    "transaction_root": constants.BLANK_ROOT_HASH,
    "receipt_root": constants.BLANK_ROOT_HASH,
}


@dataclass(frozen=True, slots=True)
class Artifact:
    """A compiled contract."""

    name: str
    abi: list[dict[str, Any]]
    bytecode: bytes


@dataclass(frozen=True, slots=True)
class Log:
    """An event of a contract; `address` has 20 bytes."""

    address: bytes
    topics: list[bytes]
    data: bytes


@dataclass(frozen=True, slots=True)
class Execution:
    """How a call ended, in java-tron's words (SUCCESS, REVERT, OUT_OF_ENERGY…), and what it did."""

    result: str
    energy: int
    output: bytes
    internals: list[Internal]
    reason: str = ""
    """java-tron's text for a failure."""
    penalty: int = 0
    """What of the energy is asked beyond the gas."""
    logs: list[Log] = field(default_factory=list)
    balances: dict[bytes, int] = field(default_factory=dict)
    """TRX in sun, of each account that it changed."""
    ended: frozenset[bytes] = frozenset()
    """Contracts that ended themselves."""


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a contract, or code that makes one; addresses have 21 bytes."""

    sender: bytes
    contract: bytes
    data: bytes
    """Of a new contract: its code and the arguments of its constructor."""
    txid: bytes
    sun: int = 0
    creates: bool = False


def artifacts() -> dict[str, Artifact]:
    """Return the compiled contracts by name."""
    text = resources.files("tron_sandbox").joinpath("contracts/sandbox.json").read_text()
    return {
        name: Artifact(name, found["abi"], bytes.fromhex(found["bytecode"]))
        for name, found in json.loads(text).items()
    }


class Evm:
    """The contracts' state: a working state on top of committed roots."""

    def __init__(self) -> None:
        database = AtomicDB()
        configured = MiningChain.configure("Sandbox", vm_configuration=((0, Tvm),))
        configured.from_genesis(database, _GENESIS, {})
        self._database = database
        self._state = self._state_at(constants.BLANK_ROOT_HASH, surroundings(0, 0, bytes(21), 0, ()))

    def _state_at(self, root: bytes, block: Any) -> Any:
        return Tvm.get_state_class()(self._database, block, root)

    def deploy_genesis(self, owner: bytes) -> dict[bytes, Artifact]:
        """Make the contracts that are there from the beginning; return them by address."""
        compiled = artifacts()
        token = encode(["string", "string", "uint256"], ["Tether USD", "USDT", SUPPLY])
        made: dict[bytes, Artifact] = {}
        for address, name, arguments in (
            (USDT, "UsdtLike", token),
            (FAKE_USDT, "UsdtLike", token),
            (PAYOUT, "Payout", b""),
            (TRX_PAYOUT, "TrxPayout", b""),
        ):
            made[address] = compiled[name]
            code = compiled[name].bytecode + arguments
            done = self.call(Call(owner, address, code, bytes(32), creates=True), 10**8, nobody)
            assert done.result == "SUCCESS", done.reason
        return made

    def begin_block(self, block: Any) -> None:
        """Tell contracts about the block that is made."""
        self._state.execution_context = block

    def commit(self) -> bytes:
        """End a block; return the state's root."""
        self._state.persist()
        root: bytes = self._state.state_root
        return root

    def rewind(self, root: bytes) -> None:
        """Go back to the state at a root; what was not committed is gone."""
        self._state = self._state_at(root, self._state.execution_context)

    def call(self, call: Call, energy_limit: int, balance_of: Balance) -> Execution:
        """Run a call on the working state; a failure leaves no trace in it."""
        return _run(self._state, call, energy_limit, balance_of)

    def code_at(self, root: bytes, contract: bytes) -> bytes:
        """Return a contract's code in the state at a root."""
        code: bytes = self._state_at(root, self._state.execution_context).get_code(contract[1:])
        return code

    def call_constant(self, root: bytes, block: Any, call: Call, balance_of: Balance) -> Execution:
        """Run a call on the state at a root and forget what it changed."""
        return _run(self._state_at(root, block), call, CONSTANT_ENERGY, balance_of)


def _run(state: Any, call: Call, energy_limit: int, balance_of: Balance) -> Execution:
    popular = call.contract in (USDT, FAKE_USDT) and not call.creates
    factor, base = (DYNAMIC_FACTOR, DYNAMIC_BASE) if popular else (1.0, 0)
    context = TvmContext(call.sender[1:], call.txid)
    state.begin(balance_of)
    done = _apply(state, call, max(0, int(energy_limit / factor) - base), context)
    energy = min(energy_limit, round((done.get_gas_used() + base) * factor))
    penalty = energy - round(energy / factor)
    if done.is_error:
        reject(context.internals)
        result, reason = _failure(done.error, energy_limit)
        if result == "REVERT":
            return Execution(result, energy, done.output, context.internals, reason, penalty)
        # Whatever is no REVERT burns all energy, on Tron as on Ethereum.
        return Execution(result, energy_limit, b"", context.internals, reason)
    ended = done.get_accounts_for_deletion()
    for address in ended:
        state.delete_account(address)
    return Execution(
        "SUCCESS",
        energy,
        done.output,
        context.internals,
        penalty=penalty,
        logs=[
            Log(address, [topic.to_bytes(32, "big") for topic in topics], bytes(content))
            for address, topics, content in done.get_log_entries()
        ],
        balances={addresses.PREFIX + address: sun for address, sun in state.balances.items()},
        ended=frozenset(addresses.PREFIX + address for address in ended),
    )


def _apply(state: Any, call: Call, gas: int, context: TvmContext) -> Any:
    sender, contract = call.sender[1:], call.contract[1:]
    if call.creates:
        message = Message(
            gas=gas, to=b"", sender=sender, value=call.sun, data=b"", code=call.data, create_address=contract
        )
        return state.computation_class.apply_create_message(state, message, context)
    code = state.get_code(contract)
    message = Message(gas=gas, to=contract, sender=sender, value=call.sun, data=call.data, code=code)
    return state.computation_class.apply_message(state, message, context)


def _failure(error: Exception, limit: int) -> tuple[str, str]:
    """Return java-tron's name and text of a failure (Program.Exception, TransactionUtil.getContractResult)."""
    match error:
        case Revert():
            return "REVERT", "REVERT opcode executed"
        case OutOfGas():
            return "OUT_OF_ENERGY", _not_enough(str(error), limit)
        case InvalidInstruction():
            return "ILLEGAL_OPERATION", str(error)
        case InvalidJumpDestination():
            return "BAD_JUMP_DESTINATION", f"Operation with pc isn't 'JUMPDEST': {error}"
        case InsufficientStack():
            return "STACK_TOO_SMALL", str(error)
        case FullStack():
            return "STACK_TOO_LARGE", str(error)
        case _:
            return "UNKNOWN", str(error)


def _not_enough(text: str, limit: int) -> str:
    found = re.search(r"Needed (\d+) - Remaining (\d+) - Reason: (\w+)", text)
    needed, left, name = found.groups() if found else ("0", "0", "unknown")
    return (
        f"Not enough energy for '{name}' operation executing: curInvokeEnergyLimit[{limit}],"
        f" curOpEnergy[{needed}], usedEnergy[{limit - int(left)}]"
    )
