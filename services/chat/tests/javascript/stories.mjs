// The published socket.io-client against the chat, over each transport.
//
// node stories.mjs '{"url": …, "chats": [{"chat_id", "customer", "performer"}, …]}'
//
// Each story has a chat of its own. Prints {story: null, or what went wrong}.
import assert from "node:assert/strict";
import { io } from "socket.io-client";

const TIMEOUT_MS = 10_000;
const TRANSPORTS = { websocket: ["websocket"], polling: ["polling"], upgrade: ["polling", "websocket"] };
const { url, chats } = JSON.parse(process.argv[2]);
const open = [];

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

async function until(condition, what) {
  for (const end = Date.now() + TIMEOUT_MS; !condition(); await pause(5)) {
    if (Date.now() > end) throw new Error(`never came: ${what()}`);
  }
}

function connect(transports, auth, more = {}) {
  const options = { transports, auth, forceNew: true, reconnectionDelay: 50, reconnectionDelayMax: 200, ...more };
  const socket = io(url, options);
  socket.heard = [];
  socket.on("message", (message) => socket.heard.push(message));
  socket.seqs = () => socket.heard.map((message) => message.seq);
  socket.say = (user_id, message) => socket.timeout(TIMEOUT_MS).emitWithAck("message", { user_id, message });
  socket.until = (count) => until(() => socket.heard.length >= count, () => `${count} messages, only ${socket.seqs()}`);
  open.push(socket);
  return socket;
}

async function connected(transports, auth, more) {
  const socket = connect(transports, auth, more);
  await new Promise((resolve, reject) => {
    socket.once("connect", resolve);
    socket.once("connect_error", reject);
  });
  return socket;
}

const numbers = (count) => Array.from({ length: count }, (_, index) => index + 1);

