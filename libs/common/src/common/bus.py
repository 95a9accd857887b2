"""NATS JetStream: streams are declared, messages published under an id, and consumers pull and acknowledge.

A handler that raises is tried again with a growing pause and a report: for ever where money is moved. What can't
be read, and what a consumer gives up, becomes a dead letter. Events go out and come in many at a time (ADR 0012).
"""

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import nats
import nats.errors
import orjson
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import AckPolicy, ConsumerConfig, Header, PubAck, StreamConfig
from nats.js.client import JetStreamContext
from nats.js.errors import NoStreamResponseError, NotFoundError

from common import metrics
from common.auth import CachedVerifier
from common.crash import crash_point
from common.db import FAILURES, away
from common.dead_letters import DeadLetters
from common.errors import Unavailable
from common.ids import bind_request_id
from common.logging import get_logger, report
from common.outbox import Message, NotStored

log = get_logger()

BROKER_WITHIN_S = 60.0
PUBLISH_TIMEOUT_S = 5.0
FETCH = 100
"""The most events that a handler is given at a time."""
FETCH_TIMEOUT_S = 5.0
ACK_WAIT_S = 30.0
ON_ITS_WAY_S = 0.2
FINISH_S = 3.0
"""How long a consumer that is told to end may take for what it holds."""
CLOSE_S = 1.0
DEDUPE_WINDOW_S = 120.0
PING_S = 5.0
"""A connection whose broker has not answered three of these is given up, and another is made."""
MOST_UNSENT = 256_000
"""Bytes that may wait to be sent. From 2 MiB on the client waits for its socket, and no time-out ends that."""
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
    request_id: str | None


Handler = Callable[[Sequence[Received]], Awaitable[None]]
"""Has the effect of 1 to `FETCH` events. Where it raises, each comes again, by itself or with the others."""
Listener = Callable[[Received], Awaitable[None]]


def decode(payload: bytes) -> Received:
    """Read an envelope."""
    body = orjson.loads(payload)
    return Received(
        id=UUID(body["id"]),
        type=body["type"],
        version=body["version"],
        aggregate=body["aggregate"],
        aggregate_version=body["aggregate_version"],
        occurred_at=datetime.fromisoformat(body["occurred_at"]),
        tenant_id=body["tenant_id"],
        data=body["data"],
        request_id=body.get("request_id"),
    )


async def connect(
    url: str,
    name: str,
    closed: asyncio.Event,
    *,
    no_echo: bool = False,
    on_back: Callable[[], None] = lambda: None,
) -> Client:
    """Connect, waiting up to a minute for the broker to come up; the connection heals by itself.

    Args:
        closed: set when the connection is gone for good.
        no_echo: whether the connection hears nothing of what it published itself.
        on_back: called when the connection was lost and is there again.

    Raises:
        Unavailable: when there was no broker at `url`; check NATS_URL.
    """

    async def on_closed() -> None:
        closed.set()

    async def on_reconnected() -> None:
        on_back()

    async def on_error(error: Exception) -> None:
        log.warning("nats.error", error=repr(error))

    try:
        async with asyncio.timeout(BROKER_WITHIN_S):
            return await nats.connect(
                url,
                name=name,
                no_echo=no_echo,
                max_reconnect_attempts=-1,
                reconnect_time_wait=0.5,
                connect_timeout=5,
                ping_interval=PING_S,
                max_outstanding_pings=2,
                closed_cb=on_closed,
                reconnected_cb=on_reconnected,
                error_cb=on_error,
            )
    except (OSError, TimeoutError, nats.errors.Error, ssl.SSLError) as error:
        where = urlsplit(url).netloc.rpartition("@")[2]  # without the password: this text is logged and reported
        raise Unavailable(f"no NATS server answers at {where} (NATS_URL)") from error


async def close(client: Client) -> None:
    """Close a connection, also while the broker is away."""
    try:
        async with asyncio.timeout(CLOSE_S):
            await client.close()
    except Exception as error:  # nats-py writes to a transport that is gone already
        log.info("nats.closed_while_away", error=repr(error))


