// The wrapper in real browsers, over all transports: the events that its caller gets at each fault.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { until } from "../../e2e/until.js";
import { BROWSERS, browserOf } from "./browsers.js";
import { Server, stream } from "./server.js";

/** @typedef {import("./browsers.js").Page} Page */

/** `watch(url, options)`: a source whose events are recorded in `log`. */
const WATCH = `
  import EventSourceWrapper, { FetchEventSource } from "/tidings/browser/index.js";
  Object.assign(window, { EventSourceWrapper, FetchEventSource });
  window.log = [];
  window.watch = (url, options) => {
    const source = new EventSourceWrapper(url, options);
    source.onOpen((event) => log.push(["open", source.readyState]));
    source.onMessage((event) => log.push(["message", event.data, event.lastEventId]));
    source.onError(({ kind, status, body, attempt, nextDelay }) =>
      log.push(["error", source.readyState, { kind, status, body, attempt, nextDelay }]));
    source.on("close", ({ reason, status }) => log.push(["close", reason, status]));
    window.source = source;
  };
  window.ready = true;`;

/** The classic small class around the browser's own. */
const CLASSIC = `
  export default class EventSourceWrapper {
    #source;
    constructor(url) { this.#source = new EventSource(url) }
    onOpen(callback) { this.#source.onopen = callback }
    onMessage(callback) { this.#source.onmessage = callback }
    onError(callback) { this.#source.onerror = callback }
    onClose(callback) { this.#source.close(); callback?.call(this) }
    get readyState() { return this.#source.readyState }
  }`;

/** A page for it: it names nothing that the classic class doesn't have. */
const PAGE = `
  window.told = [];
  const source = new EventSourceWrapper("/sse");
  told.push(["sse", "state", source.readyState]);
  source.onOpen(() => told.push("never: it is replaced"));
  source.onOpen(function () { told.push(["sse", "open", this.readyState, this.url.endsWith("/sse")]) });
  source.onMessage(function (event) {
    told.push(["sse", "message", JSON.parse(event.data), event.lastEventId, event.origin === location.origin]);
  });
  source.onError((event) => {
    told.push(["sse", "error", source.readyState, event.type]);
    if (source.readyState !== 2) return;
    const other = new EventSourceWrapper("/open");
    other.onMessage((event) => {
      told.push(["open", "message", event.data]);
      other.onClose(() => told.push(["open", "closed", other.readyState]));
      other.onClose(() => told.push(["open", "again", other.readyState]));
      other.onClose();
      told.push(["open", "no callback", other.readyState]);
      window.over = true;
    });
  });`;

/** @param {Page} page */
const logOf = (page) => /** @type {Promise<any[]>} */ (page.evaluate("log"));

/**
 * @param {Page} page
 * @param {string} kind
 * @param {number} [count]
 */
async function story(page, kind, count = 1) {
  const told = await until(`${count} times ${kind}`, async () => {
    const log = await logOf(page);
    return log.filter(([what]) => what === kind).length >= count && log;
  }).catch(async (error) => {
    throw new Error(`${error.message}; the story is ${JSON.stringify(await logOf(page))}`);
  });
  return /** @type {any[]} */ (told);
}

/** The options that choose each transport. */
const transports = [
  { name: "natively", options: "{}" },
  { name: "with fetch", options: "{ headers: { 'X-Test': 'yes' } }" },
  { name: "shared", options: "{ shared: true }" },
];

