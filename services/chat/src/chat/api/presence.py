"""Presence: which parties of a chat are connected, here or to another process. Several tabs are one. Pure.

Each process tells which roles are connected to it; a process that is not heard of any more takes its own with it.
"""

from collections import Counter
from collections.abc import Iterable
from uuid import UUID

import orjson

from chat.api.packets import Packet, event
from chat.domain.model import Role


class Presence:
    """Who is there.

    Args:
        process: the name of this process, which no other has.
    """

    def __init__(self, process: str) -> None:
        self.process = process
        self._here: dict[UUID, Counter[Role]] = {}
        self._there: dict[UUID, dict[str, frozenset[Role]]] = {}

    def here(self, chat_id: UUID) -> list[Role]:
        """Return the roles that are connected to this process."""
        return sorted(self._here.get(chat_id, ()))

    def _all(self, chat_id: UUID) -> frozenset[Role]:
        return frozenset(self._here.get(chat_id, ())).union(*self._there.get(chat_id, {}).values())

    def entered(self, chat_id: UUID, role: Role) -> bool:
        """Count a client; return whether it is the first of its role here."""
        counts = self._here.setdefault(chat_id, Counter())
        counts[role] += 1
        return counts[role] == 1

    def left(self, chat_id: UUID, role: Role) -> bool:
        """Count a client no more; return whether it was the last of its role here."""
        counts = self._here[chat_id]
        counts[role] -= 1
        if counts[role]:
            return False
        del counts[role]
        if not counts:
            del self._here[chat_id]
        return True

    def heard(self, chat_id: UUID, process: str, roles: Iterable[Role]) -> bool:
        """Note who is connected to another process; return whether that changes who is there."""
        before = self._all(chat_id)
        told = frozenset(roles)
        if told:
            self._there.setdefault(chat_id, {})[process] = told
        else:
            self._drop(chat_id, process)
        return before != self._all(chat_id)

    def lost(self, process: str) -> list[UUID]:
        """Forget a process; return the chats in which that changes who is there."""
        changed = []
        for chat_id in [chat_id for chat_id, processes in self._there.items() if process in processes]:
            before = self._all(chat_id)
            self._drop(chat_id, process)
            if before != self._all(chat_id):
                changed.append(chat_id)
        return changed

    def forget(self, chat_id: UUID) -> None:
        """Forget what others told of a chat that nobody here is in."""
        self._there.pop(chat_id, None)

    def _drop(self, chat_id: UUID, process: str) -> None:
        processes = self._there.get(chat_id)
        if processes is not None:
            processes.pop(process, None)
            if not processes:
                del self._there[chat_id]

    def shown(self, chat_id: UUID) -> Packet:
        """Return what clients are shown: each role, and whether it is there."""
        there = self._all(chat_id)
        return event("presence", orjson.dumps({role.value: role in there for role in Role}))
