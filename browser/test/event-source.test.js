// `FetchEventSource` and `EventSourceWrapper` compared with the browser's own `EventSource`: the same scripts, in
// windows and workers, must have the same results. (HTML 9.2; the rows follow web-platform-tests/eventsource.)

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { until } from "../../e2e/until.js";
import { BROWSERS, browserOf } from "./browsers.js";
import { Server, stream } from "./server.js";

/** The globals of the scripts: a class named `Source`, and `told`, which records events. */
const TOOLS = `
  const told = [];
  const note = (what) => (event) => told.push([what, event.type, event.target.readyState, ...("data" in event ? [event.data, event.lastEventId] : [])]);
  const watch = (url, init) => {
    const source = new Source(url, init);
    source.onopen = note("open");
    source.onmessage = note("message");
    source.onerror = note("error");
    return source;
  };
  const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
  const until = async (look) => { for (let n = 0; !look(); n += 1) { if (n > 1500) throw new Error("in vain: " + look + JSON.stringify(told)); await pause(10); } };
`;

/** Runs scripts, in a page and in its workers. */
const RUN = `
  import { EventSourceWrapper, FetchEventSource } from "/tidings/browser/index.js";
  const classes = { EventSource, EventSourceWrapper, FetchEventSource };
  const run = async ({ script, name }) => {
    try { return { value: await new Function("Source", script)(classes[name]) } } catch (error) { return { error: String(error) } }
  };
`;
const WORKER = `${RUN}
  const answer = (port) => (port.onmessage = async ({ data }) => port.postMessage({ number: data.number, ...(await run(data)) }));
  if ("onconnect" in self) self.onconnect = ({ ports: [port] }) => answer(port); else answer(self);
`;
/** @param {string} worker an expression that makes one */
const ask = (worker) => `
  const worker = ${worker};
  const waiting = new Map();
  worker.onmessage = ({ data }) => waiting.get(data.number)(data);
  window.run = (wish) => new Promise((resolve) => { const number = waiting.size; waiting.set(number, resolve); worker.postMessage({ ...wish, number }) });
`;

const PLACES = {
  window: `${RUN} window.run = run;`,
  "dedicated worker": ask(`new Worker("/worker.js", { type: "module" })`),
  "shared worker": ask(`new SharedWorker("/worker.js", { type: "module" }).port`),
};

/**
 * @typedef {object} Part of a server, which is one row's
 * @property {string} origin
 * @property {string} at where its paths begin
 * void} serve what `sse` answers => @property {(route: import("./server.js").Route) => void} serve sets the answer of
 * `sse` => void} serve what `sse` answers
 * @property {() => ReturnType<Server["seen"]>} seen requests for `sse`
 *
 * @typedef {object} Row
 * @property {string} name
 * @property {(part: Part, other: Part) => void} [serve]
 * @property {(part: Part, other: Part) => string} script in which `SSE` is the URL
 * @property {(told: any, part: Part, other: Part, one: string) => void} [check] besides that both classes see the same
 * @property {import("./browsers.js").BrowserName[]} [except] in which the browser's own class does
 *   differently from the standard; `check` says how
 * @property {true} [follows] `EventSourceWrapper` does as that class, with which it reads
 * @property {string} [ours] why `EventSourceWrapper` differs
 */

/**
 * @param {string} type of the content
 * @param {number} [status]
 * @returns {import("./server.js").Route}
 */
const says = (type, status = 200) => (_, response) => void response.writeHead(status, { "Content-Type": type }).end("data: a\n\n");

/**
 * @param {string} origin that may read
 * @param {Record<string, string>} [more]
 * @returns {import("./server.js").Route}
 */
const allows = (origin, more) => (_, response) => {
  response.writeHead(200, { "Content-Type": "text/event-stream", "Access-Control-Allow-Origin": origin, ...more }).write("data: a\n\n");
};

const CLOSED_AT_ONCE = `const source = watch(SSE); await until(() => source.readyState === 2); await pause(50); return told`;
const FIRST = `const source = watch(SSE); await until(() => told.length >= 2); source.close(); return told.slice(0, 2)`;

