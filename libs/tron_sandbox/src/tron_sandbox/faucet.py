"""The faucet: real transactions, signed with the key that owns the TRX and the tokens, in the next block."""

import itertools
from typing import Any

from eth_abi import encode
from eth_utils import keccak

from tron_sandbox import addresses
from tron_sandbox.chain import FAUCET, FAUCET_KEY, FAUCET_SUN, Chain
from tron_sandbox.evm import USDT
from tron_sandbox.jsonformat import Json
from tron_sandbox.protocol import Tx
from tron_sandbox.world import Account

REFILL_BELOW_SUN = FAUCET_SUN // 2


class Faucet:
    """Gives TRX and USDT away."""

    def __init__(self, chain: Chain) -> None:
        self._chain = chain
        self._serial = itertools.count()

    def send(self, address: bytes, sun: int, usdt: int) -> list[str]:
        """Activate an address and send it what is asked for; return the transactions' ids.

        Raises:
            ValueError: when more is asked for than there is.
        """
        if sun >= REFILL_BELOW_SUN or usdt >= 10**22:
            raise ValueError("that is more than the faucet has")
        self._refill()
        wanted: list[tuple[str, Json]] = []
        owner = FAUCET.hex()
        if sun:
            transfer = {"owner_address": owner, "to_address": address.hex(), "amount": sun}
            wanted.append(("TransferContract", transfer))
        elif self._chain.world.get(address) is None:
            create = {"owner_address": owner, "account_address": address.hex()}
            wanted.append(("AccountCreateContract", create))
        if usdt:
            call = _call(USDT, "transfer(address,uint256)", [address[1:], usdt])
            wanted.append(("TriggerSmartContract", call))
        return [self._broadcast(kind, value) for kind, value in wanted]

    def tell_token(self, token: bytes, function: str, arguments: list[Any]) -> str:
        """Call a token as its owner, which the faucet is; return the transaction's id."""
        return self._broadcast("TriggerSmartContract", _call(token, function, arguments))

    def _refill(self) -> None:
        account = self._chain.world.get(FAUCET)
        assert isinstance(account, Account)
        if account.balance < REFILL_BELOW_SUN:
            raise ValueError(f"the faucet {addresses.to_base58(FAUCET)} has run dry; begin a new chain")

    def _broadcast(self, kind: str, value: Json) -> str:
        head = self._chain.head
        reference = self._chain.blocks[self._chain.solid_number].id
        raw = {
            "contract": [{"type": kind, "parameter": {"value": value}}],
            "ref_block_bytes": reference[6:8].hex(),
            "ref_block_hash": reference[8:16].hex(),
            "expiration": head.timestamp + 3_600_000,
            # Equal transactions of one millisecond would be one: the serial tells them apart.
            "timestamp": self._chain.now_ms() * 1000 + next(self._serial) % 1000,
            "fee_limit": 1_000_000_000 if kind == "TriggerSmartContract" else 0,
        }
        unsigned = Tx.from_json({"raw_data": raw})
        signature = FAUCET_KEY.sign_recoverable(unsigned.txid, hasher=None)
        tx = Tx.from_json({"raw_data": raw, "signature": [signature.hex()]})
        self._chain.broadcast(tx)
        return tx.txid.hex()


def _call(contract: bytes, function: str, arguments: list[Any]) -> Json:
    types = [kind for kind in function.partition("(")[2].rstrip(")").split(",") if kind]
    data = keccak(text=function)[:4] + encode(types, arguments)
    return {"owner_address": FAUCET.hex(), "contract_address": contract.hex(), "data": data.hex()}
