"""How much an address and a client may ask for, without IO."""

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat.api import limits
from chat.api.limits import Addresses, Bucket, Limits
from chat.api.metrics import CONNECTIONS
from common.metrics import REGISTRY

PROXIES = (ip_network("127.0.0.0/8"), ip_network("fd00::/8"))


def refused(limit: str) -> float:
    return REGISTRY.get_sample_value("garant_chat_refused_total", {"limit": limit}) or 0.0


def test_a_bucket_gives_what_it_holds_and_then_at_its_rate() -> None:
    bucket = Bucket(rate=2, most=3, now=10.0)

    assert [bucket.take(10.0) for _ in range(4)] == [0, 0, 0, 0.5]
    assert bucket.take(10.25) == 0.25
    assert bucket.take(10.5) == 0
    assert [bucket.take(1000.0) for _ in range(4)] == [0, 0, 0, 0.5]


@given(st.integers(1, 50), st.integers(1, 20), st.lists(st.floats(0, 3), max_size=100))
def test_a_bucket_never_gives_more_than_its_rate_and_its_waits_are_true(
    rate: int, most: int, pauses: list[float]
) -> None:
    bucket, now = Bucket(rate, most, 0.0), 0.0
    for given_out, pause in enumerate(pauses, start=1):
        now += pause
        wait_s = bucket.take(now)
        if wait_s:
            now += wait_s + 1e-6
            assert bucket.take(now) == 0
        assert given_out <= most + now * rate + 1e-6


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "address"),
    [
        ("::ffff:127.0.0.1", "192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.9", "192.0.2.7", "192.0.2.9"),
        ("198.51.100.7", None, "198.51.100.7"),
        ("198.51.100.7", "203.0.113.9", "198.51.100.7"),  # forged: it comes from no proxy of ours
        ("127.0.0.1", None, "127.0.0.1"),
        ("127.0.0.1", "", "127.0.0.1"),
        ("127.0.0.1", "203.0.113.9", "203.0.113.9"),
        ("127.0.0.1", "10.0.0.1, 203.0.113.9", "203.0.113.9"),  # forged before the proxy put its own behind it
        ("fd00::1", "2001:db8::5", "2001:db8::/64"),
        ("fd00::1", "::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8::1", "2001:db8::5", "2001:db8::/64"),
        ("2001:db8:0:1:ffff::1", None, "2001:db8:0:1::/64"),
        ("127.0.0.1", "x" * 1_000, "x" * 64),
        (None, "203.0.113.9", "unknown"),
    ],
)
def test_which_address_a_request_comes_from(peer: str | None, forwarded_for: str | None, address: str) -> None:
    assert Addresses(Limits(), PROXIES).of(peer, forwarded_for) == address


def test_without_proxies_nobody_is_believed() -> None:
    assert Addresses(Limits()).of("127.0.0.1", "203.0.113.9") == "127.0.0.1"


def test_an_address_and_the_server_have_so_many_connections_and_no_more() -> None:
    addresses = Addresses(Limits(connections=3, connections_per_address=2))
    addresses.enter("a")
    addresses.enter("a")
    counted = {name: refused(name) for name in ("connections", "connections_per_address")}

    assert addresses.refusal("b") is None
    assert "this address" in str(addresses.refusal("a"))
    addresses.enter("b")
    assert "this server" in str(addresses.refusal("b"))
    addresses.leave("a")
    assert addresses.refusal("a") is None
    assert {name: refused(name) - before for name, before in counted.items()} == {
        "connections": 1,
        "connections_per_address": 1,
    }
    addresses.leave("a")
    addresses.leave("b")
    assert CONNECTIONS._value.get() == 0


def test_who_was_refused_too_often_may_not_connect_for_a_while() -> None:
    now = [100.0]
    addresses = Addresses(Limits(refusals_per_minute=60), monotonic=lambda: now[0])
    for _ in range(59):
        addresses.offended("bad")
    assert addresses.refusal("bad") is None
    before = refused("refusals")
    addresses.offended("bad")

    assert "too many refused" in str(addresses.refusal("bad"))
    assert refused("refusals") == before + 1
    assert addresses.refusal("good") is None
    now[0] += 1.01
    assert addresses.refusal("bad") is None


def test_addresses_that_were_refused_long_ago_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MOST_ADDRESSES", 2)
    addresses = Addresses(Limits(refusals_per_minute=1), monotonic=lambda: 0.0)
    for name in ("a", "b", "a", "c"):
        addresses.offended(name)

    assert [addresses.refusal(name) is None for name in ("a", "b", "c")] == [False, True, False]


def test_connections_of_one_address_share_what_it_may_send_in_vain() -> None:
    now = [100.0]
    addresses = Addresses(Limits(), monotonic=lambda: now[0])
    for address in ("a", "b"):
        addresses.enter(address)

    assert [round(addresses.pause_s("a", 1), 6) for _ in range(3)] == [0.002, 0.004, 0.006]
    assert round(addresses.pause_s("b", 5), 6) == 0.010, "another address has its own"
    now[0] += 0.005
    assert round(addresses.pause_s("a", 1), 6) == 0.003
    assert addresses.pause_s("a", 10_000) == addresses.pause_s("a", 1) == 1.0, "nobody waits for longer"
    now[0] += 60
    assert round(addresses.pause_s("a", 1), 6) == 0.002


def test_what_an_address_sent_in_vain_is_forgotten_with_its_last_connection() -> None:
    addresses = Addresses(Limits(), monotonic=lambda: 0.0)
    addresses.enter("a")
    addresses.pause_s("a", 100)

    addresses.leave("a")

    assert round(addresses.pause_s("a", 1), 6) == 0.002
    assert addresses._paused_until == {}