/**
 * The events of streams, up to an event `end`.
 *
 * @type {[name: string, text: string | Buffer][]}
 */
const FORMATS = [
  ["a byte order mark is no part of it", "\ufeffdata:1\n\n\n\ndata:2\n\n"],
  ["a second byte order mark is a part of the field's name", "\ufeff\ufeffdata:1\n\ndata:2\n\n"],
  ["comments are none of it, however long", `data:1\n:\0\n:\r\ndata:2\n:${"x".repeat(2 * 1024)}\rdata:3\n:data:fail\n:${"x".repeat(2 * 1024)}\ndata:4\n\n`],
  ["data lines are joined, and data without a colon is an empty line", "data:\n\ndata\ndata\n\ndata:test\n\n"],
  ["one space after the colon is no part of the value", "data:\ttest\rdata: \ndata:test\n\n"],
  ["LF, CR and CRLF end lines", "data:test\r\ndata\ndata:test\r\n\r"],
  ["names are read to the letter", "data:\0\ndata: 2\rData:1\ndata\0:2\ndata:1\r\0data:4\nda-ta:3\rdata_5\ndata:3\rdata:\r\n data:32\ndata:4\n\n"],
  ["a field of another name is none", "data:test\n data\ndata\nfoobar:xxx\njustsometext\n:thisisacommentyay\ndata:test\n\n"],
  ["NUL in data is data", "data:\0\n\n\n\n"],
  ["the type is that of the field", "event:test\ndata:x\n\ndata:y\n\nevent: test\ndata:z\n\n"],
  ["an empty type is the type message", "event: \ndata:data\n\nevent\ndata:b\n\n"],
  ["what is no UTF-8 is U+FFFD, what is comes whole", Buffer.concat([Buffer.from("data:ok…\ud83d\ude00 "), Buffer.from([0xff, 0xc3, 0x28]), Buffer.from("\n\n")])],
  ["a type without data is no event, and does not stay", "event: test\n\ndata:1\n\n"],
];

