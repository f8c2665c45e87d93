// The package in Node, on whichever version runs the tests: no window, no SharedWorker, in Node 20
// no navigator. Also values from other code: headers, answers of another realm, bodies of another kind.

import assert from "node:assert/strict";
import { getEventListeners } from "node:events";
import { test } from "node:test";
import vm from "node:vm";
import { Hub } from "../../e2e/hub.js";
import { until } from "../../e2e/until.js";
import { readWithFetch } from "../connect.js";
import EventSourceWrapper, { DEFAULT_POLICY, FetchEventSource } from "../index.js";
import { Subscription } from "../subscribe.js";
import { Server, stream } from "./server.js";

const QUICK = { reconnectionMs: 100, backoffFirstMs: 10 };

/**
 * @param {EventSourceWrapper} source
 * @param {import("node:test").TestContext} t at whose end it is closed
 */
function logOf(source, t) {
  t.after(() => source.close());
  /** @type {any[]} */
  const log = [];
  source.on("open", () => log.push(["open"]));
  source.onMessage(({ data, lastEventId }) => log.push(["message", data, lastEventId]));
  source.onError(({ kind, message, status }) => log.push(["error", kind, message, status]));
  source.on("close", ({ reason }) => log.push(["close", reason]));
  return log;
}

/**
 * @param {any[]} log
 * @param {string} kind
 */
const story = (log, kind, count = 1) => until(`${count} times ${kind} in ${JSON.stringify(log)}`, () => log.filter(([what]) => what === kind).length >= count);

test("a source with topics reads a hub, and does not warn about tabs", async (t) => {
  const hub = await Hub.start(t);
  const warn = t.mock.method(console, "warn", () => {});
  const source = new EventSourceWrapper(hub.mercure, { topics: ["a"] });
  const log = logOf(source, t);
  await story(log, "open");
  await hub.publish({ topic: "a", data: "1" });
  await story(log, "message");
  assert.equal(log[1][1], "1");
  assert.equal(warn.mock.callCount(), 0);
});

test("a source that cannot be shared has its own stream", async (t) => {
  const server = await Server.start(t);
  server.routes.set("/sse", (_, response) => stream(response, "data: a\n\n"));
  const log = logOf(new EventSourceWrapper(`${server.origin}/sse`, { shared: true }), t);
  await story(log, "message");
});

test("a function that wraps fetch gets headers as a plain object, and headers that it adds do not replace the others", async (t) => {
  const server = await Server.start(t);
  server.routes.set("/sse", (request, response) => {
    const { authorization, accept, "last-event-id": id } = request.headers;
    stream(response, `retry: 100\nid: ✓\ndata: ${authorization} ${accept} ${id && Buffer.from(String(id), "latin1")}\n\n`).end();
  });
  /** @type {any} */
  const wrapped = (/** @type {any} */ url, /** @type {any} */ init) => fetch(url, { ...init, headers: { ...init.headers, Authorization: "Bearer x" } });
  const wanted = ["Bearer x text/event-stream undefined", "Bearer x text/event-stream ✓"];
  const log = logOf(new EventSourceWrapper(`${server.origin}/sse`, { fetch: wrapped, reconnect: QUICK }), t);
  await story(log, "message", 2);
  assert.deepEqual(log.filter(([what]) => what === "message").slice(0, 2).map(([, data]) => data), wanted);
  /** @type {string[]} */
  const seen = [];
  const standard = new FetchEventSource(`${server.origin}/sse`, { fetch: wrapped });
  t.after(() => standard.close());
  standard.onmessage = ({ data }) => seen.push(data);
  await until("two of the other class", () => seen.length >= 2);
  assert.deepEqual(seen.slice(0, 2), wanted);
});

for (const [what, headers] of /** @type {[string, any][]} */ ([["an object", { "X-A": "1" }], ["pairs", [["X-A", "1"]]], ["Headers", new Headers({ "X-A": "1" })], ["a function", async () => new Headers({ "X-A": "1" })]])) {
  test(`headers may be ${what}, and name another Accept`, async (t) => {
    const server = await Server.start(t);
    server.routes.set("/sse", (request, response) => stream(response, `data: ${request.headers["x-a"]} ${request.headers.accept}\n\n`));
    const log = logOf(new EventSourceWrapper(`${server.origin}/sse`, { headers }), t);
    await story(log, "message");
    assert.equal(log[1][1], "1 text/event-stream");
  });
}