class Bus:
    """One connection to NATS, which heals by itself; `closed` is set when it is gone for good."""

    def __init__(self, client: Client, closed: asyncio.Event) -> None:
        self._client = client
        self._stream: JetStreamContext = client.jetstream(timeout=PUBLISH_TIMEOUT_S)
        self._declared: dict[str, list[str]] = {}
        self.closed = closed

    @classmethod
    async def connect(cls, url: str, name: str) -> "Bus":
        """Connect, waiting up to a minute for the broker to come up.

        Raises:
            Unavailable: when there was no broker at `url`; check NATS_URL.
        """
        closed = asyncio.Event()
        return cls(await connect(url, name, closed), closed)

    @property
    def connected(self) -> bool:
        """Tell whether the broker is there now."""
        return bool(self._client.is_connected)

    async def declare_stream(self, name: str, subjects: Sequence[str]) -> None:
        """Create the stream, or bring an existing one to these settings; `publish` makes a lost one again."""
        self._declared[name] = list(subjects)
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

    async def publish(self, messages: Sequence[Message]) -> None:
        """Publish in order under ids that the broker remembers; return once all are stored.

        All are on their way at once. Each but the first is refused by the broker unless the one before it is
        the last that the stream has: none overtakes another that was lost. Where the broker has lost its
        streams they are declared again, and the caller publishes again.

        Raises:
            NotStored: how many were stored; its cause tells why the next was not.
        """
        answers: list[asyncio.Future[PubAck]] = []
        failure: BaseException | None = None
        try:
            await self.ping()  # otherwise the client keeps them until it is connected again
            if self._client.pending_data_size > MOST_UNSENT:
                raise Unavailable("NATS is connected and takes nothing")
            await self._send(messages, answers)
            await asyncio.wait(answers, timeout=PUBLISH_TIMEOUT_S)
        except (nats.errors.Error, Unavailable, OSError) as error:
            failure = error
        finally:
            for answer in answers:
                answer.cancel()
        stored, refusal = _stored(answers)
        failure = failure or refusal
        if isinstance(failure, NoStreamResponseError):
            log.error("bus.stream_lost", subject=messages[stored].subject)
            for name, subjects in self._declared.items():
                await self.declare_stream(name, subjects)
        if failure is not None:
            raise NotStored(stored) from failure

    async def _send(self, messages: Sequence[Message], answers: "list[asyncio.Future[PubAck]]") -> None:
        last: Message | None = None
        for message in messages:
            headers = {Header.MSG_ID.value: message.id}
            if last is not None:
                headers[Header.EXPECTED_LAST_MSG_ID.value] = last.id
            answers.append(await self._stream.publish_async(message.subject, message.payload, headers=headers))
            last = message

    async def tell(self, subject: str, payload: bytes) -> None:
        """Tell those who listen now. Nothing is kept, and it never fails: who misses it finds it elsewhere."""
        if not self.connected or self._client.pending_data_size > MOST_UNSENT:
            log.warning("bus.not_told", subject=subject)
            return
        try:
            await self._client.publish(subject, payload)
        except (nats.errors.Error, OSError) as error:
            log.warning("bus.not_told", subject=subject, error=repr(error))

    async def listen(self, subject: str, listener: Listener) -> None:
        """Call `listener` for what is published from now on; for caches only, nothing is kept or retried."""

        async def on_message(message: Msg) -> None:
            try:
                await listener(decode(message.data))
            except Exception as error:
                log.warning("bus.listener_failed", subject=subject, error=repr(error))
                report(error)

        await self._client.subscribe(subject, cb=on_message)

    async def consume(
        self,
        stream: str,
        durable: str,
        subjects: Sequence[str],
        handler: Handler,
        dead: DeadLetters | None = None,
        attempts: int | None = None,
    ) -> None:
        """Handle the stream's events in order until cancelled; the stream may not exist yet, or be lost.

        Args:
            stream: the producer's stream.
            durable: the consumer's name, for the broker and for dead letters.
            subjects: what it follows.
            handler: their effect, which has to be harmless when an event comes twice.
            dead: where events go that can't be read, and those given up; None keeps trying.
            attempts: after how many tries an event is given up; None, as for money, tries for ever.
        """
        config = ConsumerConfig(
            durable_name=durable,
            filter_subjects=list(subjects),
            ack_policy=AckPolicy.EXPLICIT,
            ack_wait=ACK_WAIT_S,
            max_deliver=-1,
            max_ack_pending=1024,
        )
        reader = _Reader(durable, handler, dead, attempts)
        while True:
            try:
                await self._stream.add_consumer(stream, config)
                subscription = await self._stream.pull_subscribe_bind(durable, stream)
                try:
                    await self._read(stream, durable, subscription, reader)
                finally:
                    with contextlib.suppress(nats.errors.Error):
                        await subscription.unsubscribe()
            except NotFoundError:
                log.info("bus.stream_awaited", stream=stream, durable=durable)
                await asyncio.sleep(1)
            except (nats.errors.Error, OSError) as error:
                log.warning("bus.consumer_failed", durable=durable, error=repr(error))
                await asyncio.sleep(1)

    async def _read(
        self, stream: str, durable: str, subscription: JetStreamContext.PullSubscription, reader: "_Reader"
    ) -> None:
        """Read until the subscription fails, or the broker does not know the consumer any more.

        Once it is told to end, it takes what is on its way already, and finishes what it holds: events that are
        left behind would come to another only after `ACK_WAIT_S`.
        """
        while True:
            fetching = asyncio.ensure_future(subscription.fetch(FETCH, timeout=FETCH_TIMEOUT_S))
            try:
                messages = await asyncio.shield(fetching)
            except (TimeoutError, nats.errors.TimeoutError):
                # Nothing came: that is also what a broker says that has lost the stream.
                metrics.EVENT_LAG.labels(durable).set(0)
                metrics.EVENTS_WAITING.labels(durable).set(0)
                await self._stream.consumer_info(stream, durable)
                continue
            except asyncio.CancelledError:
                await asyncio.wait({fetching}, timeout=ON_ITS_WAY_S)
                if fetching.done() and fetching.exception() is None:
                    await _soon(asyncio.ensure_future(reader.read(fetching.result())))
                fetching.cancel()
                raise
            await _finish(reader.read(messages))

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
        await close(self._client)


