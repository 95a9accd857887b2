"""What a transaction does when its block is made: checks, fees, effects, and its receipt."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from tron_sandbox import addresses, staking, transfers
from tron_sandbox.errors import BandwidthError, ContractError
from tron_sandbox.evm import Call, Evm, Execution
from tron_sandbox.jsonformat import Json, write
from tron_sandbox.protocol import Tx
from tron_sandbox.receipts import internals_json, logs_json
from tron_sandbox.world import BANDWIDTH, ENERGY, Account, Change, Context, Contract, World

MOST_NAME_BYTES = 32
ACTS: Mapping[str, staking.Act] = {
    "TransferContract": transfers.transfer,
    "AccountCreateContract": transfers.create_account,
    **staking.ACTS,
}
"""What is carried out without the virtual machine."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """The fees of a transaction's bytes, in sun, memo included."""

    net_usage: int = 0
    net_fee: int = 0
    fee: int = 0


@dataclass(frozen=True, slots=True)
class Host:
    """A contract's maker, who pays a part of each call's energy out of a stake (ReceiptCapsule.payEnergyBill)."""

    maker: bytes
    user_percent: int
    most: int

    def limit(self, callers: int) -> int:
        """Return the energy that it adds to what the caller can pay."""
        if self.user_percent == 0:
            return self.most
        return min(self.most, callers * (100 - self.user_percent) // self.user_percent)

    def share(self, energy: int) -> int:
        """Return what it pays of a call's energy."""
        return min(self.most, energy * (100 - self.user_percent) // 100)


class Executor:
    """Applies transactions to a world and to the contracts."""

    def __init__(self, world: World, evm: Evm) -> None:
        self._world = world
        self._evm = evm

    def validate(self, tx: Tx, now_ms: int) -> None:
        """Check a transaction against the present state, its fees left out.

        Raises:
            ContractError: with java-tron's text.
        """
        self._effects(tx, self._owner(tx), now_ms)

    def preview(self, tx: Tx, now_ms: int) -> None:
        """Take a transaction's fees and do what it does, but for what a contract would.

        Raises:
            ContractError, BandwidthError: when it can't be; nothing was changed.
        """
        sender, _ = self._pay_for_bytes(tx, self._owner(tx), now_ms)
        effects = self._effects(tx, sender, now_ms)
        self._world.apply({tx.owner: sender} | effects)

    def execute(self, tx: Tx, number: int, block_ms: int, now_ms: int) -> tuple[str, Json]:
        """Apply a transaction; return its result and its info as java-tron writes it.

        Args:
            number: the block's number.
            block_ms: the block's time.
            now_ms: the time by which resources come back and stakes fall due.

        Raises:
            ContractError, BandwidthError: when it is not valid any more; nothing was changed.
        """
        owner = self._owner(tx)
        sender, receipt = self._pay_for_bytes(tx, owner, now_ms)
        effects = self._effects(tx, sender, now_ms)
        info: Json = {
            "id": tx.txid.hex(),
            "fee": receipt.fee,
            "blockNumber": number,
            "blockTimeStamp": block_ms,
            "contractResult": [""],
            "receipt": {"net_usage": receipt.net_usage, "net_fee": receipt.net_fee},
        }
        if tx.kind in ACTS:
            info["fee"] += self._activation_fee(tx, sender)
            self._world.apply(effects)
            result = "SUCCESS"
        else:
            self._world.put(tx.owner, sender)
            result = self._call(tx, sender, info, now_ms)
        info["receipt"] = {k: v for k, v in info["receipt"].items() if v}
        return result, {k: v for k, v in info.items() if v or k in ("contractResult", "receipt")}

    def _owner(self, tx: Tx) -> Account:
        owner = self._world.get(tx.owner)
        if owner is None:
            raise ContractError(f"account [{addresses.to_base58(tx.owner)}] does not exist")
        return owner

    def _effects(self, tx: Tx, owner: Account, now_ms: int) -> Change:
        """Return the accounts after the transaction; after a call of a contract, as if it did nothing."""
        act = ACTS.get(tx.kind)
        if act is not None:
            return act(Context(self._world, now_ms), owner, tx.contract)
        creates = tx.kind == "CreateSmartContract"
        sun = self._check_new(tx) if creates else self._check_call(tx)
        limit, top = tx.message.raw_data.fee_limit, self._world.parameters.max_fee_limit
        if not 0 <= limit <= top:
            raise ContractError(f"feeLimit must be >= 0 and <= {top}")
        if tx.contract.call_token_value or tx.contract.token_id:
            raise ContractError("the sandbox knows no TRC-10 tokens")
        if sun < 0:
            raise ContractError("callValue must be >= 0")
        if owner.balance < sun:
            raise ContractError("Validate InternalTransfer error, balance is not sufficient.")
        return {tx.owner: replace(owner, balance=owner.balance - sun)}

    def _check_call(self, tx: Tx) -> int:
        """Check a call of a contract; return the TRX that it carries, in sun."""
        found = self._world.get(tx.contract.contract_address)
        if found is None or found.contract is None:
            raise ContractError("No contract or not a valid smart contract")
        return int(tx.contract.call_value)

    def _check_new(self, tx: Tx) -> int:
        """Check what makes a contract; return the TRX that the contract gets, in sun."""
        new = tx.contract.new_contract
        if new.origin_address != tx.owner:
            raise ContractError("OwnerAddress is not equals OriginAddress")
        if len(new.name.encode()) > MOST_NAME_BYTES:
            raise ContractError("contractName's length cannot be greater than 32")
        if not 0 <= new.consume_user_resource_percent <= 100:
            raise ContractError("percent must be >= 0 and <= 100")
        if new.origin_energy_limit <= 0:
            raise ContractError("The originEnergyLimit must be > 0")
        return int(new.call_value)

    def _pay_for_bytes(self, tx: Tx, sender: Account, now_ms: int) -> tuple[Account, Receipt]:
        """Return the sender after paying for bandwidth and memo, and what it cost."""
        size, fees = tx.bandwidth(), self._world.parameters
        if sender.unlimited:
            return sender, Receipt(net_usage=size)
        net = sender.stakes[BANDWIDTH]
        used = sender.bandwidth_used(now_ms)
        if net.left(BANDWIDTH, now_ms) >= size:
            sender, receipt = sender.with_stake(BANDWIDTH, net.use(size, now_ms)), Receipt(net_usage=size)
        elif self._activates(tx):
            receipt = Receipt(net_fee=fees.create_account_fee, fee=fees.create_account_fee)
        elif used + size <= fees.free_bandwidth:
            sender = replace(sender, net_used=used + size, net_time=now_ms)
            receipt = Receipt(net_usage=size)
        else:
            net_fee = size * fees.bandwidth_fee
            receipt = Receipt(net_fee=net_fee, fee=net_fee)
        if tx.message.raw_data.data:
            receipt = replace(receipt, fee=receipt.fee + fees.memo_fee)
        if sender.balance < receipt.fee:
            raise BandwidthError("Account resource insufficient error.")
        return replace(sender, balance=sender.balance - receipt.fee), receipt

    def _activates(self, tx: Tx) -> bool:
        match tx.kind:
            case "TransferContract":
                return self._world.get(tx.contract.to_address) is None
            case kind:
                return kind == "AccountCreateContract"

    def _activation_fee(self, tx: Tx, sender: Account) -> int:
        free = sender.unlimited or not self._activates(tx)
        return 0 if free else self._world.parameters.new_account_fee

    def _call(self, tx: Tx, sender: Account, info: Json, now_ms: int) -> str:
        call, price = call_of(tx), self._world.parameters.energy_fee
        staked = sender.stakes[ENERGY].left(ENERGY, now_ms)
        limit = min(staked + (sender.balance - call.sun) // price, tx.message.raw_data.fee_limit // price)
        host = self._host(tx, now_ms)
        total = limit + host.limit(limit)
        done = self._evm.call(call, 10**13 if sender.unlimited else total, self.balance_of)
        if done.result == "SUCCESS":
            self._take_over(tx, call, done, now_ms)
        hosted = host.share(done.energy)
        if hosted:
            self._pay_for_energy(host.maker, hosted, 0, now_ms)
        usage = 0 if sender.unlimited else min(staked, done.energy - hosted)
        energy_fee = 0 if sender.unlimited else (done.energy - hosted - usage) * price
        if usage or energy_fee:
            self._pay_for_energy(tx.owner, usage, energy_fee, now_ms)
        info["fee"] += energy_fee
        info["contract_address"] = call.contract.hex()
        info["contractResult"] = [done.output.hex()]
        info["receipt"] |= {
            "energy_usage": usage,
            "energy_fee": energy_fee,
            "origin_energy_usage": hosted,
            "energy_usage_total": done.energy,
            "energy_penalty_total": done.penalty,
            "result": done.result,
        }
        if done.result != "SUCCESS":
            info["result"] = "FAILED"
            info["resMessage"] = done.reason.encode().hex()
        info["log"] = logs_json(done)
        info["internal_transactions"] = internals_json(tx.txid, done)
        return done.result

    def _host(self, tx: Tx, now_ms: int) -> "Host":
        """Return what the called contract's maker does for a caller."""
        nothing = Host(tx.owner, 100, 0)
        if tx.kind == "CreateSmartContract":
            return nothing
        called = self._world.get(tx.contract.contract_address)
        assert called is not None
        assert called.contract is not None
        contract = called.contract
        maker = self._world.get(contract.origin)
        if maker is None or maker.unlimited or contract.origin == tx.owner:
            return nothing
        most = min(maker.stakes[ENERGY].left(ENERGY, now_ms), contract.energy_limit)
        return Host(contract.origin, contract.user_percent, most)

    def _take_over(self, tx: Tx, call: Call, done: Execution, now_ms: int) -> None:
        """Store what a call changed of balances, and the contracts that it made and ended."""
        for address, sun in done.balances.items():
            account = self._world.get(address) or Account(create_time=now_ms)
            self._world.put(address, replace(account, balance=sun))
        made = {addresses.PREFIX + one.to: addresses.PREFIX + one.caller for one in done.internals if one.made}
        contracts = {address: Contract(origin=maker) for address, maker in made.items()}
        if call.creates:
            contracts[call.contract] = contract_of(tx)
        for address, contract in contracts.items():
            account = self._world.get(address) or Account(create_time=now_ms)
            self._world.put(address, replace(account, contract=contract))
        for address in done.ended:
            self._world.drop(address)

    def _pay_for_energy(self, owner: bytes, usage: int, fee: int, now_ms: int) -> None:
        account = self._world.get(owner)
        assert account is not None
        paid = replace(account, balance=account.balance - fee)
        self._world.put(owner, paid.with_stake(ENERGY, paid.stakes[ENERGY].use(usage, now_ms)))

    def balance_of(self, address: bytes) -> int | None:
        """Return the TRX of an address of 20 bytes, in sun; None while it is not activated."""
        account = self._world.get(addresses.PREFIX + address)
        return None if account is None else account.balance


def call_of(tx: Tx) -> Call:
    """Return what the virtual machine shall do for a transaction."""
    if tx.kind == "CreateSmartContract":
        new = tx.contract.new_contract
        return Call(tx.owner, tx.new_address(), bytes(new.bytecode), tx.txid, new.call_value, creates=True)
    contract = tx.contract
    return Call(tx.owner, contract.contract_address, bytes(contract.data), tx.txid, contract.call_value)


def contract_of(tx: Tx) -> Contract:
    """Return what a new contract's account says of it."""
    new = tx.contract.new_contract
    return Contract(
        name=new.name,
        abi=write(new.abi, visible=True),
        bytecode=bytes(new.bytecode),
        origin=tx.owner,
        user_percent=new.consume_user_resource_percent,
        energy_limit=new.origin_energy_limit,
    )
