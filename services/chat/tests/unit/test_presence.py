"""Who is there: several tabs are one, other processes count, and a process that is lost takes its own with it."""

from uuid import UUID

import orjson
from hypothesis import given
from hypothesis import strategies as st

from chat.api.presence import Presence
from chat.domain.model import Role

CHAT, OTHER = UUID(int=1), UUID(int=2)
CUSTOMER, PERFORMER, ARBITER = Role.CUSTOMER, Role.PERFORMER, Role.ARBITER


def shown(presence: Presence, chat_id: UUID = CHAT) -> set[Role]:
    """Return the roles that clients are shown as there."""
    name, body = orjson.loads(presence.shown(chat_id).payload[2:])
    assert name == "presence"
    assert list(body) == [role.value for role in Role]
    return {Role(role) for role, there in body.items() if there}


def test_several_tabs_are_one() -> None:
    presence = Presence("here")

    assert presence.entered(CHAT, CUSTOMER)
    assert not presence.entered(CHAT, CUSTOMER)
    assert presence.entered(CHAT, PERFORMER)
    assert shown(presence) == {CUSTOMER, PERFORMER}
    assert not presence.left(CHAT, CUSTOMER)
    assert shown(presence) == {CUSTOMER, PERFORMER}
    assert presence.left(CHAT, CUSTOMER)
    assert shown(presence) == {PERFORMER}
    assert shown(presence, OTHER) == set()


def test_other_processes_count_and_what_they_tell_twice_changes_nothing() -> None:
    presence = Presence("here")
    presence.entered(CHAT, CUSTOMER)

    assert presence.heard(CHAT, "there", [PERFORMER])
    assert not presence.heard(CHAT, "there", [PERFORMER])
    assert not presence.heard(CHAT, "elsewhere", [CUSTOMER, PERFORMER])
    assert shown(presence) == {CUSTOMER, PERFORMER}
    assert not presence.heard(CHAT, "there", [])
    assert presence.heard(CHAT, "elsewhere", [CUSTOMER])
    assert shown(presence) == {CUSTOMER}
    assert presence.here(CHAT) == [CUSTOMER]


def test_a_lost_process_takes_its_own_with_it_and_names_the_chats_that_changed() -> None:
    presence = Presence("here")
    presence.entered(OTHER, CUSTOMER)
    presence.heard(CHAT, "there", [CUSTOMER])
    presence.heard(CHAT, "elsewhere", [PERFORMER])
    presence.heard(OTHER, "there", [CUSTOMER])

    assert presence.lost("there") == [CHAT]
    assert shown(presence) == {PERFORMER}
    assert shown(presence, OTHER) == {CUSTOMER}
    assert presence.lost("there") == []


def test_a_chat_that_nobody_is_in_is_forgotten() -> None:
    presence = Presence("here")
    presence.heard(CHAT, "there", [CUSTOMER])

    presence.forget(CHAT)

    assert shown(presence) == set()
    assert presence.lost("there") == []


processes = st.sampled_from(["here", "there", "elsewhere"])
moves = st.lists(st.tuples(processes, st.sampled_from(list(Role)), st.booleans()), max_size=60)


@given(moves)
def test_every_process_shows_the_same_as_whoever_comes_and_goes(told: list[tuple[str, Role, bool]]) -> None:
    """A process tells the others whenever the first of a role came or the last left, and at no other time."""
    all_of = {name: Presence(name) for name in ("here", "there", "elsewhere")}
    tabs: list[tuple[str, Role]] = []
    for name, role, comes in told:
        one = all_of[name]
        if comes:
            tabs.append((name, role))
            changed = one.entered(CHAT, role)
        elif (name, role) in tabs:
            tabs.remove((name, role))
            changed = one.left(CHAT, role)
        else:
            continue
        if changed:
            for other in all_of.values():
                if other is not one:
                    other.heard(CHAT, name, one.here(CHAT))

        assert [shown(one) for one in all_of.values()] == [{role for _, role in tabs}] * 3

    for one in all_of.values():
        for name in all_of:
            one.lost(name)
        assert shown(one) == set(one.here(CHAT))