test("an answer of another realm is read like one of this realm", async (t) => {
  const bytes = new TextEncoder().encode("id: 1\ndata: a\n\n");
  // Other classes, like those of undici from npm or of an iframe.
  const realm = vm.createContext({ bytes });
  const answer = vm.runInContext(
    `({ status: 200, url: "", headers: { get: (name) => name === "Content-Type" ? "text/event-stream" : null },
      body: { getReader: () => ({ sent: false, async read() { const value = this.sent ? undefined : bytes; this.sent = true; return { value, done: !value } } }) } })`,
    realm,
  );
  assert.ok(!(answer instanceof Object));
  const log = logOf(new EventSourceWrapper("http://localhost/sse", { fetch: async () => answer, reconnect: false }), t);
  await story(log, "close");
  assert.deepEqual(log.slice(0, 2), [["open"], ["message", "a", "1"]]);
});

test("a body that is only iterable is read, like that of node-fetch", async (t) => {
  /** @type {any} */
  const answer = {
    status: 200,
    headers: new Headers({ "Content-Type": "text/event-stream" }),
    body: (async function* () {
      yield Buffer.from("data: a\n");
      yield Buffer.from("\ndata: b\n\n");
    })(),
  };
  const log = logOf(new EventSourceWrapper("http://localhost/sse", { fetch: async () => answer, reconnect: false }), t);
  await story(log, "close");
  assert.deepEqual(log.map(([what, data]) => data ?? what), ["open", "a", "b", "ended"]);
});

test("a content type that a proxy has sent twice is read as Fetch reads it", async (t) => {
  const server = await Server.start(t);
  for (const [path, type] of Object.entries({ "/twice": "text/event-stream, text/event-stream", "/last": 'text/html;a=", x", text/event-stream;b' })) {
    server.routes.set(path, (_, response) => void response.writeHead(200, { "Content-Type": type }).end("data: a\n\n"));
    const log = logOf(new EventSourceWrapper(server.origin + path, { headers: {}, reconnect: false }), t);
    await story(log, "close");
    assert.deepEqual(log[1], ["message", "a", ""], type);
  }
  server.routes.set("/other", (_, response) => void response.writeHead(200, { "Content-Type": "text/event-stream, text/html" }).end());
  const log = logOf(new EventSourceWrapper(`${server.origin}/other`), t);
  await story(log, "close");
  assert.equal(log[0][1], "not-a-stream");
});

test("reconnecting leaves no listener behind", async (t) => {
  const server = await Server.start(t);
  server.routes.set("/sse", (_, response, __, seen) => {
    if (seen % 2 === 0) return void response.writeHead(503).end();
    stream(response, "retry: 0\ndata: a\n\n").end();
  });
  /** @type {Set<AbortSignal>} */
  const signals = new Set();
  const subscription = new Subscription(
    (one, signal) => (signals.add(signal), readWithFetch(one, signal)),
    { url: `${server.origin}/sse` },
    { ...DEFAULT_POLICY, ...QUICK, reconnectionMinMs: 0, backoffFirstMs: 0, reconnectionMs: 0 },
    { onOpen() {}, onEvent() {}, onFailure() {}, onEnd() {} },
  );
  t.after(() => subscription.close());
  await until("twenty connections", () => server.seen("/sse").length >= 20);
  assert.equal(signals.size, 1);
  for (const signal of signals) assert.ok(getEventListeners(signal, "abort").length <= 2, String(getEventListeners(signal, "abort").length));
});

