"""What becomes of messages that are stored together: each is numbered, known already, or refused. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from chat.domain.errors import ChatNotFound, ClientMsgIdTaken
from chat.domain.model import Draft, Message, Standing, may_write
from common.errors import ServiceError

Name = tuple[UUID, int | None, str]
"""What tells resends apart: the chat, the author, and the author's name for the message."""


@dataclass(frozen=True, slots=True)
class Locked:
    """A chat that nobody else can write in until our transaction ends."""

    last_seq: int
    standing: Standing


@dataclass(frozen=True, slots=True)
class Numbered:
    """A new message and its number in its chat."""

    draft: Draft
    seq: int


@dataclass(frozen=True, slots=True)
class Batch:
    """The new messages in their order, and for each draft which of them it is, or its answer."""

    new: Sequence[Numbered]
    answers: Sequence[int | Message | ServiceError]
    last_seqs: Mapping[UUID, int]
    """Of the chats that have new messages."""

    def answered(self, stored: Sequence[Message]) -> list[Message | ServiceError]:
        """Return the answer to each draft, once the new messages are stored."""
        return [stored[answer] if isinstance(answer, int) else answer for answer in self.answers]


def name_of(draft: Draft) -> Name | None:
    """Return what a draft is known by when it comes again, if its client gave it a name."""
    return None if draft.client_msg_id is None else (draft.chat.id, draft.user_id, draft.client_msg_id)


def number(
    drafts: Sequence[Draft],
    chats: Mapping[UUID, Locked],
    known: Mapping[Name, Message],
    now: datetime,
    read_only_after: timedelta,
) -> Batch:
    """Number the drafts that are new, in their order; one that is refused leaves its neighbours alone.

    Args:
        chats: the drafts' chats, locked; one whose row is gone is absent.
        known: what is stored already of the messages that the drafts name.
    """
    new: list[Numbered] = []
    answers: list[int | Message | ServiceError] = []
    last_seqs: dict[UUID, int] = {}
    firsts: dict[Name, int | Message] = dict(known)
    for draft in drafts:
        name, chat = name_of(draft), chats.get(draft.chat.id)
        if chat is None:
            answers.append(ChatNotFound("the chat is not here any more; connect anew"))
            continue
        first = None if name is None else firsts.get(name)
        try:
            if first is None:
                may_write(chat.standing, draft, now, read_only_after)
            else:
                _check_same(new[first].draft.text if isinstance(first, int) else first.text, draft)
        except ServiceError as refusal:
            answers.append(refusal)
            continue
        if first is None:
            first = len(new)
            seq = last_seqs[draft.chat.id] = last_seqs.get(draft.chat.id, chat.last_seq) + 1
            new.append(Numbered(draft, seq))
            if name is not None:
                firsts[name] = first
        answers.append(first)
    return Batch(new, answers, last_seqs)


def _check_same(text: str, draft: Draft) -> None:
    if text != draft.text:
        raise ClientMsgIdTaken(f"another message has the client_msg_id {draft.client_msg_id}")
