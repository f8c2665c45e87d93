// Resuming in real browsers: the last event id reaches servers that read it from the header, from the query, or not at
// all. No server is asked for the same events forever.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { describe, test } from "node:test";
import { until } from "../../e2e/until.js";
import { BROWSERS, browserOf } from "./browsers.js";
import { Server, stream } from "./server.js";

/**
 * @typedef {import("./browsers.js").Page} Page
 * @typedef {import("./server.js").Route} Route
 */

const WATCH = `
  import EventSourceWrapper from "/tidings/browser/index.js";
  window.log = [];
  window.watch = (url, options) => {
    const source = (window.source = new EventSourceWrapper(url, { reconnect: { reconnectionMs: 100, backoffFirstMs: 100 }, ...options }));
    source.onMessage((event) => log.push(["message", event.data, event.lastEventId]));
    source.onError(({ kind, message, status }) => log.push(["error", kind, message, status]));
    source.on("close", ({ reason }) => log.push(["close", reason]));
  };
  window.ready = true;`;

/** Waits take a tenth of their time: the limit of a minute for the head of an answer is six seconds. */
const HURRY = `{ const { setTimeout } = globalThis; globalThis.setTimeout = (call, ms, ...rest) => setTimeout(call, ms / 10, ...rest) }`;
/** Later than a head usually arrives, and within that limit. */
const LATE_MS = 550;

const HEADERS = "{ headers: { 'X-Test': 'yes' } }";
const transports = [
  { name: "natively", options: "{}" },
  { name: "with fetch", options: HEADERS },
  { name: "shared", options: "{ shared: true }" },
];

/**
 * A stream of three numbers that resumes after the id that `cursorOf` finds in the request. Then it answers 503 while
 * `isBusy` is true, which ends a browser's own `EventSource`.
 *
 * @param {(request: import("./server.js").Request, url: URL) => string | null | undefined} cursorOf
 * @param {{ isBusy: boolean }} state
 * @param {Record<string, string>} [more] headers of every answer
 * @returns {Route}
 */
const counts = (cursorOf, state, more = {}) => (request, response, url) => {
  for (const [name, value] of Object.entries(more)) response.setHeader(name, value);
  if (request.method === "OPTIONS") return void response.writeHead(more["Access-Control-Allow-Headers"] ? 204 : 405).end();
  if (state.isBusy) return void response.writeHead(503).end("busy");
  const from = Number(cursorOf(request, url) ?? 0);
  stream(response, [1, 2, 3].map((n) => `id: ${from + n}\ndata: ${from + n}\n\n`).join(""));
};
/** @type {(request: import("./server.js").Request) => any} */
const byHeader = ({ headers }) => headers["last-event-id"];
/** @type {(request: import("./server.js").Request, url: URL) => any} */
const byQuery = (_, url) => url.searchParams.get("lastEventID");

