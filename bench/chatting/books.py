"""Chats with a history, written by SQL into each server's database, and the proof that what was said is stored."""

import asyncpg

_CHATS = """
    INSERT INTO chat (id, deal_id, tenant_id, customer_id, performer_id, last_seq, told_seq, status)
    SELECT md5($1 || ':' || n)::uuid, n, 1, 2 * n + 1, 2 * n + 2, $3, $3, 'confirmed'
      FROM generate_series(0, $2::bigint - 1) n
"""
_HISTORY = """
    INSERT INTO message (chat_id, seq, user_id, role, text, created_at)
    SELECT c.id, s, CASE WHEN s % 2 = 0 THEN c.customer_id ELSE c.performer_id END,
           CASE WHEN s % 2 = 0 THEN 'customer' ELSE 'performer' END,
           'What was said before, in message ' || s || ' of this chat', now() - interval '1 day'
      FROM chat c, generate_series(1, $1::bigint) s
"""
_STORED = "SELECT count(*) FROM message WHERE seq > $1"
_BROKEN = """
    SELECT count(*)
      FROM chat c LEFT JOIN (SELECT chat_id, count(*) AS n, max(seq) AS top FROM message GROUP BY chat_id) m
        ON m.chat_id = c.id
     WHERE c.last_seq <> COALESCE(m.n, 0) OR c.last_seq <> COALESCE(m.top, 0)
"""
_READS = "SELECT idx_scan + seq_scan FROM pg_stat_user_tables WHERE relname = 'message'"


async def rewrite(url: str, run: str, chats: int, history: int) -> None:
    """Replace all chats by new ones; their ids are those of `bench.chatting.loads.Job`."""
    connection = await asyncpg.connect(url, timeout=5, command_timeout=120)
    try:
        await connection.execute("TRUNCATE message, chat, outbox CASCADE")
        await connection.execute(_CHATS, run, chats, history)
        await connection.execute(_HISTORY, history)
        await connection.execute("VACUUM ANALYZE")
        await connection.execute("CHECKPOINT")
    finally:
        await connection.close()


async def check(url: str, history: int, said: int) -> None:
    """Compare what is stored with what was said.

    Raises:
        RuntimeError: when a message is missing, is there twice, or has the wrong `seq`.
    """
    connection = await asyncpg.connect(url, timeout=5, command_timeout=120)
    try:
        stored = await connection.fetchval(_STORED, history)
        broken = await connection.fetchval(_BROKEN)
    finally:
        await connection.close()
    if stored != said or broken:
        raise RuntimeError(f"{said} messages were said, {stored} are stored, {broken} chats have gaps")


async def reads(url: str) -> int:
    """Return how often messages were looked up, all statements together."""
    connection = await asyncpg.connect(url, timeout=5, command_timeout=120)
    try:
        found: int = await connection.fetchval(_READS)
    finally:
        await connection.close()
    return found


async def copy(owner_url: str, template: str, name: str) -> None:
    """Create a database like another one, for a server of its own."""
    connection = await asyncpg.connect(owner_url, timeout=5, command_timeout=120)
    try:
        await connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
    finally:
        await connection.close()
