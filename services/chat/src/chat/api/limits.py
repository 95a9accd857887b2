"""Limits: how much a client, a chat and an address may ask for, of one process, in memory.

What enters: who asks, and the time. What leaves: yes or no, and a count of each no. Nothing here is stored.
"""

import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from chat.api.metrics import CONNECTIONS, REFUSED

MOST_ADDRESSES = 100_000
"""Addresses whose refusals are remembered; the one that was refused longest ago is forgotten first."""
PAUSE_S = 0.002
MOST_PAUSE_S = 1.0
"""How long a connection is not read after a packet for nothing, and at most after those of its whole address."""

Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class Limits:
    """The settings of all limits, each of one process."""

    client_messages_per_s: int = 2_000
    chat_messages_per_s: int = 4_000
    connections: int = 20_000
    connections_per_chat: int = 200
    connections_per_address: int = 2_000
    refusals_per_minute: int = 120
    """Refused CONNECTs and malformed packets of one address, after which it may not connect for a while."""
    client_buffer_bytes: int = 1024 * 1024
    frame_bytes: int = 64 * 1024


class Bucket:
    """A token bucket.

    Args:
        rate: tokens per second.
        most: how many it holds; it is full at first.
    """

    __slots__ = ("_at", "_most", "_rate", "_tokens")

    def __init__(self, rate: float, most: float, now: float) -> None:
        self._rate = rate
        self._most = most
        self._tokens = most
        self._at = now

    def left(self, now: float) -> float:
        """Return how many tokens it holds."""
        self._tokens = min(self._most, self._tokens + (now - self._at) * self._rate)
        self._at = now
        return self._tokens

    def take(self, now: float) -> float:
        """Take a token and return 0, or return the seconds until there will be one."""
        if self.left(now) < 1:
            return (1 - self._tokens) / self._rate
        self._tokens -= 1
        return 0.0


class Addresses:
    """How many connections each address has, and how often it was refused lately.

    Args:
        trusted: the networks of proxies whose `X-Forwarded-For` is believed.
    """

    def __init__(
        self, limits: Limits, trusted: Sequence[Network] = (), monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._limits = limits
        self._trusted = trusted
        self._monotonic = monotonic
        self._connected: Counter[str] = Counter()
        self._total = 0
        self._refusals: OrderedDict[str, Bucket] = OrderedDict()
        self._paused_until: dict[str, float] = {}

    def of(self, peer: str | None, forwarded_for: str | None) -> str:
        """Return the address that a request comes from: the peer's, or what a trusted proxy says of it.

        Of IPv6 it is the /64 network, of which one customer has all addresses.
        """
        if peer is None:
            return "unknown"
        address = _plain(ip_address(peer))
        if forwarded_for and any(address in network for network in self._trusted):
            said = forwarded_for.rpartition(",")[2].strip()[:64]
            try:
                address = _plain(ip_address(said))
            except ValueError:
                return said
        if isinstance(address, IPv6Address):
            return str(IPv6Network((address, 64), strict=False))
        return str(address)

    def banned(self, address: str) -> bool:
        """Tell whether an address was refused too often lately."""
        refusals = self._refusals.get(address)
        return refusals is not None and refusals.left(self._monotonic()) < 1

    def refusal(self, address: str) -> str | None:
        """Tell why one more connection of an address is refused, or return None."""
        if self.banned(address):
            return _counted("refusals", "too many refused CONNECTs or malformed packets; try again in a minute")
        if self._total >= self._limits.connections:
            return _counted("connections", "this server has as many connections as it takes; try again later")
        if self._connected[address] >= self._limits.connections_per_address:
            return _counted("connections_per_address", "this address has as many connections as one may have")
        return None

    def enter(self, address: str) -> None:
        """Count a connection."""
        self._connected[address] += 1
        self._total += 1
        CONNECTIONS.set(self._total)

    def leave(self, address: str) -> None:
        """Count a connection no more."""
        self._connected[address] -= 1
        if not self._connected[address]:
            del self._connected[address]
            self._paused_until.pop(address, None)
        self._total -= 1
        CONNECTIONS.set(self._total)

    def pause_s(self, address: str, packets: int) -> float:
        """Return for how many seconds a connection is not read after so many packets for nothing.

        All connections of an address share what it may send in vain, so it gains nothing by opening more of them.
        """
        now = self._monotonic()
        until = max(now, self._paused_until.get(address, now)) + packets * PAUSE_S
        until = min(until, now + MOST_PAUSE_S)
        if self._connected[address]:
            self._paused_until[address] = until
        return until - now

    def offended(self, address: str) -> None:
        """Note that an address sent what it should not: a CONNECT that is refused, or a malformed packet."""
        now, per_minute = self._monotonic(), self._limits.refusals_per_minute
        bucket = self._refusals.pop(address, None) or Bucket(per_minute / 60, per_minute, now)
        bucket.take(now)
        self._refusals[address] = bucket
        if len(self._refusals) > MOST_ADDRESSES:
            self._refusals.popitem(last=False)


def _plain(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """Return an IPv4 address where a dual-stack socket shows one as IPv6."""
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def _counted(limit: str, words: str) -> str:
    REFUSED.labels(limit).inc()
    return words
