// `FetchEventSource` beside the browser's own `EventSource`: the same scripts, in windows and
// workers, must see the same. (HTML 9.2; the rows are those of web-platform-tests/eventsource.)

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { launch } from "../../e2e/chromium.js";
import { until } from "../../e2e/until.js";
import { Server, stream } from "./server.js";

/**
 * @typedef {import("../../e2e/node_modules/playwright-core/index.js").Page} Page
 */

/** @type {import("../../e2e/node_modules/playwright-core/index.js").Browser} */
let browser;
before(async () => {
  browser = await launch();
});
after(() => browser.close());

/** What scripts have at hand: a class under the name `Source`, and `told`, what happens. */
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
  const until = async (look) => { for (let n = 0; !look(); n += 1) { if (n > 1000) throw new Error("in vain: " + look + JSON.stringify(told)); await new Promise((resolve) => setTimeout(resolve, 10)); } };
`;

/** A page whose worker runs scripts. */
const WORKER = `
  import { FetchEventSource } from "/tidings/browser/index.js";
  const answer = (port) => port.onmessage = async ({ data: { script, native } }) => {
    const Source = native ? EventSource : FetchEventSource;
    try { port.postMessage({ value: await new Function("Source", script)(Source) }) } catch (error) { port.postMessage({ error: String(error) }) }
  };
  if ("onconnect" in self) self.onconnect = ({ ports: [port] }) => answer(port); else answer(self);
