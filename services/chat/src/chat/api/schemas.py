"""The shapes of requests and answers over HTTP."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, Field, StringConstraints

from chat.domain.model import Message, Role

Cursor = Annotated[str, StringConstraints(pattern="^[1-9][0-9]{0,17}$")]


class MessagesQuery(BaseModel):
    """Which page of a chat's messages."""

    cursor: Cursor | None = None
    limit: int = Field(default=50, ge=1, le=200)


class MessageOut(BaseModel):
    """A stored message."""

    id: int
    seq: int = Field(description="counts the chat's messages from 1, without gaps")
    user_id: int | None = Field(description="its author; null for the arbiter")
    role: Role
    message: str
    created_at: datetime


class MessagesOut(BaseModel):
    """A page of messages, oldest first."""

    messages: list[MessageOut]
    next_cursor: str | None = Field(description="pass it as `cursor` for the next page")

    @classmethod
    def of(cls, page: Sequence[Message], limit: int) -> "MessagesOut":
        """Show a page; one that is full may have a next one."""
        shown = [
            MessageOut(id=m.id, seq=m.seq, user_id=m.user_id, role=m.role, message=m.text, created_at=m.created_at)
            for m in page
        ]
        return cls(messages=shown, next_cursor=str(page[-1].seq) if len(page) == limit else None)
