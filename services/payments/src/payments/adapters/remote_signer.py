"""The signer over HTTP: it is a process of its own, and no key is here."""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from common.internal import InternalClient, Refused
from payments.domain.errors import LimitReached, SignerRefused
from payments.domain.intents import Intent
from payments.domain.model import Header, Signed

_REFUSALS = {error.code: error for error in (SignerRefused, LimitReached)}
_AMOUNTS = ("amount", "fee_limit", "sun")


class RemoteSigner:
    """See `payments.domain.ports.Signer`."""

    def __init__(self, client: InternalClient) -> None:
        self._client = client

    async def sign(self, intent: Intent, reference: Header, timestamp_ms: int) -> Signed:
        """See the port.

        Raises:
            SignerRefused: when the signer refuses, with its reason.
            Unavailable: when it does not answer; the same intent may be asked for again.
        """
        body = {
            "intent": written(intent),
            "reference": {
                "height": reference.height,
                "hash": reference.hash,
                "time_ms": round(reference.time.timestamp() * 1000),
            },
            "timestamp_ms": timestamp_ms,
        }
        try:
            found = await self._client.call("POST", "/internal/v1/sign", body)
        except Refused as error:
            refusal = _REFUSALS.get(error.code or "")
            if refusal is None:
                raise
            raise refusal(error.detail or str(error)) from error
        expires_at = datetime.fromtimestamp(found["expires_at_ms"] / 1000, UTC)
        return Signed(found["txid"], bytes.fromhex(found["signed"]), expires_at)


def written(intent: Intent) -> dict[str, Any]:
    """Write an intent as JSON: its kind, and amounts as strings."""
    fields = {"kind": type(intent).__name__.lower(), **asdict(intent)}
    return {name: str(value) if name in _AMOUNTS else value for name, value in fields.items()}