@dataclass(frozen=True, slots=True)
class _Reader:
    """Hands one consumer's messages to its handler, and decides what becomes of those that fail."""

    durable: str
    handler: Handler
    dead: DeadLetters | None
    attempts: int | None

    async def read(self, messages: Sequence[Msg]) -> None:
        readable: list[tuple[Msg, Received]] = []
        for message in messages:
            try:
                readable.append((message, decode(message.data)))
            except Exception as error:  # no later try will read it better
                await self._give_up_or_retry(message, error, hopeless=True)
        if len(readable) <= 1 or not await self._handled_together(readable):
            for message, event in readable:
                await self._handle(message, event)
        if readable:
            message, event = readable[-1]
            lag_s = (datetime.now(UTC) - event.occurred_at).total_seconds()
            metrics.EVENT_LAG.labels(self.durable).set(max(0.0, lag_s))
            metrics.EVENTS_WAITING.labels(self.durable).set(message.metadata.num_pending)

    async def _handled_together(self, readable: Sequence[tuple[Msg, Received]]) -> bool:
        try:
            await self._hand_over([event for _, event in readable])
        except Exception as error:
            if away(error) or isinstance(error, Unavailable):  # none of them would fare better by itself
                await self._retry_all([message for message, _ in readable], error)
                return True
            log.info("bus.handled_apart", durable=self.durable, events=len(readable), error=repr(error))
            return False
        for message, _ in readable:
            await message.ack()
        return True

    async def _handle(self, message: Msg, event: Received) -> None:
        try:
            await self._hand_over([event])
        except Exception as error:  # whatever went wrong, the event is kept
            tries = message.metadata.num_delivered
            hopeless = self.attempts is not None and tries >= self.attempts
            await self._give_up_or_retry(message, error, hopeless=hopeless)
        else:
            await message.ack()

    async def _hand_over(self, events: Sequence[Received]) -> None:
        bind_request_id(events[0].request_id)
        await self.handler(events)
        crash_point("event.handled")

    async def _retry_all(self, messages: Sequence[Msg], error: Exception) -> None:
        log.error("bus.handler_unavailable", durable=self.durable, events=len(messages), error=repr(error))
        report(error)
        for message in messages:
            await message.nak(delay=_pause_s(message))

    async def _give_up_or_retry(self, message: Msg, error: Exception, *, hopeless: bool) -> None:
        tries = message.metadata.num_delivered
        if hopeless and self.dead is not None and await self._buried(message, error, tries):
            await message.term()
            return
        delay_s = _pause_s(message)
        log.error(
            "bus.handler_failed",
            subject=message.subject,
            tries=tries,
            retry_in_s=delay_s,
            error=repr(error),
        )
        report(error)
        await message.nak(delay=delay_s)

    async def _buried(self, message: Msg, error: Exception, tries: int) -> bool:
        assert self.dead is not None
        try:
            await self.dead.bury(self.durable, message.subject, message.data, error, tries)
        except FAILURES as failure:  # the database is away: the broker keeps the event
            log.warning("dead_letter.not_stored", durable=self.durable, error=repr(failure))
            return False
        return True


async def _finish(work: Coroutine[Any, Any, None]) -> None:
    """Wait for work, for `FINISH_S` also once we are told to end."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await _soon(task)
        raise


async def _soon(task: "asyncio.Future[None]") -> None:
    """Wait for what is under way while we end, for `FINISH_S` at most."""
    await asyncio.wait({task}, timeout=FINISH_S)
    task.cancel()


def _pause_s(message: Msg) -> float:
    return RETRY_STEPS_S[min(message.metadata.num_delivered, len(RETRY_STEPS_S)) - 1]


def replayed(handler: Handler) -> Callable[[bytes], Awaitable[None]]:
    """Return what replays a stored payload through a consumer's handler."""

    async def replay(payload: bytes) -> None:
        event = decode(payload)
        bind_request_id(event.request_id)
        await handler([event])

    return replay


def _stored(answers: "Sequence[asyncio.Future[PubAck]]") -> tuple[int, BaseException | None]:
    """Return how many, from the first, the broker has acknowledged, and why the next was not."""
    for stored, answer in enumerate(answers):
        failure = TimeoutError("no answer") if answer.cancelled() else answer.exception()
        if failure is not None:
            return stored, failure
    return len(answers), None
