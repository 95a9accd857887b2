// Two ways to store messages. Either way `seq` follows from an UPDATE … RETURNING in the transaction of the insert,
// and the promises of one chat's messages are kept in the order of their `seq`.

const ONE = {
  name: "one",
  text: `
    WITH c AS (UPDATE chat SET last_seq = last_seq + 1 WHERE id = $1 RETURNING last_seq)
    INSERT INTO message (chat_id, seq, user_id, role, text, created_at)
    SELECT $1, last_seq, $2, $3, $4, now() FROM c RETURNING id, seq, created_at`,
};

const MANY = {
  name: "many",
  text: `
    WITH w AS (
      SELECT *, row_number() OVER (PARTITION BY chat_id ORDER BY place) AS nth
        FROM unnest($1::uuid[], $2::bigint[], $3::text[], $4::text[]) WITH ORDINALITY
          AS w (chat_id, user_id, role, text, place)
    ), c AS (
      UPDATE chat SET last_seq = last_seq + n.count FROM (SELECT chat_id, count(*) FROM w GROUP BY chat_id) n
       WHERE chat.id = n.chat_id RETURNING chat.id, last_seq - n.count AS before
    ), added AS (
      INSERT INTO message (chat_id, seq, user_id, role, text, created_at)
      SELECT w.chat_id, c.before + w.nth, w.user_id, w.role, w.text, now()
        FROM w JOIN c ON c.id = w.chat_id ORDER BY w.place RETURNING id, chat_id, seq, created_at
    )
    SELECT id, seq, created_at FROM added ORDER BY id`,
};
const MOST = 500;

/** One statement a message. A chat's messages wait for each other, or their broadcasts would change places. */
export function oneByOne(pool) {
  const last = new Map();
  return async (row) => {
    const before = last.get(row.chat_id);
    const mine = (async () => {
      await before?.catch(() => {});
      const values = [row.chat_id, row.user_id, row.role, row.text];
      return (await pool.query({ ...ONE, values })).rows[0];
    })();
    last.set(row.chat_id, mine);
    try {
      return await mine;
    } finally {
      if (last.get(row.chat_id) === mine) last.delete(row.chat_id);
    }
  };
}

/** One statement for all messages that came while the last one was under way. */
export function batching(pool) {
  let waiting = [];
  let busy = false;
  async function work() {
    busy = true;
    while (waiting.length) {
      const batch = waiting.slice(0, MOST);
      waiting = waiting.slice(MOST);
      const column = (name) => batch.map(({ row }) => row[name]);
      const values = [column("chat_id"), column("user_id"), column("role"), column("text")];
      try {
        // The identity counts up in the order of the rows.
        const { rows } = await pool.query({ ...MANY, values });
        rows.forEach((stored, place) => batch[place].resolve(stored));
      } catch (error) {
        batch.forEach(({ reject }) => reject(error));
      }
    }
    busy = false;
  }
  return (row) =>
    new Promise((resolve, reject) => {
      waiting.push({ row, resolve, reject });
      if (!busy) work();
    });
}
