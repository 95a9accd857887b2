"""Blocks: by number, by id, in ranges, and the newest."""

from tron_sandbox.chain import Block
from tron_sandbox.jsonformat import Json
from tron_sandbox.view import Answer, View, txid_of, visible_of, whole


def get_now_block(view: View, _: Json) -> Answer:
    """The newest block; the body is ignored, as java-tron does."""
    return view.top.to_json(visible=False)


def get_block_by_num(view: View, body: Json) -> Answer:
    """A block by its number."""
    block = view.block(whole(body.get("num", 0)))
    return block.to_json(visible=visible_of(body)) if block else {}


def get_block_by_id(view: View, body: Json) -> Answer:
    """A block by its id."""
    block = _by_id(view, txid_of(body))
    return block.to_json(visible=visible_of(body)) if block else {}


def _by_id(view: View, block_id: bytes) -> Block | None:
    if len(block_id) != 32:
        return None
    block = view.block(int.from_bytes(block_id[:8], "big"))
    return block if block and block.id == block_id else None


def get_block(view: View, body: Json) -> Answer:
    """A block by number or id, or the newest; without `detail` its header alone."""
    wanted = body.get("id_or_num")
    block: Block | None = view.top
    if wanted not in (None, ""):
        text = str(wanted)
        block = _by_id(view, bytes.fromhex(text)) if len(text) == 64 else view.block(whole(text))
    detail = body.get("detail") in (True, "true")
    return block.to_json(visible=visible_of(body), detail=detail) if block else {}


def get_block_by_limit_next(view: View, body: Json) -> Answer:
    """Blocks from `startNum` to before `endNum`, a hundred at most."""
    start, end = whole(body.get("startNum", 0)), whole(body.get("endNum", 0))
    if start < 0 or end <= 0 or start >= end or end - start > 100:
        return {}
    found = [view.block(number) for number in range(start, end)]
    return {"block": [b.to_json(visible=visible_of(body)) for b in found if b]}


def get_block_by_latest_num(view: View, body: Json) -> Answer:
    """The newest blocks, a hundred at most."""
    count = whole(body.get("num", 0))
    if not 0 < count < 100:
        return {}
    top = view.top.number
    found = [view.block(number) for number in range(max(0, top - count + 1), top + 1)]
    return {"block": [b.to_json(visible=visible_of(body)) for b in found if b]}
