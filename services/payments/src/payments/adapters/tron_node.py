"""A Tron node over HTTP, through tronpy's provider (design: tron-api). Solid state alone moves money.

tronpy passes httpx errors through and retries nothing, so every call here ends in an answer or in
`NodeUnavailable`.
"""

import asyncio
import time
from fractions import Fraction
from typing import Any

import httpx
from tronpy.keys import to_hex_address
from tronpy.providers import AsyncHTTPProvider

from payments.adapters.tron_address import is_tron_address
from payments.adapters.tron_parse import read_content, read_header, read_placed
from payments.domain.errors import ContractRefuses, NodeLied, NodeUnavailable
from payments.domain.intents import NATIVE
from payments.domain.model import BlockContent, Facts, Header, Placed, Prices

TIMEOUT_S = 10.0
TOKEN_BYTES = 350
"""A USDT transfer counts for 345 bytes of bandwidth."""
NATIVE_BYTES = 270
"""A TRX transfer counts for 268."""
FREE_BANDWIDTH = 600
ENERGY_MARGIN_PERCENT = 10
"""The state may change between the estimate and the block."""
PRICES_KEPT_S = 600.0
"""Prices change by a vote that takes three days."""


class TronNode:
    """See `payments.domain.ports.Chain`.

    Args:
        url: the node's base URL; `wallet/` and `walletsolidity/` are below it.
        client: an HTTP client, where headers such as an API key are needed.
    """

    def __init__(self, url: str, client: httpx.AsyncClient | None = None) -> None:
        self._client = client or httpx.AsyncClient(timeout=TIMEOUT_S, trust_env=False)
        base = url if url.endswith("/") else f"{url}/"
        self._provider = AsyncHTTPProvider(base, timeout=TIMEOUT_S, client=self._client)
        self._assets: set[str] = set()
        self._prices: tuple[float, Prices] | None = None

    def watch(self, asset: str) -> None:
        """Let an asset's transfers count; what is not watched is nothing to us, whatever it calls itself."""
        self._assets.add(asset)

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    async def _ask(self, method: str, body: dict[str, Any]) -> Any:
        try:
            answer = await self._provider.make_request(method, body)
        except (httpx.HTTPError, ValueError) as error:
            raise NodeUnavailable(f"{method}: {type(error).__name__}: {error}") from error
        if isinstance(answer, dict) and "Error" in answer:
            raise NodeUnavailable(f"{method}: {answer['Error']}")
        return answer

    async def solid_head(self) -> Header:
        """See the port."""
        return read_header(await self._ask("walletsolidity/getblock", {"detail": False}))

    async def head_height(self) -> int:
        """See the port."""
        return read_header(await self._ask("wallet/getblock", {"detail": False})).height

    async def solid_header(self, height: int) -> Header:
        """See the port."""
        body = {"id_or_num": str(height), "detail": False}
        header = read_header(await self._ask("walletsolidity/getblock", body))
        if header.height != height:
            raise NodeLied(f"asked for block {height}, got {header.height}")
        return header

    async def solid_content(self, header: Header) -> BlockContent:
        """See the port."""
        if header.empty:
            return BlockContent([], [])
        body = {"num": header.height}
        infos = await self._ask("walletsolidity/gettransactioninfobyblocknum", body)
        transactions = None
        if NATIVE in self._assets:  # TRX leaves no logs
            block = await self._ask("walletsolidity/getblockbynum", body)
            if read_header(block).hash != header.hash:
                raise NodeLied(f"block {header.height} is another one now")
            transactions = block.get("transactions", [])
        return read_content(header.height, infos, transactions, self._assets)

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

    async def _constant(self, asset: str, owner: str, selector: str, parameter: str) -> dict[str, Any]:
        body = {
            "owner_address": to_hex_address(owner),
            "contract_address": to_hex_address(asset),
            "function_selector": selector,
            "parameter": parameter,
        }
        answer = await self._ask("walletsolidity/triggerconstantcontract", body)
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
            estimate = await self._constant(asset, sender, "transfer(address,uint256)", parameter)
            energy = int(estimate["energy_used"]) * (100 + ENERGY_MARGIN_PERCENT) // 100
        address = {"address": to_hex_address(sender)}
        loan = {"owner_address": to_hex_address(lender), "type": 1}
        account, resources, lendable, prices = await asyncio.gather(
            self._ask("walletsolidity/getaccount", address),
            self._ask("wallet/getaccountresource", address),
            self._ask("wallet/getcandelegatedmaxsize", loan),
            self._get_prices(),
        )
        size = NATIVE_BYTES if asset == NATIVE else TOKEN_BYTES
        free = resources.get("freeNetLimit", FREE_BANDWIDTH) - resources.get("freeNetUsed", 0)
        staked = resources.get("NetLimit", 0) - resources.get("NetUsed", 0)
        weight = resources.get("TotalEnergyWeight", 0)
        return Facts(
            energy=energy,
            size=size,
            energy_at_hand=max(0, resources.get("EnergyLimit", 0) - resources.get("EnergyUsed", 0)),
            has_bandwidth=max(free, staked) >= size,
            sun=account.get("balance", 0),
            activated=bool(account),
            lendable_sun=lendable.get("max_size", 0),
            energy_per_trx=Fraction(resources.get("TotalEnergyLimit", 0), weight) if weight else Fraction(0),
            prices=prices,
        )

    async def _get_prices(self) -> Prices:
        if self._prices is None or time.monotonic() - self._prices[0] > PRICES_KEPT_S:
            answer = await self._ask("wallet/getchainparameters", {})
            price = {entry["key"]: entry.get("value", 0) for entry in answer["chainParameter"]}
            activation = price["getCreateNewAccountFeeInSystemContract"] + price["getCreateAccountFee"]
            found = Prices(price["getEnergyFee"], price["getTransactionFee"], activation)
            self._prices = (time.monotonic(), found)
        return self._prices[1]

    async def broadcast(self, signed: bytes) -> str:
        """See the port."""
        answer = await self._ask("wallet/broadcasthex", {"transaction": signed.hex()})
        return f"{answer.get('code')} {answer.get('message', '')}".strip()


def _reason(answer: dict[str, Any]) -> str:
    """Return a revert's words: Error(string) as the ABI encodes it, else what the node says."""
    data = bytes.fromhex((answer.get("constant_result") or [""])[0])
    if data[:4] == bytes.fromhex("08c379a0") and len(data) >= 68:
        return data[68 : 68 + int.from_bytes(data[36:68], "big")].decode(errors="replace")[:200]
    message: str = answer["result"]["message"]
    return bytes.fromhex(message).decode(errors="replace")[:200] if _is_hex(message) else message[:200]


def _is_hex(text: str) -> bool:
    return len(text) % 2 == 0 and all(c in "0123456789abcdef" for c in text.lower())