for (const [what, url, options] of /** @type {[string, string, any][]} */ ([
  ["an address of mail", "mailto:a@example.com", { headers: {} }],
  ["ftp", "ftp://example.com/", {}],
  ["a scheme that nobody knows", "foobar:x", { reconnect: { isPassing: () => true } }],
  ["a password in the URL", "http://user:secret@localhost/sse", {}],
  ["a GET with a body", "http://localhost/sse", { method: "GET", body: "x" }],
  ["a method that is forbidden", "http://localhost/sse", { method: "TRACE", reconnect: true }],
])) {
  test(`${what} closes the source at once`, async (t) => {
    const log = logOf(new EventSourceWrapper(url, options), t);
    await story(log, "close");
    const [[, kind, message], close] = log;
    assert.deepEqual([kind, close], ["unsupported", ["close", "refused"]]);
    assert.match(message, /^This stream cannot be opened here: ./);
    assert.doesNotMatch(message, /secret/);
  });
}

test("a policy's option that is undefined is the default, and an empty body is a body", async (t) => {
  const server = await Server.start(t);
  server.routes.set("/sse", (request, response) => void response.writeHead(503).end(request.method));
  const source = new EventSourceWrapper(`${server.origin}/sse`, { reconnect: /** @type {any} */ ({ reconnectionMs: undefined, backoffFirstMs: 0 }) });
  const waits = /** @type {any[]} */ ([]);
  source.onError(({ nextDelay }) => waits.push(nextDelay));
  const log = logOf(source, t);
  source.onError(({ nextDelay }) => waits.push(nextDelay));
  await until("an error", () => waits.length);
  assert.deepEqual([waits, log.length], [[3000], 0]);
  const posted = logOf(new EventSourceWrapper(`${server.origin}/sse`, { body: "" }), t);
  await story(posted, "close");
  assert.equal(server.requests.at(-1)?.method, "POST");
});

test("a callback of the caller that throws ends the source, and not the process", async (t) => {
  const server = await Server.start(t);
  server.routes.set("/sse", (_, response) => void response.writeHead(503).end());
  const fails = () => {
    throw new Error("theirs");
  };
  const log = logOf(new EventSourceWrapper(`${server.origin}/sse`, { reconnect: { isPassing: fails } }), t);
  await story(log, "close");
  assert.match(log[0][2], /theirs/);
});

test("an id that no header can contain is not sent, and this is reported", async (t) => {
  const server = await Server.start(t);
  const id = "7".repeat(200_000);
  server.routes.set("/sse", (request, response, _, seen) => stream(response, `retry: 100\nid: ${id}\ndata: ${seen} ${request.headers["last-event-id"]}\n\n`).end());
  const log = logOf(new EventSourceWrapper(`${server.origin}/sse`, { headers: {}, reconnect: QUICK }), t);
  await story(log, "message", 2);
  const told = log.find(([what, kind]) => what === "error" && kind === "cursor");
  assert.match(told[2], /^The last event ID was not sent: it has 200000 characters/);
  assert.equal(log.filter(([what]) => what === "message")[1][1], "2 undefined");
});

test("an id that a server refuses for its size is no longer sent, and this is reported", async (t) => {
  const server = await Server.start(t);
  // Node's own server answers 431 to so much.
  const id = "7".repeat(20_000);
  server.routes.set("/sse", (request, response, _, seen) => stream(response, `retry: 100\nid: ${id}\ndata: ${seen} ${request.headers["last-event-id"]}\n\n`).end());
  const log = logOf(new EventSourceWrapper(`${server.origin}/sse`, { headers: {}, reconnect: QUICK }), t);
  await story(log, "message", 2);
  assert.ok(log.some(([what, kind, message]) => what === "error" && kind === "cursor" && message.includes("431")), JSON.stringify(log.map(([, kind]) => kind)));
});

test("an endless line is reported as soon as it is too long", async (t) => {
  const server = await Server.start(t);
  server.routes.set("/sse", (_, response) => stream(response, `data: ${"x".repeat(5000)}`));
  const log = logOf(new EventSourceWrapper(`${server.origin}/sse`, { headers: {}, eventCharactersMax: 1000 }), t);
  await story(log, "error");
  assert.deepEqual(log[1], ["error", "discarded", "An event was discarded: it has more than 1000 characters", 0]);
});
