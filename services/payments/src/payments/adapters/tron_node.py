"""A Tron node over HTTP, through tronpy's provider (design: tron-api). Solid state alone moves money.

tronpy passes httpx errors through and retries nothing, so every call here ends in an answer or in
`NodeUnavailable`.
"""

from datetime import UTC, datetime
from typing import Any

import httpx
from tronpy.keys import to_base58check_address, to_hex_address
from tronpy.providers import AsyncHTTPProvider

from common.logging import get_logger
from payments.domain.errors import NodeLied, NodeUnavailable
from payments.domain.model import BlockContent, Fuel, Header, Placed, Result, Transfer

log = get_logger()

TIMEOUT_S = 10.0
TRANSFER_TOPIC = "ddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"
"""keccak256("Transfer(address,address,uint256)")"""
ZERO_ROOT = "0" * 64
TRANSFER_BYTES = 350
"""A USDT transfer counts for 345 bytes of bandwidth."""
FREE_BANDWIDTH = 600
ENERGY_MARGIN_PERCENT = 10
"""The state may change between the estimate and the block."""


class TronNode:
    """See `payments.domain.ports.Chain`.

    Args:
        url: the node's base URL; `wallet/` and `walletsolidity/` are below it.
        token: the contract's address, base58. Logs of any other contract are nothing to us.
        client: an HTTP client, where headers such as an API key are needed.
    """

    def __init__(self, url: str, token: str, client: httpx.AsyncClient | None = None) -> None:
        self._client = client or httpx.AsyncClient(timeout=TIMEOUT_S, trust_env=False)
        base = url if url.endswith("/") else f"{url}/"
        self._provider = AsyncHTTPProvider(base, timeout=TIMEOUT_S, client=self._client)
        self._token_hex = to_hex_address(token)
        self._token = token

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
        return _header(await self._ask("walletsolidity/getblock", {"detail": False}))

    async def head_height(self) -> int:
        """See the port."""
        return _header(await self._ask("wallet/getblock", {"detail": False})).height

    async def solid_header(self, height: int) -> Header:
        """See the port."""
        body = {"id_or_num": str(height), "detail": False}
        header = _header(await self._ask("walletsolidity/getblock", body))
        if header.height != height:
            raise NodeLied(f"asked for block {height}, got {header.height}")
        return header

    async def solid_content(self, header: Header) -> BlockContent:
        """See the port.

        Raises:
            NodeLied: when the node gives nothing for a block whose header says that it holds something: load
                balancers answer spurious empties.
        """
        if header.empty:
            return BlockContent([], [])
        body = {"num": header.height}
        infos = await self._ask("walletsolidity/gettransactioninfobyblocknum", body)
        if not isinstance(infos, list) or not infos:
            raise NodeLied(f"block {header.height} is not empty, but its transactions are missing")
        try:
            return BlockContent([t for i in infos for t in self._transfers(i)], [_result(i) for i in infos])
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise NodeLied(f"block {header.height} can't be read: {error!r}") from error

    def _transfers(self, info: dict[str, Any]) -> list[Transfer]:
        found = []
        for index, entry in enumerate(info.get("log", [])):
            topics = entry.get("topics", [])
            if "41" + entry["address"] != self._token_hex or len(topics) != 3 or topics[0] != TRANSFER_TOPIC:
                continue
            amount = int(entry.get("data") or "0", 16)
            if amount > 0:  # a transfer of nothing is a stranger's poison
                sender, recipient = (to_base58check_address("41" + t[-40:]) for t in topics[1:])
                found.append(Transfer(info["id"], index, sender, recipient, amount))
        return found

    async def transfer_at(self, txid: str, log_index: int) -> Placed | None:
        """See the port."""
        info = await self._ask("walletsolidity/gettransactioninfobyid", {"value": txid})
        if not info:
            return None
        try:
            found = [t for t in self._transfers(info) if t.log_index == log_index]
            time = datetime.fromtimestamp(info["blockTimeStamp"] / 1000, UTC)
            return Placed(info["blockNumber"], time, found[0]) if found else None
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise NodeLied(f"transaction {txid} can't be read: {error!r}") from error

    async def token_balance(self, address: str) -> int:
        """See the port."""
        parameter = to_hex_address(address)[2:].rjust(64, "0")
        answer = await self._constant(address, "balanceOf(address)", parameter)
        return int(answer["constant_result"][0], 16)

    async def _constant(self, owner: str, selector: str, parameter: str) -> dict[str, Any]:
        body = {
            "owner_address": to_hex_address(owner),
            "contract_address": self._token_hex,
            "function_selector": selector,
            "parameter": parameter,
        }
        answer = await self._ask("walletsolidity/triggerconstantcontract", body)
        if not isinstance(answer, dict) or "constant_result" not in answer or "message" in answer["result"]:
            raise NodeUnavailable(f"{selector} of {self._token}: {answer}")
        return answer

    async def fuel(self, address: str, to: str, amount: int) -> Fuel:
        """See the port."""
        parameter = to_hex_address(to)[2:].rjust(64, "0") + f"{amount:064x}"
        estimate = await self._constant(address, "transfer(address,uint256)", parameter)
        energy = int(estimate["energy_used"]) * (100 + ENERGY_MARGIN_PERCENT) // 100
        prices = await self._ask("wallet/getchainparameters", {})
        price = {entry["key"]: entry.get("value", 0) for entry in prices["chainParameter"]}
        account = await self._ask("walletsolidity/getaccount", {"address": to_hex_address(address)})
        net = await self._ask("wallet/getaccountresource", {"address": to_hex_address(address)})
        left = net.get("freeNetLimit", FREE_BANDWIDTH) - net.get("freeNetUsed", 0)
        bandwidth = 0 if left >= TRANSFER_BYTES else TRANSFER_BYTES * price["getTransactionFee"]
        fee_limit = energy * price["getEnergyFee"]
        return Fuel(fee_limit + bandwidth, account.get("balance", 0), fee_limit)

    async def broadcast(self, signed: bytes) -> str:
        """See the port."""
        answer = await self._ask("wallet/broadcasthex", {"transaction": signed.hex()})
        return f"{answer.get('code')} {answer.get('message', '')}".strip()


def _header(answer: Any) -> Header:
    try:
        raw = answer["block_header"]["raw_data"]
        return Header(
            height=raw.get("number", 0),
            hash=answer["blockID"],
            parent=raw["parentHash"],
            time=datetime.fromtimestamp(raw.get("timestamp", 0) / 1000, UTC),
            empty=raw.get("txTrieRoot", ZERO_ROOT) == ZERO_ROOT,
        )
    except (KeyError, TypeError) as error:
        raise NodeLied("the node answered no block") from error


def _result(info: dict[str, Any]) -> Result:
    return Result(info["id"], info.get("result") != "FAILED", info.get("fee", 0))
