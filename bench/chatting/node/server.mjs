// The Node server that one would otherwise write: Socket.IO and `pg`, on the chat's own tables.
//
// It does what the chat does for a message: who may write, `seq` under the chat's lock in the transaction of the
// insert, broadcast after the commit, acknowledgement. A client's gate collects what is broadcast while its history
// is read, so that nothing is lost or doubled. One process; each message by itself, or with BATCH=1 all that wait.
//
// PORT, DATABASE_URL, BATCH
import { createServer } from "node:http";
import pg from "pg";
import { Server } from "socket.io";
import { batching, oneByOne } from "./store.mjs";

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;
const MAX_TEXT = 4000;
const FIND_CHAT = {
  name: "find_chat",
  text: "SELECT id, customer_id, performer_id FROM chat WHERE id = $1",
};
const HISTORY = {
  name: "history",
  text: "SELECT id, seq, user_id, text, created_at FROM message WHERE chat_id = $1 ORDER BY seq",
};

pg.types.setTypeParser(pg.types.builtins.INT8, Number);
const pool = new pg.Pool({ connectionString: process.env.DATABASE_URL, max: 10 });
const http = createServer((request, response) => response.end("ok"));
const io = new Server(http, { maxHttpBufferSize: 64 * 1024, cors: { origin: "*" } });
const rooms = new Map(); // by chat: the gates of those who join, how many messages are on their way, the last one told

io.use(async (socket, next) => {
  try {
    const token = socket.handshake.auth?.token;
    const known = typeof token === "string" && UUID.test(token);
    const [chat] = known ? (await pool.query({ ...FIND_CHAT, values: [token] })).rows : [];
    socket.data.chat = chat;
    next(chat ? undefined : new Error("authorization error"));
  } catch {
    next(new Error("temporarily unavailable"));
  }
});

io.on("connection", (socket) => {
  const { chat } = socket.data;
  const room = rooms.get(chat.id) ?? { gates: new Set(), clients: 0, underway: 0, told: 0 };
  rooms.set(chat.id, room);
  room.clients += 1;
  socket.on("disconnect", () => {
    if (--room.clients === 0) rooms.delete(chat.id);
  });
  socket.on("message", (payload, acknowledge) => receive(chat, room, payload, acknowledge));
  join(socket, chat, room).catch(() => socket.disconnect(true));
});

async function join(socket, chat, room) {
  const gate = { waiting: [], changed: () => {} };
  room.gates.add(gate);
  try {
    let last = 0;
    for (const row of (await pool.query({ ...HISTORY, values: [chat.id] })).rows) {
      socket.emit("message", shown(row.id, row.seq, row.user_id, row.text, row.created_at));
      last = row.seq;
    }
    // What was read as history and is broadcast only later must not be heard twice.
    while (room.underway > 0 && room.told < last) await new Promise((resolve) => (gate.changed = resolve));
    for (const message of gate.waiting) if (message.seq > last) socket.emit("message", message);
    if (socket.connected) socket.join(chat.id);
  } finally {
    room.gates.delete(gate);
  }
}

const store = process.env.BATCH ? batching(pool) : oneByOne(pool);

async function receive(chat, room, payload, acknowledge) {
  const { user_id, message: text } = payload ?? {};
  const fits = typeof text === "string" && text.length > 0 && text.length <= MAX_TEXT && Number.isInteger(user_id);
  const role = user_id === chat.customer_id ? "customer" : user_id === chat.performer_id ? "performer" : undefined;
  if (!fits || !role) return acknowledge?.({ error: "ignored" });
  room.underway += 1;
  try {
    const { id, seq, created_at } = await store({ chat_id: chat.id, user_id, role, text });
    const message = shown(id, seq, user_id, text, created_at);
    room.told = seq;
    io.to(chat.id).emit("message", message);
    for (const gate of room.gates) gate.waiting.push(message);
    acknowledge?.({ id, seq });
  } catch {
    acknowledge?.({ error: "unavailable" });
  } finally {
    room.underway -= 1;
    for (const gate of room.gates) gate.changed();
  }
}

function shown(id, seq, user_id, text, created_at) {
  return { id, seq, user_id, message: text, created_at: created_at.toISOString() };
}

process.on("SIGTERM", () => process.exit(0));
http.listen(Number(process.env.PORT), "127.0.0.1");
