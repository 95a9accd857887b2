"""A customer with a key on the sandbox chain, who pays in all the ways that there are."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from eth_abi.abi import encode
from eth_utils.crypto import keccak
from tronpy import AsyncTron
from tronpy.keys import PrivateKey, to_raw_address
from tronpy.providers import AsyncHTTPProvider

from support.chain import USDT, SandboxNode, address_of, new_key
from tron_sandbox.addresses import to_base58
from tron_sandbox.chain import FAUCET_KEY
from tron_sandbox.evm import FAKE_USDT, PAYOUT, TRX_PAYOUT

FAKE = to_base58(FAKE_USDT)
"""The sandbox's second token."""
TOKEN_PAYER = to_base58(PAYOUT)
TRX_PAYER = to_base58(TRX_PAYOUT)
FEE_LIMIT_SUN = 1_000_000_000


def _raw(argument: Any) -> Any:
    """Return an argument with its addresses as a contract takes them."""
    if isinstance(argument, list):
        return [_raw(one) for one in argument]
    return to_raw_address(argument)[1:] if isinstance(argument, str) else argument


@dataclass(frozen=True, slots=True)
class Customer:
    """A key, and the node that it is used on. What is sent waits for the next block."""

    node: SandboxNode
    key: PrivateKey

    @property
    def address(self) -> str:
        """The key's address."""
        return address_of(self.key)

    async def _send(self, kind: str, value: dict[str, Any]) -> str:
        async with AsyncTron(AsyncHTTPProvider(self.node.url)) as tron:
            value = {"owner_address": self.key.public_key.to_hex_address(), **value}
            builder = tron.trx._build_transaction(kind, value).fee_limit(FEE_LIMIT_SUN)
            sent = await (await builder.build()).sign(self.key).broadcast()
            return str(sent.txid)

    async def call(self, contract: str, function: str, *arguments: Any, sun: int = 0) -> str:
        """Call a contract, with TRX if wanted; return the transaction's id."""
        types = function.partition("(")[2].rstrip(")").split(",")
        data = keccak(text=function)[:4] + encode(types, [_raw(one) for one in arguments])
        value = {"contract_address": to_raw_address(contract).hex(), "data": data.hex(), "call_value": sun}
        return await self._send("TriggerSmartContract", value)

    async def pay(self, to: str, units: int, contract: str = USDT) -> str:
        """Transfer a token."""
        return await self.call(contract, "transfer(address,uint256)", to, units)

    async def pay_trx(self, to: str, sun: int) -> str:
        """Transfer TRX."""
        return await self._send("TransferContract", {"to_address": to_raw_address(to).hex(), "amount": sun})

    async def approve(self, spender: str, units: int) -> None:
        """Let somebody move USDT; it is in a block when this returns."""
        await self.call(USDT, "approve(address,uint256)", spender, units)
        await self.node.mine()

    async def pay_many(self, to: str, units: Sequence[int]) -> str:
        """Pay USDT through a contract, several times in one transaction."""
        await self.approve(TOKEN_PAYER, sum(units))
        pay = "pay(address,address[],uint256[])"
        return await self.call(TOKEN_PAYER, pay, USDT, [to] * len(units), list(units))

    async def pay_trx_inside(self, to: str, sun: int) -> str:
        """Pay TRX through a contract."""
        return await self.call(TRX_PAYER, "pay(address[],uint256[])", [to], [sun], sun=sun)

    async def lend_energy(self, to: str, sun: int) -> None:
        """Stake TRX and lend its energy to an address that is activated."""
        async with AsyncTron(AsyncHTTPProvider(self.node.url)) as tron:
            for builder in (
                tron.trx.freeze_balance(self.address, sun, "ENERGY"),
                tron.trx.delegate_resource(self.address, to, sun, "ENERGY"),
            ):
                await (await builder.build()).sign(self.key).broadcast()
                await self.node.mine()


async def rich(node: SandboxNode, trx: str = "5000", usdt: str = "1000") -> Customer:
    """Return a new customer who has enough of everything."""
    customer = Customer(node, new_key())
    await node.admin("faucet", address=customer.address, trx=trx, usdt=usdt)
    return customer


def token_owner(node: SandboxNode) -> Customer:
    """Return who owns the sandbox's tokens."""
    return Customer(node, PrivateKey(FAUCET_KEY.secret))
