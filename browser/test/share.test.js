// One connection for all tabs, with a real hub and real browsers: every tab gets every event of
// its topics once and in order.

import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { describe, test } from "node:test";
import { Hub } from "../../e2e/hub.js";
import { until } from "../../e2e/until.js";
import { BROWSERS, browserOf } from "./browsers.js";
import { sendModule, Server, stream } from "./server.js";
import { checkAll, opened, Publisher, tabOf, topic, watch } from "./tabs.js";

/**
 * @typedef {import("./browsers.js").Page} Page
 * @typedef {import("./browsers.js").Context} Context
 */

/** How many tabs each browser opens. */
const TABS = { Chromium: 30, Firefox: 5 };
const KEY = "a key of at least 256 bits, for tests alone";
const TOKEN_SECONDS = 3;
/** The path of a hub, on servers that are not one. */
const HUB = "/.well-known/mercure";
/** A hub's notice that all missed events were sent. */
const LIVE = `event: tidings\ndata: {"kind":"live"}\n\n`;

/** @param {URL} url of a stream */
const topicsIn = (url) => url.searchParams.getAll("topic").sort().join();

/** @param {object} claims */
function token(claims) {
  const part = (/** @type {object} */ value) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const signed = `${part({ alg: "HS256", typ: "JWT" })}.${part(claims)}`;
  return `${signed}.${createHmac("sha256", KEY).update(signed).digest("base64url")}`;
}