/** @type {Row[]} */
const rows = [
  {
    name: "constants are on the class and on instances, and can't be changed",
    script: () => `const source = new Source(SSE); source.close();
      const constants = ["CONNECTING", "OPEN", "CLOSED"].map((name) => [Source[name], source[name], ...[Source, Source.prototype].map((target) => JSON.stringify(Object.getOwnPropertyDescriptor(target, name)))]);
      return [constants, String(source), source instanceof EventTarget, Source.length, Source.name]`,
  },
  {
    name: "the interface is as Web IDL defines it",
    script: () => `const describe = (name) => { const { get, set, value, enumerable, configurable, writable } = Object.getOwnPropertyDescriptor(Source.prototype, name); return [name, get?.name, set?.name, value?.name, value?.length, enumerable, configurable, writable] };
      const wrong = (use) => { try { use() } catch (error) { return error.name } };
      const names = ["url", "withCredentials", "readyState", "onopen", "onmessage", "onerror", "close"];
      return [names.map(describe), names.slice(0, -1).map((name) => wrong(() => Source.prototype[name])), wrong(() => Source.prototype.close()), wrong(() => { Source.prototype.onopen = null }),
        Object.getPrototypeOf(Source) === EventTarget, Object.getOwnPropertyDescriptor(Source, "prototype").writable, String(Source.prototype), Object.getOwnPropertyDescriptor(Source.prototype, "constructor").enumerable]`,
  },
  {
    name: "attributes are those of the interface, and can be enumerated",
    script: () => `const names = []; const source = new Source(SSE); source.close(); for (const name in source) names.push(name);
      return names.filter((name) => /^(url|withCredentials|readyState|on|close|CONN|OPEN|CLOSED)/.test(name)).sort()`,
  },
  {
    name: "a new source is connecting, has no handlers, and dispatches nothing yet",
    script: () => `const source = new Source(SSE); let count = 0; source.onerror = () => (count += 1);
      const found = [source.readyState, source.onopen, source.onmessage, count]; source.close(); return [...found, source.readyState]`,
  },
  {
    name: "without new, and without a URL, it throws a TypeError",
    script: () => `return [() => Source(SSE), () => new Source()].map((make) => { try { make() } catch (error) { return error.name } })`,
  },
  {
    name: "an invalid URL is a SyntaxError",
    script: () => `return ["http://[", "//"].map((url) => { try { new Source(url) } catch (error) { return [error.name, error instanceof DOMException, error.code] } })`,
  },
  {
    name: "a URL whose host has a space in its name is a SyntaxError",
    script: () => `return ["http://this is invalid/", "https://a%20b/x", "http://ok/a%20b?c%20d"].map((url) => { try { new Source(url).close(); return "taken" } catch (error) { return error.name } })`,
    except: ["Chromium"],
    check: (told) => assert.deepEqual(told, ["SyntaxError", "SyntaxError", "taken"]),
  },
  {
    name: "URLs are resolved, stringified, and empty is that of the document or script",
    script: () => `return ["sse", { toString: () => "/x?y#z" }, 1, null, undefined, "", new URL("/url", location)].map((url) => {
      const source = new Source(url); source.close(); return [source.url, source.readyState, source.withCredentials] })`,
  },
  {
    name: "withCredentials is the truth value of any value",
    script: () => `return [{ withCredentials: 1 }, { withCredentials: "" }, {}, undefined, null].map((init) => { const source = new Source(SSE, init); source.close(); return source.withCredentials })`,
  },
  {
    name: "members added to the prototype are inherited",
    script: () => `Source.prototype.theirs = function () { return this.url }; const source = new Source(SSE); source.close(); return source.theirs()`,
  },
  {
    name: "handlers accept functions and objects, and ignore all else",
    script: () => `const source = new Source(SSE); source.close(); const object = {};
      return [null, undefined, 1, "x", object, () => {}].map((value) => { source.onmessage = value; return source.onmessage === value ? "kept" : source.onmessage })`,
  },
  {
    name: "a handler that is an object is not called, and stops nothing",
    serve: (part) => part.serve((_, response) => stream(response, "data: a\n\n")),
    script: () => `const order = []; const source = new Source(SSE); source.onmessage = { handleEvent() { order.push("never") } };
      source.addEventListener("message", { handleEvent(event) { order.push(["object", event.data]) } }); await until(() => order.length === 1); source.close(); return order`,
  },
  {
    name: "a handler is called in the order in which it was first set among the listeners",
    serve: (part) => part.serve((_, response) => stream(response, "data: a\n\n")),
    script: () => `const order = []; const source = new Source(SSE); source.onmessage = () => order.push("never");
      source.addEventListener("message", () => order.push("listener")); source.onmessage = function (event) { order.push(["handler", this === source, event.currentTarget === source]) };
      await until(() => order.length === 2); source.close(); return order`,
  },
  {
    name: "a handler that was removed is called last when it is set again",
    script: () => `const order = []; const source = new Source(SSE); source.close(); source.onopen = () => order.push("never");
      source.addEventListener("open", () => order.push("listener")); source.onopen = null; source.onopen = () => order.push("handler"); source.dispatchEvent(new Event("open")); return order`,
  },
  {
    name: "constants of each class and of its instances",
    script: () => `const source = new Source(SSE); source.close(); return ["CONNECTING", "OPEN", "CLOSED"].map((name) => [Source[name], source[name]])`,
  },
  {
    name: "the requests are the same, in every header",
    serve: (part) => part.serve((_, response) => stream(response, "data: a\n\n")),
    script: () => FIRST,
    check: (_, part) => {
      // Firefox names a worker as the referrer for one class, and not for the other.
      const [native, ours] = part.seen().map(({ headers: { referer: _, ...headers }, method }) => /** @type {Record<string, unknown>} */ ({ method, ...headers }));
      assert.deepEqual(ours, native);
      assert.equal(native?.accept, "text/event-stream");
      assert.equal(native?.["cache-control"], "no-cache");
      assert.equal(native?.["last-event-id"], undefined);
    },
  },
  ...[204, 205, 210, 299, 404, 410, 500, 503].map((status) => ({
    name: `status ${status} closes the source`,
    serve: (/** @type {Part} */ part) => part.serve(says("text/event-stream", status)),
    script: () => CLOSED_AT_ONCE,
    ours: status >= 500 ? "it may pass, and is tried again" : undefined,
    check: (/** @type {any} */ told, /** @type {Part} */ part, /** @type {Part} */ _, /** @type {string} */ one) => {
      assert.deepEqual(told, [["error", "error", 2]]);
      // The wrapper sends one more request, for the status that the browser does not expose.
      assert.equal(part.seen().length, one === "FetchEventSource" ? 2 : 3);
    },
  })),
  ...["text/html", "text/event-stream-x", "x bogus", "x%20bogus", "application/json", "text/x-bogus"].map((type) => ({
    name: `the content type ${type} closes the source`,
    serve: (/** @type {Part} */ part) => part.serve(says(type)),
    script: () => CLOSED_AT_ONCE,
  })),
  ...["text/event-stream;", "text/event-stream;charset=utf-8", "TEXT/Event-Stream", "text/event-stream;x bogus", "text/event-stream ; a=b"].map((type) => ({
    name: `the content type ${type} is fine`,
    serve: (/** @type {Part} */ part) => part.serve((_, response) => void response.writeHead(200, { "Content-Type": type }).write("data: a\n\n")),
    script: () => FIRST,
  })),
  {
    name: "a subtype with a space is another one",
    serve: (part) => part.serve(says("text/event-stream bogus")),
    script: () => CLOSED_AT_ONCE,
    except: ["Chromium", "Firefox"],
    follows: true,
    check: (told) => assert.deepEqual(told, [["error", "error", 2]]),
  },
  {
    name: "the stream is UTF-8, whatever charset is named",
    serve: (part) => part.serve((_, response) => void response.writeHead(200, { "Content-Type": "text/event-stream;charset=windows-1252" }).write("data: ok…\n\n")),
    script: () => FIRST,
    except: ["Chromium"],
    check: (told) => assert.deepEqual(told, [["open", "open", 1], ["message", "message", 1, "ok…", ""]]),
  },
  ...[301, 302, 303, 307, 308].map((status) => ({
    name: `a redirect by ${status} is followed, and the origin is that of where it leads`,
    serve: (/** @type {Part} */ part, /** @type {Part} */ other) => {
      part.serve((_, response) => void response.writeHead(status, { Location: `${other.origin}${other.at}sse`, "Access-Control-Allow-Origin": "*" }).end());
      other.serve(allows("*"));
    },
    script: () => `const source = watch(SSE); let origin; source.addEventListener("message", (event) => (origin = event.origin)); await until(() => origin); source.close(); return [told, origin, source.url]`,
    check: (/** @type {any} */ [, origin], /** @type {Part} */ _, /** @type {Part} */ other) => assert.equal(origin, other.origin),
  })),
  .../** @type {[string, string, boolean][]} */ ([["*", "without credentials", false], ["its own", "with credentials", true]]).map(([who, how, withCredentials]) => ({
    name: `another origin that allows ${who} ${how} is read, and named`,
    serve: (/** @type {Part} */ part, /** @type {Part} */ other) => other.serve(allows(who === "*" ? "*" : part.origin, { "Access-Control-Allow-Credentials": "true" })),
    script: (/** @type {Part} */ _, /** @type {Part} */ other) => `const source = new Source("${other.origin}" + SSE, { withCredentials: ${withCredentials} });
      const { data, origin } = await new Promise((resolve) => (source.onmessage = resolve)); source.close(); return [data, origin]`,
  })),
  .../** @type {[string, string | null, boolean][]} */ ([["no origin", null, false], ["another origin", "http://example.org", false], ["the empty origin", "", false], ["any origin, with credentials", "*", true]]).map(([who, origin, withCredentials]) => ({
    name: `another origin that allows ${who} closes the source`,
    serve: (/** @type {Part} */ _, /** @type {Part} */ other) => other.serve(origin === null ? says("text/event-stream") : allows(origin)),
    script: (/** @type {Part} */ _, /** @type {Part} */ other) => `const source = watch("${other.origin}" + SSE, { withCredentials: ${withCredentials} }); await until(() => source.readyState === 2); await pause(50); return told`,
    check: (/** @type {any} */ told) => assert.deepEqual(told, [["error", "error", 2]]),
  })),
  ...["mailto:a@example.com", "javascript:alert(1)", "about:blank", "ftp://example.com/"].map((url) => ({
    name: `${url} closes the source`,
    script: () => CLOSED_AT_ONCE.replace("SSE", JSON.stringify(url)),
  })),
  {
    name: "another origin gets the cookies with credentials, and none without",
    serve: (part, other) => other.serve((request, response) => {
      const { cookie } = request.headers;
      allows(part.origin, { "Access-Control-Allow-Credentials": "true", ...(!cookie && { "Set-Cookie": "a=b" }) })(request, response, new URL(other.origin), 0);
      response.write(`data: ${cookie}\n\n`);
    }),
    script: (_, other) => `const seen = []; for (const withCredentials of [true, true, false]) {
        const source = new Source("${other.origin}" + SSE, { withCredentials }); const data = []; source.onmessage = (event) => data.push(event.data); await until(() => data.length === 2); source.close(); seen.push(data[1]) }
      return seen.slice(1)`,
    check: (seen) => assert.deepEqual(seen, ["a=b", "undefined"]),
  },
  {
    name: "a stream that ends is requested again, after an error in the state connecting, with the last event id",
    serve: (part) => part.serve((request, response) => stream(response, `retry: 200\nid: ✓${String.fromCharCode(0xe9)}\ndata: ${request.headers["last-event-id"] ? Buffer.from(String(request.headers["last-event-id"]), "latin1") : "none"}\n\n`).end()),
    script: () => `const source = watch(SSE); await until(() => told.length >= 5); source.close(); return told.slice(0, 5)`,
    check: (told) => assert.equal(told[4][3], "✓é"),
  },
  {
    name: "a reset id is not sent, and an unfinished event is discarded",
    serve: (part) => part.serve((request, response) => stream(response, `retry: 100\nid: 1\ndata: a\n\nid\ndata: ${request.headers["last-event-id"]}\n\nid: 9\ndata: half`).end()),
    script: () => `const source = watch(SSE); await until(() => told.length >= 7); source.close(); return told.slice(0, 7)`,
  },
  {
    name: "a retry that is not a number is ignored, and a number counts from the next connection",
    serve: (part) => part.serve((_, response) => stream(response, "retry: 100\n\nretry: 60000x\n\nretry: -60000\n\nretry: 6e4\n\ndata: a\n\n").end()),
    script: () => `const source = watch(SSE); await until(() => told.length >= 5); source.close(); return told.slice(0, 5)`,
  },
  {
    name: "a connection that breaks is requested again",
    serve: (part) => part.serve((request, response) => {
      stream(response, "retry: 100\ndata: a\n\n");
      setTimeout(() => request.socket.destroy(), 50);
    }),
    script: () => `const source = watch(SSE); await until(() => told.length >= 5); source.close(); return told.slice(0, 5)`,
  },
  {
    name: "a reconnect that is refused closes the source",
    serve: (part) => part.serve((request, response) => {
      if (request.headers["last-event-id"]) return void response.writeHead(410, { "Content-Type": "text/event-stream" }).end();
      stream(response, "retry: 100\nid: 1\ndata: a\n\n").end();
    }),
    script: () => CLOSED_AT_ONCE,
    check: (told) => assert.deepEqual(told.map((/** @type {any} */ [what, , state]) => [what, state]), [["open", 1], ["message", 1], ["error", 0], ["error", 2]]),
  },
  {
    name: "close in a handler ends everything, also the rest of the same chunk, without an event",
    serve: (part) => part.serve((_, response) => stream(response, "retry: 50\ndata: a\n\ndata: b\n\n").end()),
    script: () => `const source = watch(SSE); source.addEventListener("message", () => source.close()); await until(() => source.readyState === 2); await pause(300); return told`,
    check: (_, part) => assert.equal(part.seen().length, 2),
  },
  {
    name: "close in the open event ends everything",
    serve: (part) => part.serve((_, response) => stream(response, "retry: 50\ndata: a\n\n").end()),
    script: () => `const source = watch(SSE); source.addEventListener("open", () => { source.close(); source.close() }); await until(() => source.readyState === 2); await pause(300); return told`,
    check: (told, part) => assert.deepEqual([told.length, part.seen().length], [1, 2]),
  },
  {
    name: "close in the error before a reconnect prevents it",
    serve: (part) => part.serve((_, response) => stream(response, "retry: 50\ndata: a\n\n").end()),
    script: () => `const source = watch(SSE); source.addEventListener("error", () => source.close()); await until(() => source.readyState === 2); await pause(300); return told`,
    check: (_, part) => assert.equal(part.seen().length, 2),
  },
  {
    name: "close right away dispatches nothing",
    script: () => `const source = watch(SSE); source.close(); await pause(100); return [told, source.readyState]`,
  },
  {
    name: "a handler that throws stops nothing",
    serve: (part) => part.serve((_, response) => stream(response, "data: a\n\ndata: b\n\n")),
    script: () => `self.addEventListener("error", (event) => event.preventDefault()); const source = new Source(SSE); let count = 0; source.onmessage = () => { count += 1; throw new Error("theirs") }; await until(() => count === 2); source.close(); return count`,
  },
  {
    name: "types are those of the events, even error and open",
    ours: "what is published is never mistaken for what happens to the stream",
    serve: (part) => part.serve((_, response) => stream(response, "event: error\ndata: a\n\nevent: open\ndata: b\n\nevent: x\ndata: c\n\nevent: message\ndata: d\n\n")),
    script: () => `const source = watch(SSE); source.addEventListener("x", note("x")); await until(() => told.length >= 5); source.close(); return told.slice(0, 5)`,
  },
  {
    name: "events have the right class, do not bubble and cannot be cancelled",
    serve: (part) => part.serve((_, response) => stream(response, "retry: 50\nid: 7\ndata: a\n\n").end()),
    script: () => `const source = new Source(SSE); const seen = {}; for (const type of ["open", "message", "error"]) source["on" + type] = (event) => (seen[type] ??= event);
      await until(() => seen.error); source.close(); const { message } = seen;
      return [Object.values(seen).map((event) => [event.type, event.constructor.name, event.bubbles, event.cancelable, event.composed, "data" in event, event.target === source]),
        message.lastEventId, message.origin === location.origin, message.ports.length, Object.isFrozen(message.ports), message.source]`,
  },
  {
    name: "listeners receive events that a script creates and dispatches",
    script: () => `const source = watch(SSE); source.close(); source.dispatchEvent(new MessageEvent("message", { data: 1, lastEventId: "x" })); return told`,
  },
  {
    name: "format: an id stays until the next one; one with NUL is ignored; one without data counts too",
    serve: (part) => part.serve((_, response) => void stream(response, "id: …\ndata:1\n\ndata:2\n\nid: a\0b\ndata:3\n\nid\ndata:4\n\nid: 9\n\ndata:5\n\n")),
    script: () => `const source = watch(SSE); await until(() => told.length === 6); source.close(); return told.slice(1).map(([, , , data, id]) => data + id)`,
    except: ["Firefox"],
    follows: true,
    check: (told) => assert.deepEqual(told, ["1…", "2…", "3…", "4", "59"]),
  },
  ...FORMATS.map(([name, text]) => ({
    name: `format: ${name}`,
    serve: (/** @type {Part} */ part) => part.serve((_, response) => {
      stream(response, ":\n").write(text);
      response.write("event: end\ndata: end\n\n");
    }),
    script: () => `const source = watch(SSE); let over = false; source.addEventListener("test", note("test")); source.addEventListener("end", () => (over = true)); await until(() => over); source.close(); return told.slice(1)`,
  })),
];

