"""The TVM's instructions: Byzantium's and what came later, at the TVM's prices (java-tron, EnergyCost and
OperationRegistry). What only Tron has is refused by its name.
"""

from typing import Any

from eth.exceptions import Halt, InvalidInstruction
from eth.vm.forks.byzantium.opcodes import BYZANTIUM_OPCODES, ensure_no_static
from eth.vm.forks.cancun.logic import tload, tstore
from eth.vm.logic import arithmetic, block, call, context, memory, stack, storage, system
from eth.vm.opcode import as_opcode
from eth_utils import keccak

from tron_sandbox.addresses import PREFIX
from tron_sandbox.internals import Internal

ZERO, BASE, VERY_LOW, LOW, EXTERNAL = 0, 2, 3, 5, 20
CALL_ENERGY = 40
CREATE_ENERGY = 32_000
EXP_BYTE_ENERGY = 10
SLOAD_ENERGY = 50
CODE_HASH_ENERGY = 400
TRANSIENT_ENERGY = 100

TRON_ONLY = {
    0xD0: "CALLTOKEN",
    0xD1: "TOKENBALANCE",
    0xD2: "CALLTOKENVALUE",
    0xD3: "CALLTOKENID",
    0xD5: "FREEZE",
    0xD6: "UNFREEZE",
    0xD7: "FREEZEEXPIRETIME",
    0xD8: "VOTEWITNESS",
    0xD9: "WITHDRAWREWARD",
    0xDA: "FREEZEBALANCEV2",
    0xDB: "UNFREEZEBALANCEV2",
    0xDC: "CANCELALLUNFREEZEV2",
    0xDD: "WITHDRAWEXPIREUNFREEZE",
    0xDE: "DELEGATERESOURCE",
    0xDF: "UNDELEGATERESOURCE",
}


def _refused(code: int, name: str) -> Any:
    def refuse(_: Any) -> None:
        raise InvalidInstruction(f"the sandbox does not run {name} (opcode 0x{code:x})")

    return as_opcode(refuse, name, ZERO)


def _is_contract(computation: Any) -> None:
    address = bytes(computation.stack_pop1_bytes())[-20:].rjust(20, b"\0")
    computation.stack_push_int(1 if computation.state.get_code(address) else 0)


def _self_balance(computation: Any) -> None:
    computation.stack_push_int(computation.state.get_balance(computation.msg.storage_address))


def _zero(computation: Any) -> None:
    computation.stack_push_int(0)


def _blob_hash(computation: Any) -> None:
    computation.stack_pop1_int()
    computation.stack_push_int(0)


def _self_destruct(computation: Any) -> None:
    heir = bytes(computation.stack_pop1_bytes())[-20:].rjust(20, b"\0")
    state, here = computation.state, computation.msg.storage_address
    sun = state.get_balance(here)
    computation.transaction_context.internals.append(Internal(here, heir, sun, "suicide"))
    state.set_balance(heir, state.get_balance(heir) + sun)
    state.set_balance(here, 0)
    computation.register_account_for_deletion(heir)
    raise Halt("SELFDESTRUCT")


class _Create(system.CreateByzantium):  # type: ignore[misc]  # py-evm ships no types here.
    """CREATE: the address comes of the transaction and of how many calls it made until now."""

    def generate_contract_address(self, stack_data: Any, call_data: bytes, computation: Any) -> Any:
        """Return the new contract's address (TransactionUtil.generateContractAddress)."""
        shared = computation.transaction_context
        computation.state.increment_nonce(computation.msg.storage_address)
        return bytes(keccak(shared.txid + len(shared.internals).to_bytes(8, "big"))[-20:])


class _Create2(system.Create2):  # type: ignore[misc]  # py-evm ships no types here.
    """CREATE2: the maker's address begins with 41 where Ethereum has ff."""

    def generate_contract_address(self, stack_data: Any, call_data: bytes, computation: Any) -> Any:
        """Return the new contract's address (WalletUtil.generateContractAddress2)."""
        maker = computation.msg.storage_address
        computation.state.increment_nonce(maker)
        salt = stack_data.salt.to_bytes(32, "big")
        return bytes(keccak(PREFIX + maker + salt + keccak(call_data))[-20:])


def _configured(kind: Any, name: str, cost: int) -> Any:
    return kind.configure(__name__=f"opcode:{name}", mnemonic=name, gas_cost=cost)()


OPCODES: dict[int, Any] = {
    **BYZANTIUM_OPCODES,
    0x0A: as_opcode(arithmetic.exp(gas_per_byte=EXP_BYTE_ENERGY), "EXP", 10),
    0x1B: as_opcode(arithmetic.shl, "SHL", VERY_LOW),
    0x1C: as_opcode(arithmetic.shr, "SHR", VERY_LOW),
    0x1D: as_opcode(arithmetic.sar, "SAR", VERY_LOW),
    0x31: as_opcode(context.balance, "BALANCE", EXTERNAL),
    0x3B: as_opcode(context.extcodesize, "EXTCODESIZE", EXTERNAL),
    0x3C: as_opcode(context.extcodecopy, "EXTCODECOPY", EXTERNAL),
    0x3F: as_opcode(context.extcodehash, "EXTCODEHASH", CODE_HASH_ENERGY),
    0x46: as_opcode(context.chain_id, "CHAINID", BASE),
    0x47: as_opcode(_self_balance, "SELFBALANCE", LOW),
    0x48: as_opcode(block.basefee, "BASEFEE", BASE),
    0x49: as_opcode(_blob_hash, "BLOBHASH", VERY_LOW),
    0x4A: as_opcode(_zero, "BLOBBASEFEE", BASE),
    0x54: as_opcode(storage.sload, "SLOAD", SLOAD_ENERGY),
    0x5C: as_opcode(tload, "TLOAD", TRANSIENT_ENERGY),
    0x5D: as_opcode(tstore, "TSTORE", TRANSIENT_ENERGY),
    0x5E: as_opcode(memory.mcopy, "MCOPY", VERY_LOW),
    0x5F: as_opcode(stack.push0, "PUSH0", BASE),
    0xD4: as_opcode(_is_contract, "ISCONTRACT", EXTERNAL),
    0xF0: _configured(_Create, "CREATE", CREATE_ENERGY),
    0xF1: _configured(call.CallByzantium, "CALL", CALL_ENERGY),
    0xF2: _configured(call.CallCodeEIP150, "CALLCODE", CALL_ENERGY),
    0xF4: _configured(call.DelegateCallEIP150, "DELEGATECALL", CALL_ENERGY),
    0xF5: _configured(_Create2, "CREATE2", CREATE_ENERGY),
    0xFA: _configured(call.StaticCall, "STATICCALL", CALL_ENERGY),
    0xFF: as_opcode(ensure_no_static(_self_destruct), "SELFDESTRUCT", ZERO),
    **{code: _refused(code, name) for code, name in TRON_ONLY.items()},
}