`;

const PLACES = ["window", "dedicated worker", "shared worker"];

/**
 * @param {Page} page
 * @param {string} place
 * @param {string} script the body of an async function
 * @param {boolean} native
 */
async function run(page, place, script, native) {
  const body = `return (async () => { ${TOOLS} ${script} })()`;
  if (place === "window") {
    return page.evaluate(`(async () => {
      const { FetchEventSource } = await import("/tidings/browser/index.js");
      return new Function("Source", ${JSON.stringify(body)})(${native ? "EventSource" : "FetchEventSource"});
    })()`);
  }
  const made = place === "shared worker" ? `new SharedWorker("/worker.js", { type: "module" }).port` : `new Worker("/worker.js", { type: "module" })`;
  const answer = await page.evaluate(`new Promise((resolve) => {
    const worker = ${made};
    worker.onmessage = ({ data }) => { worker.terminate?.(); resolve(data) };
    worker.postMessage({ script: ${JSON.stringify(body)}, native: ${native} });
  })`);
  const { value, error } = /** @type {any} */ (answer);
  if (error) throw new Error(error);
  return value;
}

/**
 * @param {Server} server
 * @param {string} type of the content
 * @param {number} [status]
 */
function says(server, type, status = 200) {
  server.routes.set("/sse", (_, response) => void response.writeHead(status, type ? { "Content-Type": type } : {}).end("data: a\n\n"));
}

/**
 * @typedef {object} Row
 * @property {string} name
 * @property {(server: Server, other: Server) => void} [serve]
 * @property {(server: Server, other: Server) => string} script
 * @property {(told: any, server: Server, other: Server) => void} [check] besides that both classes see the same
 */

const CLOSED_AT_ONCE = `const source = watch("/sse"); await until(() => source.readyState === 2); await new Promise((resolve) => setTimeout(resolve, 50)); return told`;

/** @type {Row[]} */
const rows = [
  {
    name: "constants are on the class and on instances, and can't be changed",
    script: () => `const source = new Source("/sse"); source.close();
      const constants = ["CONNECTING", "OPEN", "CLOSED"].map((name) => [Source[name], source[name], Object.getOwnPropertyDescriptor(Source, name).writable, Object.getOwnPropertyDescriptor(Source.prototype, name).enumerable]);
      return [constants, String(source), source instanceof EventTarget, Source.length]`,
  },
  {
    name: "attributes are those of the interface, and can be enumerated",
    script: () => `const names = []; const source = new Source("/sse"); source.close(); for (const name in source) names.push(name);
      return names.filter((name) => /^(url|withCredentials|readyState|on|close|CONN|OPEN|CLOSED)/.test(name)).sort()`,
  },
  {
    name: "without new it throws a TypeError",
    script: () => `try { Source("/sse") } catch (error) { return error.name }`,
  },
  {
    name: "without arguments it throws, and an invalid URL is a SyntaxError",
    script: () => `try { new Source("http://[") } catch (error) { return [error.name, error instanceof DOMException, error.code] }`,
  },
  {
    name: "URLs are resolved, stringified, and empty is that of the document or script",
    script: () => `return [new Source("sse"), new Source({ toString: () => "/x?y#z" }), new Source(null), new Source("")].map((source) => {
      source.close(); return [source.url, source.readyState, source.withCredentials] })`,
  },
  {
    name: "withCredentials is any value's truth",
    script: () => `return [{ withCredentials: 1 }, { withCredentials: "" }, {}, undefined].map((init) => { const source = new Source("/sse", init); source.close(); return source.withCredentials })`,
  },
  {
    name: "what is added to the prototype is there",
    script: () => `Source.prototype.theirs = function () { return this.url }; const source = new Source("/sse"); source.close(); return source.theirs()`,
  },
  {
    name: "handlers take functions and objects, and forget all else",
    script: () => `const source = new Source("/sse"); source.close(); const object = {};
      return [null, undefined, 1, "x", object, () => {}].map((value) => { source.onmessage = value; return source.onmessage === value ? "kept" : source.onmessage })`,
  },
  {
    name: "a handler has its place among the listeners from when it was first set",
    serve: (server) => server.routes.set("/sse", (_, response) => stream(response, "data: a\n\n")),
    script: () => `const order = []; const source = new Source("/sse"); source.onmessage = () => order.push("never");
      source.addEventListener("message", () => order.push("listener")); source.onmessage = function (event) { order.push(["handler", this === source, event.currentTarget === source]) };
      await until(() => order.length === 2); source.close(); return order`,
  },
  {
    name: "what is sent: Accept, no-cache, and no last event id",
    serve: (server) => server.routes.set("/sse", (_, response) => stream(response, "data: a\n\n")),
    script: () => `const source = watch("/sse"); await until(() => told.length >= 2); source.close(); return told.slice(0, 2)`,
    check: (_, server) => {
      const [native, ours] = server.seen("/sse").map(({ headers, method }) => [method, headers.accept, headers["cache-control"], headers.pragma, headers["last-event-id"]]);
      assert.deepEqual(ours, native);
    },
  },
  ...[204, 205, 210, 299, 404, 410, 500, 503].map((status) => ({
    name: `status ${status} is the end`,
    serve: (/** @type {Server} */ server) => says(server, "text/event-stream", status),
    script: () => CLOSED_AT_ONCE,
    check: (/** @type {any} */ _, /** @type {Server} */ server) => assert.equal(server.seen("/sse").length, 2),
  })),
  ...["text/html", "text/event-stream-x", "x bogus", "application/json", "text/x-bogus"].map((type) => ({
    name: `the content type ${type} is the end`,
    serve: (/** @type {Server} */ server) => says(server, type),
    script: () => CLOSED_AT_ONCE,
  })),
  ...["text/event-stream;", "text/event-stream;charset=utf-8", "TEXT/Event-Stream", "text/event-stream;x bogus", "text/event-stream ; a=b"].map((type) => ({
    name: `the content type ${type} is fine`,
    serve: (/** @type {Server} */ server) => server.routes.set("/sse", (_, response) => void response.writeHead(200, { "Content-Type": type }).write("data: a\n\n")),
    script: () => `const source = watch("/sse"); await until(() => told.length >= 2); source.close(); return told.slice(0, 2)`,
  })),
  ...[301, 302, 303, 307, 308].map((status) => ({
    name: `a redirect by ${status} is followed, and the origin is that of where it leads`,
    serve: (/** @type {Server} */ server, /** @type {Server} */ other) => {
      server.routes.set("/old", (_, response) => void response.writeHead(status, { Location: `${other.origin}/sse`, "Access-Control-Allow-Origin": "*" }).end());
      other.routes.set("/sse", (_, response) => {
        response.writeHead(200, { "Content-Type": "text/event-stream", "Access-Control-Allow-Origin": "*" }).write("data: a\n\n");
      });
    },
    script: () => `const source = watch("/old"); let origin; source.addEventListener("message", (event) => (origin = event.origin)); await until(() => origin); source.close(); return [told, origin, new URL(source.url).pathname]`,
  })),
  {
    name: "another origin that does not allow it is the end",
    serve: (_, other) => says(other, "text/event-stream"),
    script: (_, other) => CLOSED_AT_ONCE.replace("/sse", `${other.origin}/sse`),
  },
  ...["mailto:a@example.com", "javascript:alert(1)", "about:blank", "ftp://example.com/"].map((url) => ({
    name: `${url} is the end`,
    script: () => CLOSED_AT_ONCE.replace("/sse", url),
  })),
  {
    name: "another origin with credentials gets the cookies",
    serve: (server, other) => {
      other.routes.set("/sse", (request, response) => {
        const { origin = "", cookie } = request.headers;
        response.writeHead(200, { "Content-Type": "text/event-stream", "Access-Control-Allow-Origin": origin, "Access-Control-Allow-Credentials": "true", ...(!cookie && { "Set-Cookie": "a=b" }) });
        response.write(`data: ${cookie}\n\n`);
      });
    },
    script: (_, other) => `for (const withCredentials of [true, true, false]) {
        const count = told.length; const source = watch("${other.origin}/sse", { withCredentials }); await until(() => told.length === count + 2); source.close() }
      return told.filter(([what]) => what === "message").map(([, , , data]) => data).slice(1)`,
  },
  {
    name: "a stream that ends is asked for again, after an error in the state connecting, with the last event id",
    serve: (server) => server.routes.set("/sse", (request, response) => stream(response, `retry: 200\nid: ✓${String.fromCharCode(0xe9)}\ndata: ${request.headers["last-event-id"] ? Buffer.from(String(request.headers["last-event-id"]), "latin1") : "none"}\n\n`).end()),
    script: () => `const source = watch("/sse"); await until(() => told.length >= 5); source.close(); return told.slice(0, 5)`,
  },
  {
    name: "a reset id is not sent, and an unfinished event is none",
    serve: (server) => server.routes.set("/sse", (request, response, _, seen) => stream(response, `retry: 100\nid: 1\ndata: a\n\nid\ndata: ${request.headers["last-event-id"]}\n\nid: 9\ndata: half`).end()),
    script: () => `const source = watch("/sse"); await until(() => told.length >= 7); source.close(); return told.slice(0, 7)`,
  },
  {
    name: "a connection that breaks is asked for again",
    serve: (server) => server.routes.set("/sse", (request, response) => {
      stream(response, "retry: 100\ndata: a\n\n");
      setTimeout(() => request.socket.destroy(), 50);
    }),
    script: () => `const source = watch("/sse"); await until(() => told.length >= 5); source.close(); return told.slice(0, 5)`,
  },
  {
    name: "close in a handler ends all, also the rest of the same piece, without an event",
    serve: (server) => server.routes.set("/sse", (_, response) => stream(response, "retry: 50\ndata: a\n\ndata: b\n\n").end()),
    script: () => `const source = watch("/sse"); source.addEventListener("message", () => source.close()); await until(() => source.readyState === 2); await new Promise((resolve) => setTimeout(resolve, 300)); return told`,
    check: (_, server) => assert.equal(server.seen("/sse").length, 2),
  },
  {
    name: "close in the error before a reconnect prevents it",
    serve: (server) => server.routes.set("/sse", (_, response) => stream(response, "retry: 50\ndata: a\n\n").end()),
    script: () => `const source = watch("/sse"); source.addEventListener("error", () => source.close()); await until(() => source.readyState === 2); await new Promise((resolve) => setTimeout(resolve, 300)); return told`,
    check: (_, server) => assert.equal(server.seen("/sse").length, 2),
  },
  {
    name: "close right away asks for nothing",
    script: () => `const source = watch("/sse"); source.close(); await new Promise((resolve) => setTimeout(resolve, 100)); return [told, source.readyState]`,
  },
  {
    name: "a handler that throws stops nothing",
    serve: (server) => server.routes.set("/sse", (_, response) => stream(response, "data: a\n\ndata: b\n\n")),
    script: () => `self.addEventListener("error", (event) => event.preventDefault()); const source = new Source("/sse"); let count = 0; source.onmessage = () => { count += 1; throw new Error("theirs") }; await until(() => count === 2); source.close(); return count`,
  },
  {
    name: "types, also error and open, are those of the events",
    serve: (server) => server.routes.set("/sse", (_, response) => stream(response, "event: error\ndata: a\n\nevent: open\ndata: b\n\nevent: x\ndata: c\n\nevent: message\ndata: d\n\n")),
    script: () => `const source = watch("/sse"); source.addEventListener("x", note("x")); await until(() => told.length >= 5); source.close(); return told.slice(0, 5)`,
  },
  {
    name: "events are MessageEvents that neither bubble nor can be cancelled",
    serve: (server) => server.routes.set("/sse", (_, response) => stream(response, "id: 7\ndata: a\n\n")),
    script: () => `const source = new Source("/sse"); const event = await new Promise((resolve) => (source.onmessage = resolve)); source.close();
      return [event instanceof MessageEvent, event.bubbles, event.cancelable, event.data, event.lastEventId, event.origin === location.origin, event.ports.length, event.source]`,
  },
];

for (const place of PLACES) {
  describe(`in a ${place}`, () => {
    /** @type {import("../../e2e/node_modules/playwright-core/index.js").BrowserContext} */
    let context;
    /** @type {Page} */
    let page;
    before(async () => {
      context = await browser.newContext();
      page = await context.newPage();
    });
    after(() => context.close());
    // What a place has to do with it is little: the workers get a part.
    const some = place === "window" ? rows : rows.filter((_, n) => n % 4 === 0);
    for (const { name, serve, script, check } of some) {
      test(name, async (t) => {
        const server = await Server.start(t);
        const other = await Server.start(t);
        server.routes.set("/worker.js", (_, response) => void response.setHeader("Content-Type", "text/javascript").end(WORKER));
        serve?.(server, other);
        await page.goto(server.origin);
        const text = script(server, other);
        const [expected, ours] = await Promise.all([true, false].map((native) => run(page, place, text, native)));
        assert.deepEqual(ours, expected);
        check?.(ours, server, other);
      });
    }
  });
}

test("a page that is left lets go of the connection, and takes it up again with the last event id", async (t) => {
  const server = await Server.start(t);
  let open = 0;
  server.routes.set("/sse", (request, response) => {
    open += 1;
    request.socket.on("close", () => (open -= 1));
    stream(response, `id: 7\ndata: ${request.headers["last-event-id"]}\n\n`);
  });
  const context = await browser.newContext();
  t.after(() => context.close());
  const page = await context.newPage();
  await page.goto(server.origin);
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