const STORIES = {
  async "a wrong token is refused and not tried again"(transports) {
    for (const token of ["00000000-0000-4000-8000-000000000000", "nonsense", null, undefined]) {
      const socket = connect(transports, { token });
      const error = await new Promise((resolve) => socket.once("connect_error", resolve));
      assert.equal(error.message, "authorization error");
      assert.equal(socket.active, false);
      socket.disconnect();
    }
  },

  async "the history comes first, then live messages in one order"(transports, { chat_id, customer, performer }) {
    const first = await connected(transports, { token: chat_id });
    const acks = [await first.say(customer, "hello"), await first.say(performer, "hi")];
    const second = await connected(transports, { token: chat_id });
    acks.push(await second.say(performer, "still there?"));
    await Promise.all([first.until(3), second.until(3)]);
    assert.deepEqual(first.heard, second.heard);
    assert.deepEqual(first.heard.map(({ id, seq }) => ({ id, seq })), acks);
    assert.deepEqual(first.heard.map(({ user_id, message }) => [user_id, message]), [
      [customer, "hello"],
      [performer, "hi"],
      [performer, "still there?"],
    ]);
    assert.ok(Date.parse(first.heard[0].created_at) > 0);
  },

  async "what does not fit is told in the acknowledgement and ignored"(transports, { chat_id, customer, performer }) {
    const socket = await connected(transports, { token: chat_id });
    for (const payload of [null, "text", [], {}, { user_id: customer }, { user_id: customer, message: "x".repeat(4001) }]) {
      const answer = await socket.timeout(TIMEOUT_MS).emitWithAck("message", payload);
      assert.equal(typeof answer.error, "string", JSON.stringify(answer));
    }
    assert.equal((await socket.say(customer + performer + 1, "not mine")).error, "not_a_party");
    socket.emit("message");
    socket.emit("no such event", 1);
    assert.equal((await socket.say(customer, "Grüße, 你好 🙂\n\u2028")).seq, 1);
    await socket.until(1);
    assert.equal(socket.heard[0].message, "Grüße, 你好 🙂\n\u2028");
  },

  async "many messages at once keep their order"(transports, { chat_id, customer, performer }) {
    const [alice, bob] = [await connected(transports, { token: chat_id }), await connected(transports, { token: chat_id })];
    const acks = await Promise.all(
      numbers(100).flatMap((n) => [alice.say(customer, `a${n}`), bob.say(performer, `b${n}`)]),
    );
    await Promise.all([alice.until(200), bob.until(200)]);
    assert.deepEqual(alice.heard, bob.heard);
    assert.deepEqual(alice.seqs(), numbers(200));
    for (const letter of "ab") {
      const said = alice.heard.filter(({ message }) => message.startsWith(letter)).map(({ message }) => message);
      assert.deepEqual(said, numbers(100).map((n) => `${letter}${n}`));
    }
    assert.deepEqual(acks.map(({ seq }) => seq).sort((a, b) => a - b), numbers(200));
  },

  async "joining while others speak loses and doubles nothing"(transports, { chat_id, customer }) {
    const writer = await connected(transports, { token: chat_id });
    const saying = (async () => {
      for (const n of numbers(150)) await writer.say(customer, `${n}`);
    })();
    const readers = [];
    for (const _ of numbers(8)) readers.push(await connected(transports, { token: chat_id }));
    await saying;
    for (const reader of readers) {
      await reader.until(150);
      assert.deepEqual(reader.seqs(), numbers(150));
    }
    if (transports.length > 1) assert.equal(readers[0].io.engine.transport.name, "websocket");
  },

  async "a lost connection comes back by itself"(transports, { chat_id, customer, performer }) {
    const alice = await connected(transports, { token: chat_id });
    const bob = await connected(transports, { token: chat_id });
    await alice.say(customer, "one");
    await bob.until(1);
    const gone = new Promise((resolve) => bob.once("disconnect", resolve));
    bob.io.engine.close();
    assert.equal(await gone, "forced close");
    bob.heard.length = 0;
    await alice.say(customer, "two");
    await until(() => bob.connected, () => "the reconnect");
    await bob.until(2);
    assert.deepEqual(bob.seqs(), [1, 2]);
    assert.equal((await bob.say(performer, "three")).seq, 3);
    await alice.until(3);
    assert.deepEqual(alice.seqs(), [1, 2, 3]);
  },

  async "what was said while away is sent after the reconnect"(transports, { chat_id, customer, performer }) {
    const bob = await connected(transports, { token: chat_id });
    const alice = await connected(transports, { token: chat_id });
    bob.io.engine.close();
    await until(() => !bob.connected, () => "the disconnect");
    const acks = numbers(5).map((n) => bob.say(performer, `from away ${n}`)); // the client keeps them
    assert.deepEqual((await Promise.all(acks)).map(({ seq }) => seq), numbers(5));
    await alice.until(5);
    assert.deepEqual(alice.heard.map(({ message }) => message), numbers(5).map((n) => `from away ${n}`));
    assert.equal((await alice.say(customer, "welcome back")).seq, 6);
  },

  async "after_seq continues where the client stopped"(transports, { chat_id, customer, performer }) {
    const alice = await connected(transports, { token: chat_id });
    const heard = [];
    const auth = (give) => give({ token: chat_id, after_seq: heard.at(-1)?.seq ?? 0 });
    const bob = await connected(transports, auth);
    bob.on("message", (message) => heard.push(message));
    for (const n of numbers(3)) await alice.say(customer, `${n}`);
    await bob.until(3);
    bob.io.engine.close();
    await until(() => !bob.connected, () => "the disconnect");
    for (const n of [4, 5]) await alice.say(customer, `${n}`);
    await until(() => bob.connected, () => "the reconnect");
    await bob.say(performer, "6");
    await bob.until(6);
    assert.deepEqual(bob.seqs(), numbers(6));
    assert.deepEqual(heard.map(({ message }) => message), numbers(6).map(String));
  },

  async "a message that is sent again is stored once"(transports, { chat_id, customer }) {
    const alice = await connected(transports, { token: chat_id });
    const payload = { user_id: customer, message: "once", client_msg_id: "a-1" };
    const send = () => alice.timeout(TIMEOUT_MS).emitWithAck("message", payload);
    const acks = await Promise.all([send(), send()]);
    alice.io.engine.close();
    await until(() => !alice.connected, () => "the disconnect");
    acks.push(await send()); // after the reconnect, by the client itself
    for (const ack of acks) assert.deepEqual(ack, acks[0]);
    assert.equal((await alice.say(customer, "two")).seq, 2);
    await until(() => alice.heard.at(-1)?.seq === 2, () => "the second message");
    assert.deepEqual([...new Set(alice.heard.map(({ message }) => message))], ["once", "two"]);
  },

  async "how far a party has read is told"(transports, { chat_id, customer, performer }) {
    const alice = await connected(transports, { token: chat_id });
    const reads = [];
    alice.on("read", (read) => reads.push(read));
    const bob = await connected(transports, { token: chat_id });
    await bob.say(performer, "read me");
    await alice.until(1);
    const answer = await alice.timeout(TIMEOUT_MS).emitWithAck("read", { user_id: customer, seq: 1 });
    assert.deepEqual(answer, { read: true });
    await until(() => reads.length > 0, () => "the read mark");
    assert.deepEqual(reads, [{ role: "customer", last_read_seq: 1 }]);
  },

  async "who leaves is gone, and the others stay"(transports, { chat_id, customer }) {
    const [alice, bob] = [await connected(transports, { token: chat_id }), await connected(transports, { token: chat_id })];
    const gone = new Promise((resolve) => bob.once("disconnect", resolve));
    bob.disconnect();
    assert.equal(await gone, "io client disconnect");
    assert.equal((await alice.say(customer, "anybody?")).seq, 1);
    await alice.until(1);
    assert.deepEqual(bob.heard, []);
  },
};

const outcome = {};
let place = 0;
for (const [name, story] of Object.entries(STORIES)) {
  for (const [transport, transports] of Object.entries(TRANSPORTS)) {
    const began = Date.now();
    try {
      await story(transports, chats[place++]);
      outcome[`${transport}: ${name}`] = null;
    } catch (error) {
      outcome[`${transport}: ${name}`] = String(error.stack ?? error);
    }
    console.error(`${transport}: ${name}: ${Date.now() - began} ms`);
    for (const socket of open.splice(0)) socket.disconnect();
  }
}
console.log(JSON.stringify(outcome));
process.exit(0);
