"""Broadcasts over core NATS: who follows a subject hears what is told from then on; nothing is kept or retried.

What enters: small payloads. What leaves: the same, to every follower that is connected. What never happens: a
teller that waits, or that fails because the broker is away. What must not be lost has its truth elsewhere.
"""

import asyncio
from collections import deque
from collections.abc import Callable

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from common.bus import close, connect
from common.errors import Unavailable
from common.logging import get_logger, report

log = get_logger()

MOST_WAITING_BYTES = 16 * 1024 * 1024
"""What may wait to be sent; one payload more is dropped. A broker that hangs counts as connected for seconds."""
EACH_BYTES = 200
"""What waiting costs beside the payload."""
MOST_UNREAD = 10_000
MOST_UNREAD_BYTES = 16 * 1024 * 1024
"""What may wait for a follower, which is then told less; of each subject."""

Heard = Callable[[bytes], None]


class Following:
    """A subject that is followed until `end`."""

    def __init__(self, broadcasts: "Broadcasts", subscription: Subscription) -> None:
        self._broadcasts = broadcasts
        self._subscription = subscription

    def end(self) -> None:
        """Hear nothing more of it."""
        self._broadcasts.drop(self._subscription)


class Broadcasts:
    """One connection to NATS, which heals by itself and follows again what it followed."""

    def __init__(self, client: Client, closed: asyncio.Event, back: "list[Callable[[], None]]") -> None:
        self._client = client
        self._closed = closed
        self._back = back
        self._waiting: deque[tuple[str, bytes]] = deque()
        self._waiting_bytes = 0
        self._dropped: deque[Subscription] = deque()
        self._wake = asyncio.Event()

    @classmethod
    async def connect(cls, url: str, name: str) -> "Broadcasts":
        """Connect; a connection never hears what it tells itself.

        Raises:
            Unavailable: when there was no broker at `url` for a minute; check NATS_URL.
        """
        closed, back = asyncio.Event(), list[Callable[[], None]]()

        def on_back() -> None:
            for call in back:
                call()

        client = await connect(url, name, closed, no_echo=True, on_back=on_back)
        return cls(client, closed, back)

    @property
    def connected(self) -> bool:
        """Whether the broker is there now."""
        return bool(self._client.is_connected)

    def when_back(self, call: Callable[[], None]) -> None:
        """Have this called each time the connection is made again."""
        self._back.append(call)

    def tell(self, subject: str, payload: bytes) -> bool:
        """Tell all followers; return False where that can't be, and nobody will hear of it."""
        size = EACH_BYTES + len(payload)
        if not self.connected or self._waiting_bytes + size > MOST_WAITING_BYTES:
            return False
        self._waiting.append((subject, payload))
        self._waiting_bytes += size
        self._wake.set()
        return True

    async def follow(self, subject: str, heard: Heard) -> Following:
        """Call `heard` for what is told; the broker may learn of it a moment later: see `flush`.

        Raises:
            Unavailable: when the connection is closed for good.
        """

        async def on_message(message: Msg) -> None:
            try:
                heard(message.data)
            except Exception as error:  # the next may be read better
                log.error("broadcasts.not_heard", subject=message.subject, error=repr(error))
                report(error)

        try:
            subscription = await self._client.subscribe(
                subject,
                cb=on_message,
                pending_msgs_limit=MOST_UNREAD,
                pending_bytes_limit=MOST_UNREAD_BYTES,
            )
        except nats.errors.Error as error:
            raise Unavailable("NATS can't be asked any more") from error
        return Following(self, subscription)

    def drop(self, subscription: Subscription) -> None:
        """End a subscription, soon."""
        self._dropped.append(subscription)
        self._wake.set()

    async def flush(self, timeout_s: float) -> None:
        """Return once the broker has taken all that was followed and told before.

        Raises:
            Unavailable: when it is away, or does not answer in time.
        """
        if not self.connected:
            raise Unavailable("not connected to NATS")
        try:
            # nats-py's ping overtakes what it has not written yet. Once the first one is answered all is written,
            # and what the second one follows has arrived.
            for _ in range(2):
                await self._client.flush(timeout_s / 2)
        except (nats.errors.Error, OSError) as error:
            raise Unavailable("NATS does not answer") from error

    async def run(self) -> None:
        """Send what is told, until the connection is closed for good: the process must end then.

        Raises:
            Exception: what sending failed with, other than for the broker's sake.
        """
        sending, closed = asyncio.create_task(self._send()), asyncio.create_task(self._closed.wait())
        try:
            done, _ = await asyncio.wait((sending, closed), return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in (sending, closed):
                task.cancel()
            await asyncio.gather(sending, closed, return_exceptions=True)

    async def _send(self) -> None:
        told = asyncio.current_task()
        assert told is not None
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting or self._dropped:
                try:
                    if self._waiting:
                        subject, payload = self._waiting.popleft()
                        self._waiting_bytes -= EACH_BYTES + len(payload)
                        await self._client.publish(subject, payload)
                    else:
                        await self._dropped.popleft().unsubscribe()
                except (nats.errors.Error, OSError) as error:
                    log.warning("broadcasts.not_sent", error=repr(error))
                if told.cancelling():
                    return  # nats-py swallows a cancellation while it waits for its full buffer

    async def close(self) -> None:
        """Close the connection, also while the broker is away."""
        await close(self._client)
