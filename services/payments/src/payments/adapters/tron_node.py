"""What we ask Tron's nodes for, and how their answers are read (design: tron-api). Solid state alone moves money.

Every call ends in an answer that was understood or in `NodeUnavailable`: when a node fails the next one is asked.
"""

import asyncio
import contextlib
import time
from collections import OrderedDict
from fractions import Fraction
from typing import Any

from tronpy.keys import to_hex_address

from payments.adapters.node_pool import NodePool
from payments.adapters.tron_address import is_tron_address
from payments.adapters.tron_blocks import asked_transfers, read_content, slim
from payments.adapters.tron_parse import Json, read_header, read_header_of, read_placed
from payments.domain.errors import ContractRefuses, ForeignBlock, NodeLied, NodeUnavailable
from payments.domain.intents import NATIVE
from payments.domain.model import BlockContent, Facts, HeadBlock, Header, Placed, Prices

TOKEN_BYTES = 350
"""A USDT transfer counts for 345 bytes of bandwidth."""
NATIVE_BYTES = 270
"""A TRX transfer counts for 268."""
FREE_BANDWIDTH = 600
ENERGY_MARGIN_PERCENT = 10
"""The state may change between the estimate and the block."""
PRICES_KEPT_S = 3.0
"""A block's time: a price may change with any block, and every transfer that was priced before burns in vain."""
BLOCKS_KEPT = 64
"""Blocks whose transactions came with their header, or were fetched at the head: they are not fetched again."""


