// The connection against real WebSocket servers; node's browser globals are what it needs of a page.
import assert from "node:assert/strict";
import { once } from "node:events";
import { afterEach, test } from "node:test";

import { WebSocket, WebSocketServer } from "ws";

import { RequestError, Socket } from "../../../clients/web/js/socket.js";

const listeners = new EventTarget();
Object.assign(globalThis, {
  WebSocket,
  location: { href: "http://127.0.0.1/page/" },
  addEventListener: (...args) => listeners.addEventListener(...args),
  removeEventListener: (...args) => listeners.removeEventListener(...args),
});

const opened = [];
afterEach(() => opened.splice(0).forEach((one) => (one.clients ? stop(one) : one.close())));

function stop(server) {
  for (const client of server.clients) client.terminate();
  server.close();
}

async function serve(port = 0) {
  const server = new WebSocketServer({ port, host: "127.0.0.1" });
  opened.push(server);
  await once(server, "listening");
  return server;
}

function connect(server, { token, begun, query = () => "" } = {}) {
  const told = { states: [], headers: [] };
  const waiting = [];
  const look = () => waiting.splice(0).forEach((one) => one());
  const socket = new Socket(`http://127.0.0.1:${server.address().port}/ws/a`, token, {
    query,
    onMessage: (header) => (told.headers.push(header), look()),
    onState: (state, detail) => (told.states.push([state, detail.code]), look()),
  }, begun);
  opened.push(socket);
  socket.open();
  const until = async (what) => {
    while (!what()) await new Promise((done) => waiting.push(done));
  };
  return { socket, told, until };
}

test("a connection that was begun elsewhere is taken over with what it has brought, the next one is its own", async () => {
  const server = await serve();
  const message = (n) => Buffer.from([0, 0, 0, 4, 0x81, 0xa1, 110, n]);
  let count = 0;
  server.on("connection", (client) => {
    count += 1;
    client.send(message(count === 1 ? 1 : 3));
    client.on("message", () => client.terminate());
  });
  const begun = new WebSocket(`ws://127.0.0.1:${server.address().port}/ws/a`, ["musecast"]);
  begun.binaryType = "arraybuffer";
  const messages = new Map();
  await new Promise((done) => { begun.onmessage = ({ data }) => done(messages.set(data, { at: 0, fed: true })); });
  const { socket, told, until } = connect(server, { begun: { socket: begun, messages } });
  assert.deepEqual(told.states, [["live", undefined]]);
  assert.deepEqual(told.headers.map((one) => one.n), [1]);
  await assert.rejects(socket.request("lost"), (error) => error.code === "NOT_READY");
  await until(() => told.headers.length === 2);
  assert.deepEqual(told.headers.map((one) => one.n), [1, 3]);
  assert.equal(count, 2);
});

test("a connection that was begun elsewhere and has ended gives what it has brought, and is made again", async () => {
  const server = await serve();
  const begun = new WebSocket(`ws://127.0.0.1:${server.address().port}/ws/a`, ["musecast"]);
  await once(begun, "open");
  begun.close();
  await once(begun, "close");
  const messages = new Map([[new Uint8Array([0, 0, 0, 4, 0x81, 0xa1, 110, 1]).buffer, { at: 0, fed: false }]]);
  const { told, until } = connect(server, { begun: { socket: begun, messages } });
  assert.deepEqual(told.headers.map((one) => one.n), [1]);
  await until(() => told.states.at(-1)[0] === "live" && told.states.length === 3);
  assert.deepEqual(told.states, [["live", undefined], ["reconnecting", 1006], ["live", undefined]]);
});

const echo = (server) => server.on("connection", (client) => client.on("message", (data, binary) => {
  if (binary) return;
  const { id, op } = JSON.parse(data);
  const error = { code: "BUSY", message: "later", retry_after_ms: 50 };
  client.send(JSON.stringify(op === "refuse" ? { id, ok: false, error } : { id, ok: true, op }));
}));

test("requests find their answers, refusals say why", async () => {
  const server = await serve();
  echo(server);
  const { socket } = connect(server);
  const [one, two] = await Promise.all([socket.request("first"), socket.request("second")]); // before it is open
  assert.deepEqual([one.op, two.op], ["first", "second"]);
  await assert.rejects(socket.request("refuse"), (error) =>
    error instanceof RequestError && error.code === "BUSY" && error.retry_after_ms === 50);
  assert.equal(socket.requests.size, 0);
});

test("the token goes as a subprotocol, asked anew for every connection", async () => {
  const server = await serve();
  const protocols = [];
  server.on("connection", (client, request) => {
    protocols.push(request.headers["sec-websocket-protocol"]);
    if (protocols.length === 1) client.close(1012);
  });
  let count = 0;
  const { told, until } = connect(server, { token: async () => `t${(count += 1)}` });
  await until(() => told.states.filter(([state]) => state === "live").length === 2);
  assert.deepEqual(protocols, ["musecast,bearer.t1", "musecast,bearer.t2"]);
  assert.deepEqual(told.states, [["live", undefined], ["reconnecting", 1012], ["live", undefined]]);
});

