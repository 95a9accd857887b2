"""The cache of keys: seconds of trust, minutes while their owner is away, none after a revocation."""

import pytest

from common.auth import CACHE_S, STALE_IF_ERROR_S, CachedVerifier, Principal, hash_key, new_key
from common.errors import Unavailable

ALICE = Principal(1, 7, frozenset({"default"}))


class Source:
    """Answers, or is away."""

    def __init__(self) -> None:
        self.answer: Principal | None = ALICE
        self.away = False
        self.calls = 0

    async def verify(self, key_hash: str) -> Principal | None:
        """Answer."""
        self.calls += 1
        if self.away:
            raise Unavailable("away")
        return self.answer


class Watch:
    """A monotonic clock that moves when told to."""

    now = 0.0

    def __call__(self) -> float:
        """Tell the time."""
        return self.now


@pytest.fixture
def parts() -> tuple[Source, Watch, CachedVerifier]:
    source, watch = Source(), Watch()
    return source, watch, CachedVerifier(source, watch)


Parts = tuple[Source, Watch, CachedVerifier]


async def test_a_key_is_asked_for_once_in_seconds(parts: Parts) -> None:
    source, watch, verifier = parts
    for at, calls in ((0, 1), (CACHE_S - 0.1, 1), (CACHE_S + 0.1, 2)):
        watch.now = at
        assert await verifier.verify("h") == ALICE
        assert source.calls == calls


async def test_a_known_key_works_while_its_owner_is_away_but_not_for_ever(parts: Parts) -> None:
    source, watch, verifier = parts
    await verifier.verify("h")
    source.away = True
    watch.now = STALE_IF_ERROR_S - 1
    assert await verifier.verify("h") == ALICE
    watch.now = STALE_IF_ERROR_S + 1
    with pytest.raises(Unavailable):
        await verifier.verify("h")
    with pytest.raises(Unavailable):
        await verifier.verify("never seen")


async def test_a_revoked_key_is_forgotten_at_once(parts: Parts) -> None:
    source, _, verifier = parts
    await verifier.verify("h")
    source.answer = None
    verifier.forget(ALICE.key_id)
    assert await verifier.verify("h") is None


async def test_an_unknown_key_is_never_remembered(parts: Parts) -> None:
    source, _, verifier = parts
    source.answer = None
    assert await verifier.verify("h") is None
    source.answer = ALICE
    assert await verifier.verify("h") == ALICE


def test_keys_are_unique_and_only_their_hash_is_kept() -> None:
    one, two = new_key(), new_key()
    assert one != two
    assert len(one) > 40
    assert one not in hash_key(one)
    assert len(hash_key(one)) == 64