for (const browserName of BROWSERS) {
  describe(`in ${browserName}`, () => {
    const browser = browserOf(browserName);
    const count = TABS[browserName];

    /**
     * @param {import("node:test").TestContext} t
     * @param {number} tabCount
     * @param {string[]} [flags] of the hub
     * @returns {Promise<{ hub: Hub, context: Context, tabs: Page[] }>}
     */
    async function tabsOf(t, tabCount, flags = []) {
      const hub = await Hub.start(t, { flags, returns: true });
      const context = await browser.newContext(t);
      const tabs = [];
      for (let n = 0; n < tabCount; n += 1) tabs.push(await tabOf(context, hub));
      return { hub, context, tabs };
    }

    test("unshared, six streams are open, two wait, and a fetch hangs", async (t) => {
      const { tabs } = await tabsOf(t, 1);
      const [page] = /** @type {[Page]} */ (tabs);
      for (let n = 0; n < 8; n += 1) await watch(page, [topic(n)], "{ shared: false }");
      const states = () => page.evaluate("sources.map(({ readyState }) => readyState).sort().join('')");
      await until("six are open", async () => (await states()) === "00111111");
      await page.evaluate(`window.answered = false; fetch("/healthz").then(() => (answered = true)); undefined`);
      const { answered } = await page.evaluate(`new Promise((resolve) => setTimeout(resolve, 1000, null)).then(() => ({ answered }))`);
      assert.equal(answered, false);
      assert.equal(await states(), "00111111");
      await page.evaluate("sources.forEach((source) => source.close())");
      await until("the fetch is answered", () => page.evaluate("answered"));
    });

    test(`${count} tabs with ten topics each are live on one connection, and a fetch is answered at once`, async (t) => {
      const { hub, tabs } = await tabsOf(t, count);
      for (const [n, page] of tabs.entries()) {
        await page.evaluate(`for (let m = 0; m < 10; m += 1) watch(["${topic(n)}/" + m]); undefined`);
      }
      for (const page of tabs) await opened(page);
      assert.equal(await hub.subscribers(), 1);
      for (let n = 0; n < tabs.length; n += 1) {
        for (let m = 0; m < 10; m += 1) await hub.publish({ topic: topic(`${n}/${m}`), data: `${n} ${m}` });
      }
      for (const [n, page] of tabs.entries()) {
        await until("each topic's event", async () => {
          const seen = /** @type {Record<string, string[]>} */ (JSON.parse(await page.evaluate("JSON.stringify(seen)")));
          return Array.from({ length: 10 }, (_, m) => seen[topic(`${n}/${m}`)]?.join() === `${n} ${m}`).every(Boolean);
        });
        assert.equal(await page.evaluate("Object.values(seen).flat().length"), 10);
        assert.equal(await page.evaluate(`fetch("/healthz").then(({ status }) => status)`), 200);
      }
      assert.equal(await hub.subscribers(), 1);
      const told = /** @type {any} */ (await tabs[3]?.evaluate("sharing()"));
      assert.deepEqual([told.tabs, told.connections], [count, 1]);
    });

    test("topics are added and removed under load, and no source misses or repeats an event", async (t) => {
      const { hub, tabs } = await tabsOf(t, 2);
      const [first, second] = /** @type {[Page, Page]} */ (tabs);
      await watch(first, [topic("a")]);
      await opened(first);
      const publisher = new Publisher(hub, [topic("a"), topic("b"), topic("c")]);
      t.after(() => publisher.stop());
      /** @type {string[][]} */
      const parts = [];
      for (let round = 0; round < 5; round += 1) {
        for (const name of ["b", "c"]) {
          await second.evaluate(`seen["${topic(name)}"] = []; watch(["${topic(name)}"]); undefined`);
          await opened(second);
          await until("events", () => second.evaluate(`seen["${topic(name)}"].length > 3`));
          parts.push(await second.evaluate(`(sources.pop().close(), seen["${topic(name)}"])`));
        }
      }
      await publisher.stop();
      await checkAll(publisher, [[first, topic("a")]]);
      // The second got parts of the published events: each part without a hole.
      for (const [n, part] of parts.entries()) {
        const published = publisher.published.get(topic(n % 2 === 0 ? "b" : "c")) ?? [];
        const from = published.indexOf(String(part[0]));
        assert.deepEqual(part, published.slice(from, from + part.length));
      }
      await until("one connection", async () => (await hub.subscribers()) === 1);
    });

    test("a tab that opens later is open at once, on the existing connection", async (t) => {
      const server = await Server.start(t);
      server.routes.set("/sse", (_, response) => stream(response));
      const context = await browser.newContext(t);
      for (let n = 0; n < 3; n += 1) {
        const page = await context.newPage();
        await page.goto(server.origin);
        await page.evaluate(`import("/tidings/browser/index.js").then(({ default: EventSourceWrapper }) => { window.source = new EventSourceWrapper("/sse", { shared: true }) })`);
        await until("it is open", () => page.evaluate("source.readyState === 1"));
      }
      assert.equal(server.seen("/sse").length, 1);
    });

    test("a stream has as many topics as fit into a short URL, then there is a second one", async (t) => {
      const { hub, tabs } = await tabsOf(t, 2);
      for (const [n, page] of tabs.entries()) await watch(page, Array.from({ length: 300 }, (_, m) => topic(`${n}/${m}`)));
      for (const page of tabs) await opened(page);
      assert.equal(await hub.subscribers(), 2);
      for (const [n, page] of tabs.entries()) {
        await hub.publish({ topic: topic(`${n}/299`), data: "x" });
        await until("the event", () => page.evaluate(`seen["${topic(`${n}/299`)}"].length === 1`));
      }
    });

    test("a listener gets only events after it joined", async (t) => {
      const { hub, tabs } = await tabsOf(t, 2);
      const [first, second] = /** @type {[Page, Page]} */ (tabs);
      await watch(first, [topic("a")]);
      await opened(first);
      await hub.publish({ topic: topic("b"), data: "before" });
      await watch(second, [topic("b")]);
      await opened(second);
      await hub.publish({ topic: topic("b"), data: "after" });
      await until("the event", () => second.evaluate(`seen["${topic("b")}"].length > 0`));
      assert.deepEqual(await second.evaluate(`seen["${topic("b")}"]`), ["after"]);
      assert.deepEqual(await first.evaluate("Object.values(seen).flat()"), []);
    });

    test("a listener whose topic is refused does not affect the others", async (t) => {
      const { hub, tabs } = await tabsOf(t, 2);
      const [first, second] = /** @type {[Page, Page]} */ (tabs);
      await watch(first, [topic("a")]);
      await watch(second, [topic("x".repeat(5000))]);
      await watch(second, [topic("b")]);
      await until("the refusal", () => second.evaluate("log.includes('close refused')"));
      await until("the others", () => second.evaluate("sources[1].readyState === 1"));
      await opened(first);
      await hub.publish({ topic: topic("a"), data: "1" });
      await until("the event", () => first.evaluate(`seen["${topic("a")}"].length === 1`));
    });

    test("the first tab is closed, and the others continue", async (t) => {
      const { hub, tabs } = await tabsOf(t, 3);
      const [first, ...others] = /** @type {[Page, Page, Page]} */ (tabs);
      for (const [n, page] of tabs.entries()) await watch(page, [topic(n)]);
      for (const page of tabs) await opened(page);
      const publisher = new Publisher(hub, [topic(1), topic(2)]);
      t.after(() => publisher.stop());
      await until("events", () => others[1].evaluate(`seen["${topic(2)}"].length > 20`));
      await first.close();
      const count = await others[1].evaluate(`seen["${topic(2)}"].length`);
      await until("more events", () => others[1].evaluate(`seen["${topic(2)}"].length > ${count + 20}`));
      await publisher.stop();
      await checkAll(publisher, [[others[0], topic(1)], [others[1], topic(2)]]);
      await until("one connection", async () => (await hub.subscribers()) === 1);
    });

    test("the hub is killed and started again: all tabs are told of the reset, and continue", async (t) => {
      const { hub, tabs } = await tabsOf(t, 3);
      for (const [n, page] of tabs.entries()) await watch(page, [topic(n)], "{ reconnect: { reconnectionMs: 200 } }");
      for (const page of tabs) await opened(page);
      await hub.publish({ topic: topic(0), data: "before" });
      await hub.kill();
      for (const page of tabs) await until("the loss", () => page.evaluate("sources[0].readyState === 0"));
      const next = await Hub.start(t, { listen: hub.listen });
      for (const page of tabs) await opened(page);
      assert.equal(await next.subscribers(), 1);
      for (const [n, page] of tabs.entries()) {
        await next.publish({ topic: topic(n), data: "after" });
        await until("the event after", () => page.evaluate(`seen["${topic(n)}"].at(-1) === "after"`));
        await until("the reset", () => page.evaluate("log.some((line) => line.includes('reset'))"));
      }
    });

    test("a listener is open only on a stream that has its topics", async (t) => {
      const server = await Server.start(t);
      let answer = () => {};
      server.routes.set(HUB, (_, response, url) => {
        if (topicsIn(url) === "a") {
          // One of these notices reaches the worker after the second listener, and before its request.
          const timer = setInterval(() => response.write(LIVE), 5);
          response.on("close", () => clearInterval(timer));
          stream(response, LIVE);
        } else {
          answer = () => void stream(response, LIVE);
        }
      });
      const page = await (await browser.newContext(t)).newPage();
      await page.goto(server.origin);
      await page.evaluate(`(async () => {
        const { default: EventSourceWrapper } = await import("/tidings/browser/index.js");
        window.watch = (topics) => new EventSourceWrapper("${HUB}", { shared: true, topics });
        window.first = watch(["a"]);
      })()`);
      await until("it is open", () => page.evaluate("first.readyState === 1"));
      await page.evaluate("window.second = watch(['b']); undefined");
      await until("the stream of both is requested", () => server.seen(HUB).some(({ url }) => topicsIn(new URL(url)) === "a,b"));
      assert.equal(await page.evaluate("second.readyState"), 0);
      answer();
      await until("it is open", () => page.evaluate("second.readyState === 1"));
    });

    test("a listener that returns gets what its topics had, even if the stream goes on without them meanwhile", async (t) => {
      const server = await Server.start(t);
      /** @type {import("node:http").ServerResponse | undefined} */
      let alone;
      server.routes.set(HUB, (_, response, url, seen) => {
        stream(response, seen === 1 ? `id: 1\n${LIVE}` : "");
        if (topicsIn(url) === "a") alone = response;
      });
      server.routes.set("/send", (_, response) => {
        alone?.write("id: 2\ntopic: a\ndata: after an event of the other topic\n\n");
        response.end();
      });
      const page = await (await browser.newContext(t)).newPage();
      await page.goto(server.origin);
      // The worker's module, in the page: so the order of its messages and of the requests is known.
      await page.evaluate(`(async () => {
        await import("/tidings/browser/worker.js");
        window.join = (topic, cursor = null) => {
          const { port1, port2 } = new MessageChannel();
          const wish = { url: location.origin + "${HUB}", withCredentials: false, topics: [topic], policy: {}, asked: false };
          onconnect({ ports: [port2] });
          port1.onmessage = ({ data }) => { if (data.kind === "open") port1.cursor = data.cursor };
          port1.postMessage({ kind: "hello", tab: 1, lock: "", wish, cursor });
          return port1;
        };
        window.a = join("a");
        window.b = join("b");
      })()`);
      await until("both are open", () => page.evaluate("a.cursor?.id === '1' && b.cursor?.id === '1'"));
      await page.evaluate("b.postMessage({ kind: 'bye' })");
      await until("the stream has one topic", () => alone !== undefined);
      await page.evaluate("(join('b', b.cursor), fetch('/send')).then(() => 0)");
      await until("the stream has both topics again", () => server.seen(HUB).length === 3);
      const [, , last] = server.seen(HUB);
      assert.equal(topicsIn(new URL(last?.url ?? "")), "a,b");
      assert.equal(last?.headers["last-event-id"], "1");
    });

    test("without a SharedWorker, each tab has its own stream, and one warning", async (t) => {
      const { hub, context } = await tabsOf(t, 0);
      const page = await tabOf(context, hub, "window.warnings = []; console.warn = (...words) => warnings.push(words.join(' ')); delete window.SharedWorker");
      await watch(page, [topic("a")]);
      await watch(page, [topic("b")]);
      await opened(page);
      assert.equal(await hub.subscribers(), 2);
      assert.match(await page.evaluate("warnings.join('|')"), /^each tab has its own stream: [^|\n]+$/);
      await hub.publish({ topic: topic("b"), data: "1" });
      await until("the event", () => page.evaluate(`seen["${topic("b")}"].length === 1`));
    });

    test("if the worker's script can't be loaded, each tab has its own stream", async (t) => {
      const { hub, tabs } = await tabsOf(t, 1);
      const [page] = /** @type {[Page]} */ (tabs);
      await watch(page, [topic("a")], `{ worker: "/nothing/is/here.js" }`);
      await opened(page);
      assert.equal(await hub.subscribers(), 1);
    });

    /**
     * A server that delays the worker's script, and a tab that counts how often it requests a worker.
     *
     * @param {import("node:test").TestContext} t
     */
    async function slowWorker(t) {
      const server = await Server.start(t);
      server.routes.set("/sse", (_, response) => stream(response));
      let send = () => {};
      const isSent = new Promise((resolve) => (send = () => resolve(0)));
      server.routes.set("/tidings/browser/worker.js", (_, response, url) => void isSent.then(() => sendModule(response, url)));
      const context = await browser.newContext(t);
      /** @param {string} [first] a script that runs before */
      const tab = async (first = "") => {
        const page = await context.newPage();
        await page.goto(server.origin);
        await page.evaluate(`(async () => {
          window.tries = 0;
          window.SharedWorker = class extends SharedWorker { constructor(...args) { super(...args); tries += 1 } };
          window.warnings = [];
          console.warn = (...words) => warnings.push(words.join(" "));
          ${first};
          const { default: EventSourceWrapper } = await import("/tidings/browser/index.js");
          window.watch = () => window.source = new EventSourceWrapper("/sse", { shared: true });
          watch();
        })()`);
        return page;
      };
      return { server, tab, send };
    }

    test("tabs wait for a worker whose script is late, and then share", async (t) => {
      const { server, tab, send } = await slowWorker(t);
      const pages = [await tab(), await tab()];
      for (const page of pages) await until("it asks again and again", () => page.evaluate("tries >= 3"));
      send();
      for (const page of pages) {
        await until("it is open", () => page.evaluate("source.readyState === 1"));
        assert.deepEqual(await page.evaluate("warnings"), []);
      }
      assert.equal(server.seen("/sse").length, 1);
    });

    test("if a worker does not answer in time, a tab opens its own stream, and its next source is shared again", async (t) => {
      const { server, tab, send } = await slowWorker(t);
      const page = await tab("const wait = setTimeout; window.setTimeout = (f, milliseconds, ...args) => wait(f, milliseconds / 20, ...args)");
      await until("it is open", () => page.evaluate("source.readyState === 1"));
      assert.deepEqual(await page.evaluate("warnings"), ["each tab has its own stream: the SharedWorker does not respond"]);
      assert.equal(server.seen("/sse").length, 1);
      send();
      const next = await tab();
      await page.evaluate("watch(); undefined");
      for (const one of [page, next]) await until("it is open", () => one.evaluate("source.readyState === 1"));
      assert.equal(server.seen("/sse").length, 2);
    });

    test("a worker whose script failed to load at first is requested again", async (t) => {
      const { server, tab, send } = await slowWorker(t);
      send();
      server.routes.set("/tidings/browser/worker.js", (_, response, url, seen) => {
        if (seen === 1) return void response.writeHead(502).end("away");
        void sendModule(response, url);
      });
      const pages = [await tab(), await tab()];
      for (const page of pages) {
        await until("it is open", () => page.evaluate("source.readyState === 1"));
        assert.deepEqual(await page.evaluate("warnings"), []);
      }
      assert.equal(server.seen("/sse").length, 1);
    });

    test("a stream of any URL can be shared, and asks a tab for a new token when the old one expires", async (t) => {
      const server = await Server.start(t);
      let valid = "Bearer 1";
      let number = 0;
      /** @type {Set<import("node:http").ServerResponse>} */
      const streams = new Set();
      server.routes.set("/sse", (request, response) => {
        if (request.headers.authorization !== valid) return void response.writeHead(401).end("expired");
        streams.add(stream(response, "retry: 100\n\n"));
        response.on("close", () => streams.delete(response));
      });
      const send = () => {
        number += 1;
        for (const response of streams) response.write(`id: ${number}\ndata: ${number}\n\n`);
      };
      const context = await browser.newContext(t);
      const pages = [];
      for (let n = 0; n < 2; n += 1) {
        const page = await context.newPage();
        pages.push(page);
        await page.goto(server.origin);
        await page.evaluate(`(async () => {
          const { default: EventSourceWrapper } = await import("/tidings/browser/index.js");
          window.seen = []; window.token = 1;
          window.source = new EventSourceWrapper("/sse", { shared: true, headers: async () => ({ Authorization: "Bearer " + token }) });
          source.onMessage(({ data }) => seen.push(data));
        })()`);
        await until("it is open", () => page.evaluate("source.readyState === 1"));
      }
      send();
      for (const page of pages) await until("the first", () => page.evaluate("seen.join() === '1'"));
      valid = "Bearer 2";
      for (const page of pages) await page.evaluate("token = 2");
      for (const response of streams) response.destroy();
      streams.clear();
      await until("it is opened again", () => streams.size === 1);
      send();
      for (const page of pages) await until("the second", () => page.evaluate("seen.join() === '1,2'"));
      assert.equal(server.seen("/sse").length, 2);
    });

    test("the hub's own tokens expire and are renewed meanwhile, and nothing is lost, repeated or reordered", async (t) => {
      const { hub, context } = await tabsOf(t, 0, ["--publisher-key", KEY, "--subscriber-key", KEY]);
      const tokens = await Server.start(t);
      tokens.routes.set("/token", (_, response) => {
        response.setHeader("Access-Control-Allow-Origin", "*").end(token({ mercure: { subscribe: ["*"] }, exp: Math.floor(Date.now() / 1000) + TOKEN_SECONDS }));
      });
      const options = `{ shared: true, reconnect: { reconnectionMs: 200 }, headers: async () => ({ Authorization: "Bearer " + await (await fetch("${tokens.origin}/token")).text() }) }`;
      /** @type {[Page, string][]} */
      const tabs = [];
      for (let n = 0; n < 3; n += 1) {
        const page = await tabOf(context, hub);
        await watch(page, [topic(n)], options);
        tabs.push([page, topic(n)]);
      }
      for (const [page] of tabs) await opened(page);
      const headers = { Authorization: `Bearer ${token({ mercure: { publish: ["*"] } })}` };
      const publisher = new Publisher(hub, tabs.map(([, name]) => name), { headers, update: { private: true } });
      t.after(() => publisher.stop());
      const before = tokens.seen("/token").length;
      await until("three more tokens", () => tokens.seen("/token").length >= before + 3);
      await publisher.stop();
      await checkAll(publisher, tabs);
      assert.equal(await hub.subscribers(), 1);
      // For each connection one tab is asked, not all of them.
      assert.ok(tokens.seen("/token").length <= before + 4);
      for (const [page] of tabs) assert.equal(await page.evaluate("log.filter((line) => line.startsWith('close')).length"), 0);
    });
  });
}