for (const name of BROWSERS) {
  describe(`in ${name}`, () => {
    const browser = browserOf(name);
    for (const [place, setUp] of Object.entries(PLACES)) {
      // Two at a time: each opens two streams, and a browser has six connections to a host.
      describe(`in a ${place}`, { concurrency: 2 }, () => {
        const servers = [new Server(), new Server()];
        /** @type {import("./browsers.js").Page} */
        let page;
        before(async () => {
          for (const server of servers) await server.up();
          servers[0]?.routes.set("/worker.js", (_, response) => void response.setHeader("Content-Type", "text/javascript").end(WORKER));
          page = await browser.newPage(String(servers[0]?.origin));
          await page.addScriptTag({ type: "module", content: setUp });
          await page.waitForFunction("window.run");
        });
        after(async () => {
          await page?.close();
          for (const server of servers) await server.down();
        });
        for (const [number, row] of rows.entries()) {
          for (const one of ["FetchEventSource", "EventSourceWrapper"]) {
            const isExcepted = row.except?.includes(name);
            const isFollowed = isExcepted && row.follows;
            // It does in one worker the same as in the other.
            if (one === "EventSourceWrapper" && (row.ours !== undefined || isFollowed || place === "shared worker")) continue;
            test(`${one}: ${row.name}`, async () => {
              const at = `/${one}/${number}/`;
              const parts = servers.map((server) => ({
                origin: server.origin,
                at,
                serve: (/** @type {import("./server.js").Route} */ route) => void server.routes.set(`${at}sse`, route),
                seen: () => server.seen(`${at}sse`),
              }));
              const [part, other] = /** @type {[Part, Part]} */ (/** @type {Part[]} */ (parts));
              row.serve?.(part, other);
              const script = `return (async () => { const SSE = "${at}sse"; ${TOOLS} ${row.script(part, other)} })()`;
              const [ours, theirs] = await Promise.all(
                (isExcepted ? [one] : [one, "EventSource"]).map(async (source) => {
                  const { value, error } = await page.evaluate(`run({ script: ${JSON.stringify(script)}, name: "${source}" })`);
                  if (error) throw new Error(error);
                  return value;
                }),
              );
              if (!isExcepted) assert.deepEqual(ours, theirs);
              row.check?.(ours, part, other, one);
            });
          }
        }
      });
    }
  });
}