for (const browserName of BROWSERS) {
  describe(`in ${browserName}`, { concurrency: 3 }, () => {
    const browser = browserOf(browserName);

    /**
     * A page with the package loaded.
     *
     * @param {import("node:test").TestContext} t
     * @param {Server} server
     * @param {string} [first] a script that the page runs before it loads the package
     */
    const pageOf = (t, server, first = "") => browser.pageWith(t, server.origin, WATCH, first);

    for (const { name, options } of transports) {
      describe(name, () => {
        /** @param {string} path @param {string} [more] */
        const watch = (path, more = "{}") => `watch("${path}", { ...${options}, ...${more} })`;

        for (const [status, reason] of /** @type {const} */ ([[204, "ended"], [401, "refused"], [403, "refused"], [404, "refused"]])) {
          test(`${status} closes the source, with its status and body`, async (t) => {
            const server = await Server.start(t);
            server.routes.set("/sse", (_, response) => response.writeHead(status).end(status === 204 ? "" : "because"));
            const page = await pageOf(t, server);
            await page.evaluate(watch("/sse"));
            const body = status === 204 ? "" : "because";
            assert.deepEqual(await story(page, "close"), [
              ["error", 2, { kind: "refused", status, body, attempt: 0, nextDelay: null }],
              ["close", reason, status],
            ]);
          });
        }

        for (const status of [429, 500, 503]) {
          test(`${status} is retried, not before its Retry-After`, async (t) => {
            const server = await Server.start(t);
            let isBusy = true;
            server.routes.set("/sse", (_, response) => {
              if (isBusy) return void response.writeHead(status, { "Retry-After": "1" }).end("busy");
              stream(response, "data: a\n\n");
            });
            const page = await pageOf(t, server);
            await page.evaluate(watch("/sse", "{ reconnect: { reconnectionMs: 100, backoffFirstMs: 100 } }"));
            const [first] = await story(page, "error");
            assert.equal(first[1], 0);
            assert.equal(first[2].status, status);
            assert.equal(first[2].body, "busy");
            assert.equal(first[2].attempt, 2);
            assert.ok(first[2].nextDelay >= 1000, String(first[2].nextDelay));
            isBusy = false;
            await story(page, "message");
          });
        }

        test(`an answer that is not an event stream closes the source`, async (t) => {
          const server = await Server.start(t);
          server.routes.set("/sse", (_, response) => response.writeHead(200, { "Content-Type": "text/html" }).end("<p>A proxy's page."));
          const page = await pageOf(t, server);
          await page.evaluate(watch("/sse"));
          assert.deepEqual(await story(page, "close"), [
            ["error", 2, { kind: "not-a-stream", status: 200, body: "<p>A proxy's page.", attempt: 0, nextDelay: null }],
            ["close", "refused", 200],
          ]);
        });

        test(`an unreachable server is retried until it answers`, async (t) => {
          const server = await Server.start(t);
          server.routes.set("/sse", (_, response) => stream(response, "data: a\n\n"));
          const page = await pageOf(t, server);
          await server.down();
          await page.evaluate(watch("/sse", "{ reconnect: { reconnectionMs: 200, backoffFirstMs: 100 } }"));
          const [first] = await story(page, "error");
          assert.deepEqual([first[1], first[2].kind, first[2].status], [0, "unreachable", 0]);
          await server.up();
          await story(page, "message");
        });

        test(`a lost stream resumes after the last event`, async (t) => {
          const server = await Server.start(t);
          server.routes.set("/sse", (request, response, url, seen) => {
            const from = Number(request.headers["last-event-id"] ?? url.searchParams.get("lastEventID") ?? 0);
            stream(response, `retry: 100\nid: ${from + 1}\ndata: ${seen}\n\nid: ${from + 2}\ndata: half`);
          });
          const page = await pageOf(t, server);
          await page.evaluate(watch("/sse"));
          await story(page, "message");
          server.cut();
          const log = await story(page, "message", 2);
          assert.deepEqual(log.filter(([what]) => what === "message"), [["message", "1", "1"], ["message", "2", "2"]]);
          assert.equal(await page.evaluate("source.lastEventId"), "2");
        });

        test(`a redirect is followed`, async (t) => {
          const server = await Server.start(t);
          server.routes.set("/old", (_, response) => response.writeHead(307, { Location: "/sse" }).end());
          server.routes.set("/sse", (_, response) => stream(response, "data: a\n\n"));
          const page = await pageOf(t, server);
          await page.evaluate(watch("/old"));
          await story(page, "message");
          assert.equal(await page.evaluate("source.url"), `${server.origin}/old`);
        });

        test(`a server of another origin without CORS closes the source`, async (t) => {
          const server = await Server.start(t);
          const other = await Server.start(t);
          other.routes.set("/sse", (_, response) => stream(response, "data: a\n\n"));
          const page = await pageOf(t, server);
          await page.evaluate(watch(`${other.origin}/sse`));
          assert.deepEqual(await story(page, "close"), [
            ["error", 2, { kind: "cors", status: 0, body: "", attempt: 0, nextDelay: null }],
            ["close", "refused", 0],
          ]);
        });

        test(`a published event of the type error is not a connection error`, async (t) => {
          const server = await Server.start(t);
          server.routes.set("/sse", (_, response) => stream(response, "event: error\ndata: a\n\nevent: open\ndata: b\n\nevent: close\ndata: c\n\ndata: d\n\n"));
          const page = await pageOf(t, server);
          await page.evaluate(`${watch("/sse")};
            for (const type of ["error", "open", "close"]) source.on("event:" + type, (event) => log.push([type + " event", event.data]))`);
          assert.deepEqual(await story(page, "message"), [
            ["open", 1],
            ["error event", "a"],
            ["open event", "b"],
            ["close event", "c"],
            ["message", "d", ""],
          ]);
        });

        test(`an event of a mebibyte and ten thousand events at once arrive whole`, async (t) => {
          const server = await Server.start(t);
          const many = Array.from({ length: 10_000 }, (_, n) => `data: ${n}\n\n`).join("");
          server.routes.set("/sse", (_, response) => stream(response, `data: ${"x".repeat(1024 * 1024)}\n\n${many}data: end\n\n`));
          const page = await pageOf(t, server);
          await page.evaluate(`window.seen = []; ${watch("/sse")}; source.onMessage(({ data }) => seen.push(data))`);
          await until("the last event", () => page.evaluate("seen.at(-1) === 'end'"));
          assert.deepEqual(await page.evaluate("[seen.length, seen[0].length, seen.slice(1, -1).every((data, n) => data === String(n))]"), [
            10_002,
            1024 * 1024,
            true,
          ]);
        });

        test(`closing in a callback ends the events at once, and calls the callback`, async (t) => {
          const server = await Server.start(t);
          let closed = false;
          server.routes.set("/sse", (request, response) => {
            request.socket.on("close", () => (closed = true));
            stream(response, "data: a\n\ndata: b\n\n");
          });
          const page = await pageOf(t, server);
          await page.evaluate(`${watch("/sse")};
            source.onMessage(function (event) { log.push([event.data, this === source]); this.onClose(function () { log.push(["closed", this.readyState]) }) })`);
          assert.deepEqual(await story(page, "closed"), [["open", 1], ["a", true], ["close", "closed", 0], ["closed", 2]]);
          await until("the server sees it", () => closed);
        });

        // No driver of Firefox keeps pages that the user leaves.
        test(`a page that the user leaves closes its stream, and resumes when it is shown again`, { skip: browserName === "Firefox" }, async (t) => {
          const server = await Server.start(t);
          let open = 0;
          server.routes.set("/sse", (request, response, url) => {
            open += 1;
            request.socket.on("close", () => (open -= 1));
            const from = request.headers["last-event-id"] ?? url.searchParams.get("lastEventID");
            stream(response, from ? "id: 8\ndata: after\n\n" : "id: 7\ndata: before\n\n");
          });
          const page = await pageOf(t, server);
          await page.evaluate(watch("/sse"));
          await story(page, "message");
          await page.goto(`${server.origin}/?elsewhere`);
          await until("the stream is let go", () => open === 0);
          await page.goBack({ waitUntil: "commit" });
          const log = await story(page, "message", 2);
          assert.deepEqual(log.filter(([what]) => what === "message"), [["message", "before", "7"], ["message", "after", "8"]]);
          assert.equal(open, 1);
        });
      });
    }

    test("a page that was written for EventSource works with this class instead", async (t) => {
      const server = await Server.start(t);
      let number = 0;
      server.routes.set("/sse", (_, response) => {
        number += 1;
        // For each class two streams, then a permanent end.
        if (number > 2) return void response.writeHead(204).end();
        stream(response, `retry: 100\nid: ${number}\ndata: {"n":${number}}\n\n`).end();
      });
      server.routes.set("/open", (_, response) => stream(response, "data: a\n\n"));
      server.routes.set("/classic.js", (_, response) => void response.setHeader("Content-Type", "text/javascript").end(CLASSIC));
      const stories = [];
      for (const from of ["/classic.js", "/tidings/browser/index.js"]) {
        number = 0;
        const page = await browser.page(t, server.origin);
        await page.addScriptTag({ type: "module", content: `import EventSourceWrapper from "${from}";${PAGE}` });
        await until("the end", () => page.evaluate("window.over"));
        stories.push(await page.evaluate("told"));
      }
      assert.deepEqual(stories[1], stories[0]);
      assert.deepEqual(stories[0], [
        ["sse", "state", 0],
        ["sse", "open", 1, true], ["sse", "message", { n: 1 }, "1", true], ["sse", "error", 0, "error"],
        ["sse", "open", 1, true], ["sse", "message", { n: 2 }, "2", true], ["sse", "error", 0, "error"],
        ["sse", "error", 2, "error"],
        ["open", "message", "a"], ["open", "closed", 2],
        ["open", "again", 2], ["open", "no callback", 2],
      ]);
    });

    test("a server that is busy, then unreachable, then available: the browser's own class stops, the wrapper resumes", async (t) => {
      const server = await Server.start(t);
      let isBusy = false;
      server.routes.set("/sse", (_, response, url) => {
        if (isBusy) return void response.writeHead(503).end("busy");
        stream(response, `retry: 100\nid: 7\ndata: after ${url.searchParams.get("lastEventID")}\n\n`);
      });
      const page = await pageOf(t, server);
      await page.evaluate(`watch("/sse", { reconnect: { reconnectionMs: 200, backoffFirstMs: 100 } }); window.native = new EventSource("/sse"); undefined`);
      await story(page, "message");
      await until("the native one is open", () => page.evaluate("native.readyState === 1"));
      isBusy = true;
      server.cut();
      await until("the native one is dead", () => page.evaluate("native.readyState === 2"));
      await until("it is refused", async () => (await logOf(page)).some(([what, , about]) => what === "error" && about.status === 503));
      await server.down();
      await until("nobody is there", async () => (await logOf(page)).some(([what, , about]) => what === "error" && about.kind === "unreachable"));
      isBusy = false;
      await server.up();
      const log = await story(page, "message", 2);
      assert.deepEqual(log.filter(([what]) => what === "message").map(([, data]) => data), ["after null", "after 7"]);
      assert.equal(await page.evaluate("native.readyState"), 2);
    });

    test("an invalid URL throws at once, as the browser's own class does", async (t) => {
      const server = await Server.start(t);
      const page = await pageOf(t, server);
      const names = await page.evaluate(`[EventSourceWrapper, FetchEventSource, EventSource].map((Class) => {
        try { new Class("http://["); return null } catch (error) { return [error.name, error instanceof DOMException] }
      })`);
      assert.deepEqual(names, Array(3).fill(["SyntaxError", true]));
    });

    test("headers come from a function before each connection, so that a token can be renewed", async (t) => {
      const server = await Server.start(t);
      let valid = "Bearer 1";
      server.routes.set("/sse", (request, response) => {
        if (request.headers.authorization !== valid) return void response.writeHead(401).end("expired");
        stream(response, `retry: 100\ndata: ${valid}\n\n`);
      });
      const page = await pageOf(t, server);
      await page.evaluate(`window.token = 0; watch("/sse", { headers: async () => ({ Authorization: "Bearer " + ++token }) })`);
      await story(page, "message");
      valid = "Bearer 3";
      server.cut();
      const log = await story(page, "message", 2);
      assert.deepEqual(log.filter(([what]) => what === "message").map(([, data]) => data), ["Bearer 1", "Bearer 3"]);
      assert.deepEqual(log.filter(([what, , about]) => what === "error" && about.status === 401).length, 1);
    });

    test("a POST is sent once, with its body, and read to its end", async (t) => {
      const server = await Server.start(t);
      server.routes.set("/answer", (_, response) => stream(response, 'data: {"word":"good"}\n\ndata: {"word":"tidings"}\n\n').end());
      const page = await pageOf(t, server);
      await page.evaluate(`watch("/answer", { body: JSON.stringify({ question: 1 }), headers: { "Content-Type": "application/json" }, parse: JSON.parse });
        source.onMessage(({ data }) => log.push([data.word]))`);
      assert.deepEqual(await story(page, "close"), [["open", 1], ["good"], ["tidings"], ["close", "ended", 0]]);
      const [{ method, body }] = /** @type {any} */ (server.seen("/answer"));
      assert.deepEqual([method, body, server.seen("/answer").length], ["POST", '{"question":1}', 1]);
    });

    test("an answer that breaks off in the middle of an event is not complete", async (t) => {
      const server = await Server.start(t);
      server.routes.set("/answer", (_, response) => stream(response, "data: a\n\ndata: b").end());
      const page = await pageOf(t, server);
      await page.evaluate(`watch("/answer", { method: "POST" })`);
      const log = await story(page, "close");
      assert.deepEqual(log.slice(0, 2), [["open", 1], ["message", "a", ""]]);
      assert.equal(log[2][2].kind, "lost");
      assert.deepEqual(log[3], ["close", "gave-up", 0]);
    });

    test("the iterator returns one event after another, and leaving its loop closes the source", async (t) => {
      const server = await Server.start(t);
      server.routes.set("/sse", (_, response) => stream(response, Array.from({ length: 1000 }, (_, n) => `event: n\ndata: ${n}\n\n`).join("")));
      const page = await pageOf(t, server);
      const seen = await page.evaluate(`(async () => {
        const seen = [];
        watch("/sse", { types: "*" });
        for await (const { type, data } of source) if (seen.push(type + data) === 1000) break;
        return [seen.length, seen[0], seen[999], source.readyState];
      })()`);
      assert.deepEqual(seen, [1000, "n0", "n999", 2]);
    });

    test("the iterator ends with a complete answer, and throws if the answer is incomplete", async (t) => {
      const server = await Server.start(t);
      server.routes.set("/answer", (_, response) => stream(response, "data: a\n\n").end());
      server.routes.set("/refused", (_, response) => response.writeHead(403).end("no"));
      const page = await pageOf(t, server);
      const told = await page.evaluate(`(async () => {
        const told = [];
        for (const url of ["/answer", "/refused"]) {
          try {
            for await (const { data } of new EventSourceWrapper(url, { method: "POST" })) told.push(data);
            told.push("end");
          } catch (error) { told.push([error.cause.status, error.cause.body]) }
        }
        return told;
      })()`);
      assert.deepEqual(told, ["a", "end", [403, "no"]]);
    });

    for (const { name, options } of transports.slice(0, 2)) {
      test(`${name}, a loop over one connection that is cut throws the reason`, async (t) => {
        const server = await Server.start(t);
        server.routes.set("/sse", (_, response) => stream(response, "data: a\n\n"));
        const page = await pageOf(t, server);
        await page.evaluate(`watch("/sse", { ...${options}, reconnect: false });
          (async () => { for await (const { data } of source) log.push(["looped", data]) })().catch((error) => log.push(["thrown", error.message, error.cause.kind, String(error.cause.cause)])); undefined`);
        await story(page, "looped");
        server.cut();
        const [, message, kind] = (await story(page, "thrown")).at(-1);
        assert.match(message, /^The connection was lost/);
        assert.equal(kind, "lost");
      });
    }

    for (const { name, options } of transports) {
      test(`${name}, window.stop() ends the connection, and another one follows`, async (t) => {
        const server = await Server.start(t);
        server.routes.set("/sse", (_, response) => stream(response, "data: a\n\n"));
        const page = await pageOf(t, server);
        await page.evaluate(`watch("/sse", { ...${options}, reconnect: { reconnectionMs: 100 } })`);
        await story(page, "message");
        await page.evaluate("window.stop()");
        server.cut();
        await story(page, "message", 2);
      });
    }

    test("a loop that is slow makes the server wait, and misses nothing", async (t) => {
      const server = await Server.start(t);
      server.routes.set("/sse", (_, response) => {
        stream(response);
        for (let n = 0; n < 30_000; n += 1) response.write(`data: ${n}\n\n`);
      });
      const page = await pageOf(t, server);
      const inOrder = await page.evaluate(`(async () => {
        let next = 0;
        watch("/sse", { headers: {} });
        for await (const { data } of source) {
          if (data !== String(next)) return "got " + data + " for " + next;
          if (++next === 30000) return true;
          if (next % 1000 === 0) await new Promise((resolve) => setTimeout(resolve));
        }
      })()`);
      assert.equal(inOrder, true);
    });

    test("an AbortSignal closes the source, even one that was aborted before", async (t) => {
      const server = await Server.start(t);
      server.routes.set("/sse", (_, response) => stream(response, "data: a\n\n"));
      const page = await pageOf(t, server);
      await page.evaluate(`window.stop = new AbortController(); watch("/sse", { signal: stop.signal })`);
      await story(page, "message");
      await page.evaluate(`stop.abort()`);
      assert.deepEqual((await story(page, "close")).at(-1), ["close", "closed", 0]);
      await page.evaluate(`log.length = 0; watch("/sse", { signal: stop.signal })`);
      assert.deepEqual(await story(page, "close"), [["close", "closed", 0]]);
      assert.equal(server.seen("/sse").length, 1);
    });

    test("several listeners may observe, and one that throws stops no other", async (t) => {
      const server = await Server.start(t);
      server.routes.set("/sse", (_, response) => stream(response, "data: a\n\ndata: b\n\n"));
      const page = await pageOf(t, server);
      /** @type {string[]} */
      const errors = [];
      page.on("pageerror", ({ message }) => errors.push(message));
      await page.evaluate(`watch("/sse");
        source.on("message", () => { throw new Error("of a listener") });
        const end = source.on("message", ({ data }) => { log.push(["first", data]); end() });
        source.on("message", ({ data }) => log.push(["second", data]))`);
      const log = await story(page, "second", 2);
      assert.deepEqual(log.filter(([what]) => what === "first" || what === "second"), [["first", "a"], ["second", "a"], ["second", "b"]]);
      await until("the errors are reported", () => errors.length === 2);
    });

    test("data that can't be parsed is reported, and the stream continues", async (t) => {
      const server = await Server.start(t);
      server.routes.set("/sse", (_, response) => stream(response, "data: {\n\ndata: 2\n\n"));
      const page = await pageOf(t, server);
      await page.evaluate(`watch("/sse", { parse: JSON.parse })`);
      const log = await story(page, "message");
      assert.equal(log[1][2].kind, "parse");
      assert.deepEqual(log[2], ["message", 2, ""]);
    });

    test("without EventSource and fetch, it reports an error and nothing throws", async (t) => {
      const server = await Server.start(t);
      const page = await pageOf(t, server, "delete window.EventSource");
      /** @type {string[]} */
      const said = [];
      page.on("console", (message) => message.type() === "error" && said.push(message.text()));
      await page.evaluate(`window.fetch = undefined; watch("/sse"); log.push(["state", source.readyState])`);
      const log = await story(page, "close");
      assert.deepEqual(log[0], ["state", 2]);
      assert.equal(log[1][2].kind, "unsupported");
      assert.deepEqual(log[2], ["close", "unsupported", 0]);
      assert.match(said.join(), /no EventSource, no fetch/);
    });

    for (const one of ["EventSourceWrapper", "FetchEventSource"]) {
      test(`${one} instead of the browser's own class reads the same events`, async (t) => {
        const server = await Server.start(t);
        server.routes.set("/sse", (_, response) => stream(response, "data: a\n\n"));
        const page = await pageOf(t, server);
        await page.evaluate(`window.EventSource = ${one}; log.push(["name", EventSource.name, String(EventSource.prototype)]); watch("/sse")`);
        assert.deepEqual(await story(page, "message"), [["name", "EventSource", "[object EventSource]"], ["open", 1], ["message", "a", ""]]);
        assert.equal(server.seen("/sse").length, 1);
        await page.evaluate(`source.close(); const standard = (window.standard = new EventSource("/sse")); standard.onmessage = ({ data }) => log.push(["standard", data])`);
        await story(page, "standard");
        assert.equal(server.seen("/sse").length, 2);
        await page.evaluate("standard.close()");
      });
    }

    test("if the browser's own class gives up before the first event, and the request that finds out why gets a stream, that stream is read", async (t) => {
      const server = await Server.start(t);
      server.routes.set("/sse", (_, response, __, seen) => {
        if (seen === 1) return void response.writeHead(503).end("busy");
        stream(response, "data: a\n\n");
      });
      const page = await pageOf(t, server);
      await page.evaluate(`watch("/sse")`);
      assert.deepEqual(await story(page, "message"), [["open", 1], ["message", "a", ""]]);
      assert.equal(server.seen("/sse").length, 2);
      await page.evaluate("source.close()");
    });

    test("mounted twice, as strict components are, there is one stream", async (t) => {
      const server = await Server.start(t);
      server.routes.set("/sse", (_, response) => stream(response, "data: a\n\n"));
      const page = await pageOf(t, server);
      await page.evaluate(`watch("/sse", { headers: {} }); source.close(); watch("/sse", { headers: {} })`);
      const log = await story(page, "message");
      assert.deepEqual(log, [["close", "closed", 0], ["open", 1], ["message", "a", ""]]);
      assert.equal(server.seen("/sse").length, 1);
    });
  });
}