for (const browserName of BROWSERS) {
  describe(`in ${browserName}`, { concurrency: 3 }, () => {
    const browser = browserOf(browserName);

    /**
     * @param {import("node:test").TestContext} t
     * @param {Server} server
     */
    const pageOf = (t, server) => browser.pageWith(t, server.origin, WATCH);

    /**
     * @param {Page} page
     * @param {string} what
     * @param {(log: any[]) => unknown} look
     * @returns {Promise<any[]>}
     */
    async function logUntil(page, what, look) {
      /** @type {any[]} */
      let log = [];
      await until(what, async () => look((log = await page.evaluate("log"))), 20_000).catch((error) => {
        throw new Error(`${error.message}; the story is ${JSON.stringify(log)}`);
      });
      return log;
    }
    const messages = (/** @type {any[]} */ log) => log.filter(([what]) => what === "message").map(([, data]) => data).join("");
    const ended = (/** @type {any[]} */ log) => log.at(-1)?.[0] === "close";

    for (const { name, options } of transports) {
      test(`${name}: a 204 from a server that reads only the header closes the source`, async (t) => {
        const server = await Server.start(t);
        server.routes.set("/sse", (request, response) => {
          if (request.headers["last-event-id"]) return void response.writeHead(204).end();
          stream(response, "retry: 50\nid: 1\ndata: a\n\n").end();
        });
        const page = await pageOf(t, server);
        await page.evaluate(`watch("/sse", ${options})`);
        const log = await logUntil(page, "the end", ended);
        assert.equal(messages(log), "a");
        assert.deepEqual(log.at(-1), ["close", "ended"]);
      });

      test(`${name}: an empty id clears the last event id`, async (t) => {
        const server = await Server.start(t);
        server.routes.set("/sse", (request, response, url, seen) => {
          const asked = request.headers["last-event-id"] ?? url.searchParams.get("lastEventID");
          stream(response, seen === 1 ? "retry: 50\nid: 1\ndata: a\n\ndata: b\n\nid\ndata: c\n\ndata: d\n\n" : `data: ${asked}\n\n`);
        });
        const page = await pageOf(t, server);
        await page.evaluate(`watch("/sse", ${options})`);
        await logUntil(page, "four", (log) => messages(log) === "abcd");
        assert.equal(await page.evaluate("source.lastEventId"), "");
        server.cut();
        const log = await logUntil(page, "the next", (log) => messages(log).length > 4);
        assert.deepEqual(log.filter(([what]) => what === "message").map(([, , id]) => id), ["1", "1", "", "", ""]);
        assert.equal(messages(log), "abcdnull");
      });

      // Firefox's own class ignores the id of a block without data.
      const skip = browserName === "Firefox" && name === "natively";
      test(`${name}: an id without data is where the stream resumes`, { skip }, async (t) => {
        const server = await Server.start(t);
        server.routes.set("/sse", (request, response, url) => {
          const from = request.headers["last-event-id"] ?? url.searchParams.get("lastEventID");
          stream(response, from ? `retry: 50\ndata: after ${from}\n\n` : "retry: 50\nid: 7\n\n");
        });
        const page = await pageOf(t, server);
        await page.evaluate(`watch("/sse", ${options})`);
        await until("it is open", () => page.evaluate("source.readyState === 1"));
        server.cut();
        const log = await logUntil(page, "an event", (log) => messages(log));
        assert.equal(messages(log), "after 7");
      });
    }

    for (const [what, cursorOf] of /** @type {const} */ ([["the header", byHeader], ["the query", byQuery]])) {
      test(`after the browser's own class has failed, a server that reads only ${what} repeats nothing`, async (t) => {
        const server = await Server.start(t);
        const state = { isBusy: false };
        server.routes.set("/sse", counts(cursorOf, state));
        const page = await pageOf(t, server);
        await page.evaluate(`watch("/sse", {})`);
        await logUntil(page, "three", (log) => messages(log) === "123");
        state.isBusy = true;
        server.cut();
        await logUntil(page, "the refusal", (log) => log.some(([, kind]) => kind === "refused"));
        state.isBusy = false;
        const log = await logUntil(page, "three more", (log) => messages(log).length >= 6);
        assert.equal(messages(log), "123456");
      });
    }

    test("after the browser's own class has failed, a server that refuses unknown parameters gets the header alone", async (t) => {
      const server = await Server.start(t);
      const state = { isBusy: false };
      const count = counts(byHeader, state);
      server.routes.set("/sse", (request, response, url, seen) => {
        if (url.search !== "?signed") return void response.writeHead(400).end("what is that?");
        count(request, response, url, seen);
      });
      const page = await pageOf(t, server);
      await page.evaluate(`watch("/sse?signed", {})`);
      await logUntil(page, "three", (log) => messages(log) === "123");
      for (const more of ["123456", "123456789"]) {
        state.isBusy = true;
        server.cut();
        const { length } = await page.evaluate("log");
        await logUntil(page, "the refusal", (log) => log.slice(length).some(([, kind]) => kind === "refused"));
        state.isBusy = false;
        await logUntil(page, "three more", (log) => messages(log) === more);
      }
    });

    test("the option lastEventId reaches a server by the header too", async (t) => {
      const server = await Server.start(t);
      server.routes.set("/sse", counts(byHeader, { isBusy: false }));
      const page = await pageOf(t, server);
      await page.evaluate(`watch("/sse", { lastEventId: "4" })`);
      assert.equal(messages(await logUntil(page, "three", (log) => messages(log).length >= 3)), "567");
    });

    test("another origin that allows the header gets it", async (t) => {
      const [server, other] = [await Server.start(t), await Server.start(t)];
      const state = { isBusy: false };
      other.routes.set("/sse", counts(byHeader, state, { "Access-Control-Allow-Origin": "*", "Access-Control-Allow-Headers": "Last-Event-ID" }));
      const page = await pageOf(t, server);
      await page.evaluate(`watch("${other.origin}/sse", {})`);
      await logUntil(page, "three", (log) => messages(log) === "123");
      state.isBusy = true;
      other.cut();
      await logUntil(page, "the refusal", (log) => log.some(([, kind]) => kind === "refused"));
      state.isBusy = false;
      const log = await logUntil(page, "three more", (log) => messages(log).length >= 6);
      assert.equal(messages(log), "123456");
    });

    for (const { name, options } of transports.slice(0, 1)) {
      test(`${name}: another origin that does not allow the header gets the query`, async (t) => {
        const [server, other] = [await Server.start(t), await Server.start(t)];
        const state = { isBusy: false };
        other.routes.set("/sse", counts(byQuery, state, { "Access-Control-Allow-Origin": "*" }));
        const page = await pageOf(t, server);
        await page.evaluate(`watch("${other.origin}/sse", ${options})`);
        await logUntil(page, "three", (log) => messages(log) === "123");
        for (const more of ["123456", "123456789"]) {
          state.isBusy = true;
          other.cut();
          const { length } = await page.evaluate("log");
          await logUntil(page, "the refusal", (log) => log.slice(length).some(([, kind]) => kind === "refused"));
          state.isBusy = false;
          await logUntil(page, "three more", (log) => messages(log) === more);
        }
        const log = await page.evaluate("log");
        assert.equal(log.filter((/** @type {any} */ [, kind]) => kind === "cursor").length, 1, JSON.stringify(log));
      });
    }

    for (const { name, options } of transports) {
      test(`${name}: notices, and events without an id after the place, are not taken for a restart`, async (t) => {
        const [server, other] = [await Server.start(t), await Server.start(t)];
        const state = { isBusy: false };
        other.routes.set("/sse", (request, response, url) => {
          response.setHeader("Access-Control-Allow-Origin", "*");
          if (request.method === "OPTIONS") return void response.writeHead(204, { "Access-Control-Allow-Headers": "X-Test" }).end();
          if (state.isBusy) return void response.writeHead(503).end("busy");
          const from = byQuery(request, url);
          // Blocks that hubs and services send when a stream resumes, each with the requested id.
          const resumed = `event: tidings\nid: ${from}\ndata: {"v":1,"kind":"resumed"}\n\nid: ${from}\n\ndata: b\n\n`;
          stream(response, from ? resumed : "id: 7\ndata: a\n\n");
        });
        const page = await pageOf(t, server);
        await page.evaluate(`watch("${other.origin}/sse", ${options})`);
        await logUntil(page, "the first", (log) => messages(log) === "a");
        for (const more of ["ab", "abb", "abbb"]) {
          state.isBusy = true;
          other.cut();
          const { length } = await page.evaluate("log");
          await logUntil(page, "the refusal", (log) => log.slice(length).some(([, kind]) => kind === "refused"));
          state.isBusy = false;
          await logUntil(page, "one more", (log) => messages(log) === more);
        }
      });
    }

    test("another origin that reads neither header nor query is not requested forever", async (t) => {
      const [server, other] = [await Server.start(t), await Server.start(t)];
      other.routes.set("/sse", (request, response) => {
        response.setHeader("Access-Control-Allow-Origin", "*");
        if (request.method === "OPTIONS") return void response.writeHead(405).end();
        // By itself the browser sends the header without asking.
        if (request.headers["last-event-id"]) return void response.writeHead(204).end();
        stream(response, "retry: 50\nid: 1\ndata: a\n\n").end();
      });
      const page = await pageOf(t, server);
      await page.evaluate(`watch("${other.origin}/sse", {})`);
      const log = await logUntil(page, "the end", ended);
      // Once more than with the browser's own class alone, which does not show whether the id is the event's own.
      assert.equal(messages(log), "aaa");
      assert.deepEqual([log.at(-1), log.at(-2)[1]], [["close", "refused"], "cors"]);
    });

    for (const { name, options } of transports) {
      for (const preflight of ["allowed", "refused"]) {
        if (preflight === "refused" && name !== "with fetch") continue;
        test(`${name}: another origin that refuses CORS late closes the source (its preflight is ${preflight})`, async (t) => {
          const [server, other] = [await Server.start(t), await Server.start(t)];
          other.routes.set("/sse", (request, response) => {
            if (request.method === "OPTIONS" && preflight === "allowed") {
              return void response.writeHead(204, { "Access-Control-Allow-Origin": "*", "Access-Control-Allow-Headers": "*" }).end();
            }
            if (request.method === "OPTIONS") return void response.writeHead(405).end();
            setTimeout(() => stream(response, "data: a\n\n"), LATE_MS);
          });
          const worker = await readFile(new URL("../worker.js", import.meta.url), "utf8");
          server.routes.set("/tidings/browser/worker.js", (_, response) => void response.setHeader("Content-Type", "text/javascript").end(HURRY + worker));
          const page = await pageOf(t, server);
          // The waits for a shared worker are the page's, and no part of this.
          if (name !== "shared") await page.evaluate(HURRY);
          await page.evaluate(`watch("${other.origin}/sse", ${options})`);
          const log = await logUntil(page, "the end", ended);
          assert.deepEqual(log.map(([what, kind]) => [what, kind]), [["error", "cors"], ["close", "refused"]]);
          assert.match(log[0][2], /^The server does not allow this page to read the stream: http:\/\/localhost:\d+ must allow the origin http/);
        });
      }

      // A shared stream belongs to the worker, which has its own policy.
      test(`${name}: a URL that the page's content security policy forbids closes the source at once`, { skip: name === "shared" }, async (t) => {
        const [server, other] = [await Server.start(t), await Server.start(t)];
        other.routes.set("/sse", (_, response) => (response.setHeader("Access-Control-Allow-Origin", "*"), stream(response)));
        const page = await pageOf(t, server);
        await page.evaluate(`document.head.insertAdjacentHTML("beforeend", '<meta http-equiv="Content-Security-Policy" content="connect-src ${server.origin}">'); watch("${other.origin}/sse?secret", ${options})`);
        const log = await logUntil(page, "the end", ended);
        assert.deepEqual(log.map(([what, kind]) => [what, kind]), [["error", "unsupported"], ["close", "refused"]]);
        assert.match(log[0][2], /content security policy \(connect-src\) does not allow http:\/\/localhost:\d+\/sse$/);
      });

      for (const url of ["mailto:a@example.com", "ftp://example.com/", "about:blank", "javascript:alert(1)", "foobar:x"]) {
        test(`${name}: ${url} closes the source at once`, async (t) => {
          const page = await pageOf(t, await Server.start(t));
          await page.evaluate(`watch(${JSON.stringify(url)}, ${options})`);
          assert.deepEqual((await logUntil(page, "the end", ended)).map(([what, kind]) => [what, kind]), [["error", "unsupported"], ["close", "refused"]]);
        });
      }
    }
  });
}
