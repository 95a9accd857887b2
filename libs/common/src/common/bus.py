"""NATS JetStream: streams are declared, messages published under an id, and consumers pull and acknowledge.

A handler that raises is tried again, for ever, with a growing pause and a report: what travels here is money.
"""

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import nats
import nats.errors
import orjson
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import AckPolicy, ConsumerConfig, StreamConfig
from nats.js.client import JetStreamContext
from nats.js.errors import NotFoundError

from common.auth import CachedVerifier
from common.crash import crash_point
from common.errors import Unavailable
from common.ids import bind_request_id
from common.logging import get_logger, report

log = get_logger()

PUBLISH_TIMEOUT_S = 5.0
FETCH = 64
ACK_WAIT_S = 30.0
DEDUPE_WINDOW_S = 120.0
RETRY_STEPS_S = (0.2, 1.0, 2.0, 5.0, 10.0)


@dataclass(frozen=True, slots=True)
class Received:
    """An event as a consumer sees it (the envelope of contracts/events)."""

    id: UUID
    type: str
    version: int
    aggregate: str
    aggregate_version: int
    occurred_at: datetime
    tenant_id: int
    data: dict[str, Any]


Handler = Callable[[Received], Awaitable[None]]


def decode(payload: bytes) -> tuple[Received, str | None]:
    """Read an envelope; return the event and the request id it came from."""
    body = orjson.loads(payload)
    event = Received(
        id=UUID(body["id"]),
        type=body["type"],
        version=body["version"],
        aggregate=body["aggregate"],
        aggregate_version=body["aggregate_version"],
        occurred_at=datetime.fromisoformat(body["occurred_at"]),
        tenant_id=body["tenant_id"],
        data=body["data"],
    )
    return event, body.get("request_id")


class Bus:
    """One connection to NATS, which heals by itself; `closed` is set when it is gone for good."""

    def __init__(self, client: Client, closed: asyncio.Event) -> None:
        self._client = client
        self._stream: JetStreamContext = client.jetstream(timeout=PUBLISH_TIMEOUT_S)
        self.closed = closed

    @classmethod
    async def connect(cls, url: str, name: str) -> "Bus":
        """Connect, waiting up to a minute for the broker to come up.

        Raises:
            Unavailable: when there was no broker at `url`; check NATS_URL.
        """
        closed = asyncio.Event()

        async def on_closed() -> None:
            closed.set()

        async def on_error(error: Exception) -> None:
            log.warning("nats.error", error=repr(error))

        try:
            async with asyncio.timeout(60):
                client = await nats.connect(
                    url,
                    name=name,
                    max_reconnect_attempts=-1,
                    reconnect_time_wait=0.5,
                    connect_timeout=5,
                    closed_cb=on_closed,
                    error_cb=on_error,
                )
        except (OSError, TimeoutError, nats.errors.Error, ssl.SSLError) as error:
            raise Unavailable(f"no NATS server answers at {url} (NATS_URL)") from error
        return cls(client, closed)

    @property
    def connected(self) -> bool:
        """Tell whether the broker is there now."""
        return bool(self._client.is_connected)

    async def declare_stream(self, name: str, subjects: Sequence[str]) -> None:
        """Create the stream, or bring an existing one to these settings."""
        config = StreamConfig(
            name=name,
            subjects=list(subjects),
            duplicate_window=DEDUPE_WINDOW_S,
            max_age=30 * 86_400,
        )
        try:
            await self._stream.stream_info(name)
            await self._stream.update_stream(config)
        except NotFoundError:
            await self._stream.add_stream(config)

    async def publish(self, subject: str, payload: bytes, message_id: str) -> None:
        """Publish under an id that the broker remembers; return once it is stored."""
        await self._stream.publish(
            subject, payload, timeout=PUBLISH_TIMEOUT_S, headers={"Nats-Msg-Id": message_id}
        )

    async def listen(self, subject: str, handler: Handler) -> None:
        """Call `handler` for what is published from now on; for caches only, nothing is kept or retried."""

        async def on_message(message: Msg) -> None:
            try:
                await handler(decode(message.data)[0])
            except Exception as error:
                log.warning("bus.listener_failed", subject=subject, error=repr(error))
                report(error)

        await self._client.subscribe(subject, cb=on_message)

    async def consume(self, stream: str, durable: str, subjects: Sequence[str], handler: Handler) -> None:
        """Handle the stream's events one by one until cancelled; the stream may not exist yet."""
        config = ConsumerConfig(
            durable_name=durable,
            filter_subjects=list(subjects),
            ack_policy=AckPolicy.EXPLICIT,
            ack_wait=ACK_WAIT_S,
            max_deliver=-1,
            max_ack_pending=1024,
        )
        while True:
            try:
                await self._stream.add_consumer(stream, config)
                subscription = await self._stream.pull_subscribe_bind(durable, stream)
                while True:
                    await self._handle_some(subscription, handler)
            except NotFoundError:
                log.info("bus.stream_awaited", stream=stream, durable=durable)
                await asyncio.sleep(1)
            except (nats.errors.Error, OSError) as error:
                log.warning("bus.consumer_failed", durable=durable, error=repr(error))
                await asyncio.sleep(1)

    async def _handle_some(self, subscription: JetStreamContext.PullSubscription, handler: Handler) -> None:
        try:
            messages = await subscription.fetch(FETCH, timeout=5)
        except (TimeoutError, nats.errors.TimeoutError):
            return
        for message in messages:
            await self._handle(message, handler)

    async def _handle(self, message: Msg, handler: Handler) -> None:
        try:
            event, request_id = decode(message.data)
            bind_request_id(request_id)
            await handler(event)
        except Exception as error:  # whatever went wrong, the event is tried again
            tries = message.metadata.num_delivered
            delay_s = RETRY_STEPS_S[min(tries, len(RETRY_STEPS_S)) - 1]
            log.error(
                "bus.handler_failed",
                subject=message.subject,
                tries=tries,
                retry_in_s=delay_s,
                error=repr(error),
            )
            report(error)
            await message.nak(delay=delay_s)
        else:
            crash_point("event.handled")
            await message.ack()

    async def forget_revoked_keys(self, verifier: CachedVerifier) -> None:
        """Drop a key from the cache as soon as the event says that it was revoked."""

        async def forget(event: Received) -> None:
            verifier.forget(int(event.data["key_id"]))

        await self.listen("api_key.revoked", forget)

    async def ping(self) -> None:
        """Raise `Unavailable` while the broker is away."""
        if not self.connected:
            raise Unavailable("not connected to NATS")

    async def until_closed(self) -> None:
        """Return when the connection is gone for good: the process must end then."""
        await self.closed.wait()

    async def close(self) -> None:
        """Close the connection, also while the broker is away."""
        try:
            async with asyncio.timeout(2):
                await self._client.close()
        except Exception as error:  # nats-py writes to a transport that is gone already
            log.info("nats.closed_while_away", error=repr(error))
