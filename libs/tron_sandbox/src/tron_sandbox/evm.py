"""Contracts: those of genesis, their state, and calls of them.

Each block has a state root, so a fork is a new state at an old root. Energy is the gas of the call without its
intrinsic cost; mainnet's USDT does more work per transfer than the contract here, which `FACTORS` evens out
(64,285 and 130,285 energy on mainnet; 64,544 and 130,544 here).
"""

import json
from dataclasses import dataclass
from importlib import resources
from typing import Any

from eth import constants
from eth.chains.base import MiningChain
from eth.db.atomic import AtomicDB
from eth.exceptions import Revert
from eth.vm.message import Message
from eth_abi import encode
from eth_utils import keccak

from tron_sandbox import addresses
from tron_sandbox.tvm import Balance, Internal, Tvm, TvmContext, nobody, reject

USDT = addresses.from_text("TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t")
FAKE_USDT = addresses.PREFIX + keccak(b"garant sandbox: fake USDT")[-20:]
PAYOUT = addresses.PREFIX + keccak(b"garant sandbox: several transfers")[-20:]
TRX_PAYOUT = addresses.PREFIX + keccak(b"garant sandbox: TRX inside a call")[-20:]
SUPPLY = 10**24
FACTORS = {USDT: 4.4, FAKE_USDT: 4.4}
CONSTANT_GAS = 50_000_000

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
    """How a call ended (SUCCESS, REVERT or OUT_OF_ENERGY), and what it did."""

    result: str
    energy: int
    output: bytes
    logs: list[Log]
    internals: list[Internal]
    balances: dict[bytes, int]
    """TRX in sun, of each account that it changed."""


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a contract; addresses have 21 bytes."""

    sender: bytes
    contract: bytes
    data: bytes
    sun: int = 0


def artifacts() -> dict[str, Artifact]:
    """Return the compiled contracts by name."""
    text = resources.files("tron_sandbox").joinpath("contracts/sandbox.json").read_text()
    return {
        name: Artifact(name, found["abi"], bytes.fromhex(found["bytecode"]))
        for name, found in json.loads(text).items()
    }


class Evm:
    """The contracts' state: a working state on top of committed roots."""

    def __init__(self, owner: bytes) -> None:
        database = AtomicDB()
        configured = MiningChain.configure("Sandbox", vm_configuration=((0, Tvm),))
        chain = configured.from_genesis(database, _GENESIS, {})
        self._database = database
        self._context = chain.get_vm().state.execution_context
        self._state = self._state_at(constants.BLANK_ROOT_HASH)
        self.contracts: dict[bytes, Artifact] = {}
        self._deploy_all(owner)

    def _state_at(self, root: bytes) -> Any:
        return Tvm.get_state_class()(self._database, self._context, root)

    def _deploy_all(self, owner: bytes) -> None:
        self._state.begin(nobody)
        compiled = artifacts()
        token = encode(["string", "string", "uint256"], ["Tether USD", "USDT", SUPPLY])
        for address, name, arguments in (
            (USDT, "UsdtLike", token),
            (FAKE_USDT, "UsdtLike", token),
            (PAYOUT, "Payout", b""),
            (TRX_PAYOUT, "TrxPayout", b""),
        ):
            artifact = compiled[name]
            message = Message(
                gas=10**8,
                to=b"",
                sender=owner[1:],
                value=0,
                data=b"",
                code=artifact.bytecode + arguments,
                create_address=address[1:],
            )
            done = self._state.computation_class.apply_create_message(self._state, message, TvmContext(owner[1:]))
            assert not done.is_error, done.error
            self.contracts[address] = artifact

    def commit(self) -> bytes:
        """End a block; return the state's root."""
        self._state.persist()
        root: bytes = self._state.state_root
        return root

    def rewind(self, root: bytes) -> None:
        """Go back to the state at a root; what was not committed is gone."""
        self._state = self._state_at(root)

    def call(self, call: Call, energy_limit: int, balance_of: Balance) -> Execution:
        """Run a call on the working state; a failure leaves no trace in it."""
        return self._run(self._state, call, energy_limit, balance_of)

    def call_constant(self, root: bytes, call: Call, balance_of: Balance) -> Execution:
        """Run a call on the state at a root and forget what it changed."""
        return self._run(self._state_at(root), call, CONSTANT_GAS, balance_of)

    def _run(self, state: Any, call: Call, energy_limit: int, balance_of: Balance) -> Execution:
        factor = FACTORS.get(call.contract, 1.0)
        message = Message(
            gas=int(energy_limit / factor),
            to=call.contract[1:],
            sender=call.sender[1:],
            value=call.sun,
            data=call.data,
            code=state.get_code(call.contract[1:]),
        )
        context = TvmContext(call.sender[1:])
        state.begin(balance_of)
        done = state.computation_class.apply_message(state, message, context)
        if done.is_error:
            reject(context.internals)
            # Whatever is no REVERT burns all energy, on Tron as on Ethereum.
            if not isinstance(done.error, Revert):
                return Execution("OUT_OF_ENERGY", energy_limit, b"", [], context.internals, {})
            energy = round(done.get_gas_used() * factor)
            return Execution("REVERT", energy, done.output, [], context.internals, {})
        logs = [
            Log(address, [topic.to_bytes(32, "big") for topic in topics], bytes(content))
            for address, topics, content in done.get_log_entries()
        ]
        balances = {addresses.PREFIX + address: sun for address, sun in state.balances.items()}
        energy = round(done.get_gas_used() * factor)
        return Execution("SUCCESS", energy, done.output, logs, context.internals, balances)