class TronNode:
    """See `payments.domain.ports.Chain`.

    Args:
        pool: the nodes; `close` closes it.
    """

    def __init__(self, pool: NodePool) -> None:
        self._pool = pool
        self._whole: OrderedDict[str, list[Json]] = OrderedDict()
        self._assets: set[str] = set()
        self._prices: tuple[float, Prices] | None = None

    def watch(self, asset: str) -> None:
        """Let an asset's transfers count; what is not watched is nothing to us, whatever it calls itself."""
        self._assets.add(asset)

    async def close(self) -> None:
        """Close all connections."""
        await self._pool.close()

    async def _ask(self, method: str, body: dict[str, Any]) -> Any:
        # What is compared with a solid head must not come from a node that is behind it.
        return await self._pool.ask(method, body, _as_it_is, self._pool.reached)

    async def solid_head(self) -> Header:
        """See the port."""
        return await self._pool.newest("walletsolidity/getblock", {"detail": False}, read_header)

    async def head_height(self) -> int:
        """See the port."""
        method = "wallet/getblock"
        header = await self._pool.newest(method, {"detail": False}, read_header)
        return max(header.height, self._pool.best(method))  # the node may be some blocks behind

    async def solid_header(self, height: int, parent: str | None = None) -> Header:
        """See the port."""

        def read(answer: Any) -> Header:
            header = read_header_of(answer, height)
            if parent is not None and header.parent != parent:
                raise ForeignBlock(f"its block {height} follows {header.parent}, we know {parent}")
            return header

        if NATIVE not in self._assets:
            body = {"id_or_num": str(height), "detail": False}
            return await self._pool.ask("walletsolidity/getblock", body, read, height)

        def read_whole(answer: Any) -> Header:
            header = read(answer)
            if not header.empty and not answer.get("transactions"):
                raise NodeLied(f"block {height} is not empty, but its transactions are missing")
            self._keep(header, answer)
            return header

        # Who asks for the header wants the content next: with TRX that is the block itself, in one call.
        return await self._pool.ask("walletsolidity/getblockbynum", {"num": height}, read_whole, height)

    async def head_block(self, height: int) -> HeadBlock | None:
        """See the port."""

        def read(answer: Any) -> HeadBlock | None:
            if answer == {}:
                return None
            block = HeadBlock(read_header_of(answer, height), asked_transfers(answer, self._assets))
            self._keep(block.header, answer)
            return block

        return await self._pool.ask("wallet/getblockbynum", {"num": height}, read, height)

    def _keep(self, header: Header, block: Json) -> None:
        """Keep a block's transactions until its content is read: the hash says that it is the same block."""
        if NATIVE in self._assets:
            with contextlib.suppress(KeyError, TypeError, AttributeError):
                self._whole[header.hash] = [slim(t) for t in block.get("transactions", [])]
            while len(self._whole) > BLOCKS_KEPT:
                self._whole.popitem(last=False)

    async def solid_content(self, header: Header) -> BlockContent:
        """See the port.

        What can't be read is asked for once more, of another node where there is one, before it is set aside.
        """
        if header.empty:
            return BlockContent([], [])
        transactions, first = await self._transactions(header), list[BlockContent]()

        def read(infos: Any) -> BlockContent:
            content = read_content(header.height, infos, transactions, self._assets)
            if content.unreadable and not first:
                first.append(content)
                raise NodeLied(f"a transaction of block {header.height} can't be read")
            return content

        body, method = {"num": header.height}, "walletsolidity/gettransactioninfobyblocknum"
        try:
            return await self._pool.ask(method, body, read, header.height)
        except NodeUnavailable:
            self._whole.pop(header.hash, None)
            if first:
                return first[0]
            raise

    async def _transactions(self, header: Header) -> list[Json] | None:
        """Return a block's transactions where TRX is watched, which leaves no logs."""
        if NATIVE not in self._assets:
            return None
        if (kept := self._whole.get(header.hash)) is not None:
            return kept

        def read(block: Any) -> list[Json]:
            if read_header_of(block, header.height).hash != header.hash:
                raise NodeLied(f"block {header.height} is another one now")
            found: list[Json] = block.get("transactions", [])
            return found

        return await self._pool.ask("walletsolidity/getblockbynum", {"num": header.height}, read, header.height)

    async def transfer_at(self, txid: str, log_index: int) -> Placed | None:
        """See the port."""
        body = {"value": txid}
        info = await self._ask("walletsolidity/gettransactioninfobyid", body)
        if not info:
            return None
        transaction = await self._ask("walletsolidity/gettransactionbyid", body)
        return read_placed(info, transaction, self._assets, log_index)

    def is_address(self, text: str) -> bool:
        """See the port."""
        return is_tron_address(text)

    async def balance(self, asset: str, address: str) -> int:
        """See the port."""
        if asset == NATIVE:
            account = await self._ask("walletsolidity/getaccount", {"address": to_hex_address(address)})
            return int(account.get("balance", 0))
        parameter = to_hex_address(address)[2:].rjust(64, "0")
        answer = await self._constant(asset, address, "balanceOf(address)", parameter)
        return int(answer["constant_result"][0], 16)

    async def _constant(
        self, asset: str, owner: str, selector: str, parameter: str, *, solid: bool = True
    ) -> dict[str, Any]:
        body = {
            "owner_address": to_hex_address(owner),
            "contract_address": to_hex_address(asset),
            "function_selector": selector,
            "parameter": parameter,
        }
        node = "walletsolidity" if solid else "wallet"
        answer = await self._ask(f"{node}/triggerconstantcontract", body)
        if not isinstance(answer, dict) or not isinstance(answer.get("result"), dict):
            raise NodeUnavailable(f"{selector} of {asset}: {str(answer)[:200]}")
        if "message" in answer["result"]:
            raise ContractRefuses(f"{selector} of {asset}: {_reason(answer)}")
        if "constant_result" not in answer:
            raise NodeUnavailable(f"{selector} of {asset}: {str(answer)[:200]}")
        return answer

    async def facts(self, asset: str, move: tuple[str, str, int], lender: str) -> Facts:
        """See the port."""
        sender, to, amount = move
        energy = 0
        if asset != NATIVE:
            parameter = to_hex_address(to)[2:].rjust(64, "0") + f"{amount:064x}"
            # At the head, where it will be carried out: what was paused a moment ago would burn all the same.
            call = (asset, sender, "transfer(address,uint256)", parameter)
            estimate = await self._constant(*call, solid=False)
            energy = int(estimate["energy_used"]) * (100 + ENERGY_MARGIN_PERCENT) // 100
        else:
            await self._refuse_contract(to)
        address = {"address": to_hex_address(sender)}
        loan = {"owner_address": to_hex_address(lender), "type": 1}
        # What a staked TRX gives is told of accounts that exist: of the lender, not of a new wallet.
        account, resources, totals, lendable, prices = await asyncio.gather(
            self._ask("walletsolidity/getaccount", address),
            self._ask("wallet/getaccountresource", address),
            self._ask("wallet/getaccountresource", {"address": to_hex_address(lender)}),
            self._ask("wallet/getcandelegatedmaxsize", loan),
            self._get_prices(),
        )
        size = NATIVE_BYTES if asset == NATIVE else TOKEN_BYTES
        free = resources.get("freeNetLimit", FREE_BANDWIDTH) - resources.get("freeNetUsed", 0)
        staked = resources.get("NetLimit", 0) - resources.get("NetUsed", 0)
        weight = totals.get("TotalEnergyWeight", 0)
        return Facts(
            energy=energy,
            size=size,
            energy_at_hand=max(0, resources.get("EnergyLimit", 0) - resources.get("EnergyUsed", 0)),
            has_bandwidth=max(free, staked) >= size,
            sun=account.get("balance", 0),
            activated=bool(account),
            lendable_sun=lendable.get("max_size", 0),
            energy_per_trx=Fraction(totals.get("TotalEnergyLimit", 0), weight) if weight else Fraction(0),
            prices=prices,
        )

    async def _refuse_contract(self, address: str) -> None:
        """Refuse TRX to a contract: the chain takes none by a plain transfer."""
        if await self._ask("wallet/getcontract", {"value": to_hex_address(address)}):
            raise ContractRefuses(f"{address} is a contract, and TRX can't be sent to one by a transfer")

    async def _get_prices(self) -> Prices:
        if self._prices is None or time.monotonic() - self._prices[0] > PRICES_KEPT_S:
            answer = await self._ask("wallet/getchainparameters", {})
            price = {entry["key"]: entry.get("value", 0) for entry in answer["chainParameter"]}
            activation = price["getCreateNewAccountFeeInSystemContract"] + price["getCreateAccountFee"]
            found = Prices(price["getEnergyFee"], price["getTransactionFee"], activation)
            self._prices = (time.monotonic(), found)
        return self._prices[1]

    async def broadcast(self, signed: bytes) -> str:
        """See the port.

        All nodes that are well get it, since a transaction that is sent twice is harmless.
        """
        answers = await self._pool.ask_everywhere("wallet/broadcasthex", {"transaction": signed.hex()})
        return "; ".join(f"{name}: {_words(answer)}" for name, answer in answers)


def _as_it_is(answer: Any) -> Any:
    return answer


def _words(answer: Any) -> str:
    if not isinstance(answer, dict):
        return str(answer)[:200]
    return f"{answer.get('code')} {answer.get('message', '')}".strip()[:200]


def _reason(answer: dict[str, Any]) -> str:
    """Return a revert's words: Error(string) as the ABI encodes it, else what the node says."""
    data = bytes.fromhex((answer.get("constant_result") or [""])[0])
    if data[:4] == bytes.fromhex("08c379a0") and len(data) >= 68:
        return data[68 : 68 + int.from_bytes(data[36:68], "big")].decode(errors="replace")[:200]
    message: str = answer["result"]["message"]
    return bytes.fromhex(message).decode(errors="replace")[:200] if _is_hex(message) else message[:200]


def _is_hex(text: str) -> bool:
    return len(text) % 2 == 0 and all(c in "0123456789abcdef" for c in text.lower())