test("it connects again with the query of that moment, and what was sent is not sent twice", async () => {
  const server = await serve();
  const [urls, texts] = [[], []];
  server.on("connection", (client, request) => {
    urls.push(request.url);
    client.on("message", (data) => {
      texts.push(JSON.parse(data).op);
      if (urls.length === 1) client.terminate();
      else client.send(JSON.stringify({ id: JSON.parse(data).id, ok: true }));
    });
  });
  let query = "from_seq=0";
  const { socket, told, until } = connect(server, { query: () => query });
  await assert.rejects(socket.request("lost"), (error) => error.code === "NOT_READY");
  query = "from_seq=7";
  await socket.request("kept"); // while there is no connection
  await until(() => told.states.filter(([state]) => state === "live").length === 2);
  assert.deepEqual(urls, ["/ws/a?from_seq=0", "/ws/a?from_seq=7"]);
  assert.deepEqual(texts, ["lost", "kept"]);
});

test("a token that expired on the way is replaced without a word, one that is refused at the door is not", async () => {
  const server = await serve();
  const protocols = [];
  server.on("connection", (client, request) => {
    protocols.push(request.headers["sec-websocket-protocol"]);
    if (protocols.length === 1) client.send('{"id":0,"ok":true}', () => client.close(1008));
    else if (protocols.length === 2) client.on("message", () => client.close(1008));
  });
  let count = 0;
  const { socket, told, until } = connect(server, { token: () => `t${(count += 1)}` });
  await until(() => told.states.filter(([state]) => state === "live").length === 2);
  assert.deepEqual(protocols, ["musecast,bearer.t1", "musecast,bearer.t2"]);
  assert.deepEqual(told.states, [["live", undefined], ["live", undefined]]);
  await assert.rejects(socket.request("anything"), (error) => error.code === "NOT_READY");
  assert.deepEqual(told.states.at(-1), ["refused", 1008]);
});

for (const [code, state] of [[1000, "ended"], [4404, "ended"], [1008, "refused"]]) {
  test(`close code ${code} is final`, async () => {
    const server = await serve();
    server.on("connection", (client) => client.close(code));
    const { socket, told, until } = connect(server);
    await until(() => told.states.some(([one]) => one === state));
    assert.deepEqual(told.states.at(-1), [state, code]);
    await assert.rejects(socket.request("late"), (error) => error.code === "NOT_READY");
    assert.equal(socket.closed, true);
  });
}

test("the browser's word that the network is back ends the wait", async () => {
  const server = await serve();
  const { port } = server.address();
  const { socket, told, until } = connect(server);
  await until(() => told.states.some(([state]) => state === "live"));
  stop(server);
  await until(() => told.states.some(([state]) => state === "reconnecting"));
  await serve(port);
  clearTimeout(socket.timer);
  socket.timer = setTimeout(() => assert.fail("it waited in spite of the browser's word"), 60_000);
  listeners.dispatchEvent(new Event("online"));
  await until(() => told.states.at(-1)[0] === "live");
});

test("sound goes as it is, its rate before it, and not into a connection that is stuck", async () => {
  const server = await serve();
  const got = [];
  server.on("connection", (client) => client.on("message", (data, binary) => got.push(binary ? data.length : String(data))));
  const { socket, told, until } = connect(server);
  assert.equal(socket.microphone(new Int16Array(320)), false);
  await until(() => told.states.length);
  assert.ok(socket.microphone(new Int16Array(320)));
  assert.ok(socket.microphone(new Int16Array(882), 44_100));
  assert.ok(socket.microphone(new Int16Array(882), 44_100, true));
  while (got.length < 5) await new Promise((done) => setImmediate(done));
  const how = (/** @type {boolean} */ cancelled) => JSON.stringify({ op: "microphone", sample_rate: 44_100, echo_cancelled: cancelled });
  assert.deepEqual(got, [640, how(false), 1764, how(true), 1764]);
  Object.defineProperty(socket.socket, "bufferedAmount", { value: 70_000 });
  assert.equal(socket.microphone(new Int16Array(320), 44_100), false);
});

test("a message that is none is dropped, the next one counts", async (t) => {
  t.mock.method(console, "warn", () => {});
  const server = await serve();
  server.on("connection", (client) => {
    client.send(Buffer.from([0, 0, 0, 9, 1]));
    client.send(Buffer.from([0, 0, 0, 4, 0x81, 0xa1, 110, 7]));
  });
  const { told, until } = connect(server);
  await until(() => told.headers.length);
  assert.equal(told.headers[0].n, 7);
});
