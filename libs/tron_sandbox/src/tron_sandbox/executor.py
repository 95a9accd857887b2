"""What a transaction does when its block is made: checks, fees, effects, and its receipt."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from tron_sandbox import addresses, staking
from tron_sandbox.evm import Evm, Execution
from tron_sandbox.messages import STAKE
from tron_sandbox.protocol import Json, Tx
from tron_sandbox.world import BANDWIDTH, ENERGY, FREE_BANDWIDTH, Account, World

RESULT_TEXTS = {
    "REVERT": b"REVERT opcode executed",
    "OUT_OF_ENERGY": b"Not enough energy for 'SSTORE' operation executing: curInvokeEnergyLimit",
}


@dataclass(frozen=True, slots=True)
class Parameters:
    """The chain parameters that fees come from, in sun."""

    energy_fee: int = 100
    bandwidth_fee: int = 1000
    create_account_fee: int = 100_000
    new_account_fee: int = 1_000_000
    memo_fee: int = 1_000_000
    max_fee_limit: int = 15_000_000_000


class ContractError(ValueError):
    """java-tron's ContractValidateException; the text is its message."""


class BandwidthError(ValueError):
    """Neither bandwidth nor TRX to burn for it."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """The fees of a transaction."""

    net_usage: int = 0
    net_fee: int = 0
    fee: int = 0


class Executor:
    """Applies transactions to the world and to the contracts."""

    def __init__(self, world: World, evm: Evm, parameters: Parameters, now_ms: Callable[[], int]) -> None:
        self._world = world
        self._now_ms = now_ms
        self._evm = evm
        self.parameters = parameters

    def validate(self, tx: Tx) -> None:
        """Check a transaction against the present state.

        Raises:
            ContractError: with java-tron's text.
        """
        owner = self._world.get(tx.owner)
        if owner is None:
            raise ContractError(
                f"Contract validate error : account [{addresses.to_base58(tx.owner)}] does not exist"
            )
        if tx.kind == "TransferContract":
            self._validate_transfer(tx, owner)
        elif tx.kind in STAKE:
            self._stake(tx, owner, self._now_ms())
        elif tx.kind == "AccountCreateContract":
            if self._world.get(tx.contract.account_address) is not None:
                raise ContractError("Contract validate error : Account has existed")
        else:
            self._validate_trigger(tx)

    def _validate_transfer(self, tx: Tx, owner: Account) -> None:
        contract = tx.contract
        if contract.amount <= 0:
            raise ContractError("Contract validate error : Amount must be greater than 0.")
        if contract.to_address == contract.owner_address:
            raise ContractError("Contract validate error : Cannot transfer TRX to yourself.")
        if contract.to_address in self._evm.contracts:
            raise ContractError("Contract validate error : Cannot transfer TRX to a smartContract.")
        fee = 0 if self._world.get(contract.to_address) else self.parameters.new_account_fee
        if owner.balance < contract.amount + fee:
            raise ContractError(
                "Contract validate error : Validate TransferContract error, balance is not sufficient."
            )

    def _validate_trigger(self, tx: Tx) -> None:
        if tx.contract.contract_address not in self._evm.contracts:
            raise ContractError("Contract validate error : No contract or not a valid smart contract")
        if tx.contract.call_value or tx.contract.call_token_value:
            raise ContractError("Contract validate error : the sandbox calls contracts without value")
        limit = tx.message.raw_data.fee_limit
        if not 0 <= limit <= self.parameters.max_fee_limit:
            top = self.parameters.max_fee_limit
            raise ContractError(f"Contract validate error : feeLimit must be >= 0 and <= {top}")

    def check_bandwidth(self, tx: Tx) -> None:
        """Make sure that the sender can pay for the transaction's bytes.

        Raises:
            BandwidthError: when not.
        """
        self._bandwidth(tx, self._now_ms())

    def _bandwidth(self, tx: Tx, now_ms: int) -> tuple[Account, Receipt]:
        """Return the sender after paying for bandwidth, and what it cost."""
        sender = self._world.get(tx.owner)
        assert sender is not None
        size = tx.bandwidth()
        if sender.unlimited:
            return sender, Receipt(net_usage=size)
        fee = self.parameters.memo_fee if tx.message.raw_data.data else 0
        if self._creates_account(tx):
            net_fee = self.parameters.create_account_fee
            receipt = Receipt(net_fee=net_fee, fee=fee + net_fee + self.parameters.new_account_fee)
        elif sender.stakes[BANDWIDTH].left(BANDWIDTH, now_ms) >= size:
            sender = sender.with_stake(BANDWIDTH, sender.stakes[BANDWIDTH].use(size, now_ms))
            receipt = Receipt(net_usage=size, fee=fee)
        else:
            used = sender.bandwidth_used(now_ms)
            if used + size <= FREE_BANDWIDTH:
                sender = replace(sender, net_used=used + size, net_time=now_ms)
                receipt = Receipt(net_usage=size, fee=fee)
            else:
                net_fee = size * self.parameters.bandwidth_fee
                receipt = Receipt(net_fee=net_fee, fee=fee + net_fee)
        if sender.balance < receipt.fee:
            raise BandwidthError("Account resource insufficient error.")
        return replace(sender, balance=sender.balance - receipt.fee), receipt

    def _creates_account(self, tx: Tx) -> bool:
        match tx.kind:
            case "TransferContract":
                return self._world.get(tx.contract.to_address) is None
            case "AccountCreateContract":
                return True
            case _:
                return False

    def execute(self, tx: Tx, number: int, block_ms: int, now_ms: int) -> tuple[str, Json]:
        """Apply a transaction; return its result and its info as java-tron writes it.

        Args:
            block_ms: the block's time.
            now_ms: the time by which resources come back and stakes fall due.

        Raises:
            ContractError, BandwidthError: when it is not valid any more; nothing was changed.
        """
        self.validate(tx)
        sender, receipt = self._bandwidth(tx, now_ms)
        if tx.kind == "TransferContract" and sender.balance < tx.contract.amount:
            raise ContractError(
                "Contract validate error : Validate TransferContract error, balance is not sufficient."
            )
        staked = self._stake(tx, sender, now_ms) if tx.kind in STAKE else {}
        self._world.put(tx.owner, sender)
        info: Json = {
            "id": tx.txid.hex(),
            "fee": receipt.fee,
            "blockNumber": number,
            "blockTimeStamp": block_ms,
            "contractResult": [""],
            "receipt": {"net_usage": receipt.net_usage, "net_fee": receipt.net_fee},
        }
        match tx.kind:
            case "TransferContract":
                self._world.add(tx.owner, -tx.contract.amount, now_ms)
                self._world.add(tx.contract.to_address, tx.contract.amount, now_ms)
                result = "SUCCESS"
            case "AccountCreateContract":
                self._world.add(tx.contract.account_address, 0, now_ms)
                result = "SUCCESS"
            case kind if kind in STAKE:
                for address, account in staked.items():
                    self._world.put(address, account)
                result = "SUCCESS"
            case _:
                result = self._call(tx, sender, info, now_ms)
        info["receipt"] = {k: v for k, v in info["receipt"].items() if v}
        return result, {k: v for k, v in info.items() if v or k in ("contractResult", "receipt")}

    def _stake(self, tx: Tx, owner: Account, now_ms: int) -> staking.Change:
        try:
            context = staking.Context(self._world, self._evm.contracts, now_ms)
            return staking.change(context, owner, tx.kind, tx.contract)
        except staking.StakeError as error:
            raise ContractError(f"Contract validate error : {error}") from error

    def _call(self, tx: Tx, sender: Account, info: Json, now_ms: int) -> str:
        price, staked = self.parameters.energy_fee, sender.stakes[ENERGY].left(ENERGY, now_ms)
        limit = min(staked + sender.balance // price, tx.message.raw_data.fee_limit // price)
        contract = tx.contract.contract_address
        energy = 10**15 // price if sender.unlimited else limit
        done = self._evm.call(tx.owner, contract, bytes(tx.contract.data), energy)
        usage = 0 if sender.unlimited else min(staked, done.energy)
        energy_fee = 0 if sender.unlimited else (done.energy - usage) * price
        if usage or energy_fee:
            paid = replace(sender, balance=sender.balance - energy_fee)
            self._world.put(tx.owner, paid.with_stake(ENERGY, paid.stakes[ENERGY].use(usage, now_ms)))
        info["fee"] += energy_fee
        info["contract_address"] = contract.hex()
        info["contractResult"] = [done.output.hex()]
        info["receipt"] |= {
            "energy_usage": usage,
            "energy_fee": energy_fee,
            "energy_usage_total": done.energy,
            "result": done.result,
        }
        if done.result == "SUCCESS":
            info["log"] = logs_json(done)
        else:
            info["result"] = "FAILED"
            info["resMessage"] = RESULT_TEXTS[done.result].hex()
        return done.result


def logs_json(done: Execution) -> list[Json]:
    """Write logs as java-tron does: 20-byte addresses in hex."""
    return [
        {
            "address": log.address.hex(),
            "topics": [topic.hex() for topic in log.topics],
            "data": log.data.hex(),
        }
        for log in done.logs
    ]