describe("in Chromium, which keeps pages that the user leaves", () => {
  const browser = browserOf("Chromium");
  test("a page that the user leaves closes its connection, and reconnects with the last event id", async (t) => {
    const server = await Server.start(t);
    let open = 0;
    server.routes.set("/sse", (request, response) => {
      open += 1;
      request.socket.on("close", () => (open -= 1));
      stream(response, `id: 7\ndata: ${request.headers["last-event-id"]}\n\n`);
    });
    const page = await browser.page(t, server.origin);
    await page.evaluate(`(async () => {
      const { FetchEventSource } = await import("/tidings/browser/index.js");
      window.told = []; window.source = new FetchEventSource("/sse");
      for (const type of ["open", "message", "error"]) source.addEventListener(type, ({ data }) => told.push([type, source.readyState, data ?? null]));
    })()`);
    await until("it is open", () => page.evaluate("told.length === 2"));
    await page.goto(`${server.origin}/?elsewhere`);
    await until("it is let go", () => open === 0);
    await page.goBack({ waitUntil: "commit" });
    await until("it is open again", () => page.evaluate("told.length === 5"));
    assert.deepEqual(await page.evaluate("told"), [
      ["open", 1, null],
      ["message", 1, "undefined"],
      ["error", 0, null],
      ["open", 1, null],
      ["message", 1, "7"],
    ]);
  });
});
