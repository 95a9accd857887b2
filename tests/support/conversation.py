"""A conversation that goes on while chat's replicas come and go: what was acknowledged is heard once, in order."""

import asyncio
import contextlib
from dataclasses import dataclass, field

from socketio.exceptions import SocketIOError

from support.chatting import Listener, Refused, leave, listen

PAUSE_S = 0.2
SAY_WITHIN_S = 5.0
LISTENERS = 2


@dataclass(slots=True)
class Conversation:
    """A speaker and listeners in one chat, each of which comes back when its connection ends."""

    url: str
    chat_id: str
    user_id: int
    open: bool = True
    told: dict[int, str] = field(default_factory=dict)
    """What was acknowledged, by its place."""
    heard: list[dict[int, str]] = field(default_factory=lambda: [{} for _ in range(LISTENERS)])
    wrong: list[str] = field(default_factory=list)
    returns: int = 0

    async def run(self) -> None:
        """Speak and listen until it is closed; the last message said is acknowledged."""
        hearing = [asyncio.create_task(self._hear(heard)) for heard in self.heard]
        try:
            await self._speak()
        finally:
            for task in hearing:
                task.cancel()
            await asyncio.gather(*hearing, return_exceptions=True)

    async def check(self) -> list[str]:
        """Compare with the history, which somebody new is told, and with what each listener heard."""
        listener = await self._enter()
        try:
            await listener.until(max(self.told, default=0))
            history = {m["seq"]: m["message"] for m in listener.heard}
        finally:
            await leave(listener.client)
        wrong = list(self.wrong)
        if history != self.told:
            wrong.append(f"the history of {self.chat_id} has {len(history)} messages, {len(self.told)} were told")
        if list(history) != list(range(1, len(history) + 1)):
            wrong.append(f"the history of {self.chat_id} has gaps")
        for heard in self.heard:
            missed = [seq for seq in range(1, max(heard, default=0) + 1) if heard.get(seq) != history.get(seq)]
            wrong += [f"a listener of {self.chat_id} missed {missed}"] if missed or not heard else []
        return wrong

    async def _speak(self) -> None:
        number, listener = 0, await self._enter()
        while self.open:
            number += 1
            text = f"{self.chat_id}-{number}"
            while True:
                try:
                    body = {"user_id": self.user_id, "message": text, "client_msg_id": text}
                    answer = await listener.client.call("message", body, timeout=SAY_WITHIN_S)
                    if "seq" in answer:
                        break
                except (SocketIOError, TimeoutError):
                    await leave(listener.client)
                    listener = await self._enter()
                    self.returns += 1
                await asyncio.sleep(PAUSE_S)
            self.told[answer["seq"]] = text
            await asyncio.sleep(PAUSE_S)
        await leave(listener.client)

    async def _hear(self, heard: dict[int, str]) -> None:
        while True:
            listener = await self._enter()
            try:
                await listener.closed.wait()
            finally:
                self._note(listener, heard)
                with contextlib.suppress(SocketIOError):
                    await leave(listener.client)

    def _note(self, listener: Listener, heard: dict[int, str]) -> None:
        """Keep what a connection heard: from the first message on, each once and in order."""
        if listener.seqs != list(range(1, len(listener.seqs) + 1)):
            self.wrong.append(f"a listener of {self.chat_id} heard {listener.seqs}")
        heard.update({m["seq"]: m["message"] for m in listener.heard})

    async def _enter(self) -> Listener:
        async with asyncio.timeout(60):
            while True:
                try:
                    return await listen(self.url, self.chat_id)
                except Refused:
                    await asyncio.sleep(PAUSE_S)
