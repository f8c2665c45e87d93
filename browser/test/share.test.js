// One connection for all tabs, with a real hub and a real browser: every tab gets every event of
// its topics once and in order, whatever happens to the tab that holds the connection.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { launch } from "../../e2e/chromium.js";
import { Hub } from "../../e2e/hub.js";
import { until } from "../../e2e/until.js";
import { Server, stream } from "./server.js";

/** How often each fault is met. All of them: `SHARE_ROUNDS=20`. */
const ROUNDS = Number(process.env.SHARE_ROUNDS ?? 2);
/** Published meanwhile. */
const EVENTS_PER_SECOND = 200;

/**
 * @typedef {import("../../e2e/node_modules/playwright-core/index.js").Browser} Browser
 * @typedef {import("../../e2e/node_modules/playwright-core/index.js").BrowserContext} Context
 * @typedef {import("../../e2e/node_modules/playwright-core/index.js").Page} Page
 */

/** @type {Browser} */
let browser;
before(async () => {
  browser = await launch();
});
after(() => browser.close());

/** @param {number | string} name */
const topic = (name) => `https://example.com/${name}`;

/**
 * A tab with `watch(topics, options)`, which writes down data by topic in `seen`.
 *
 * @param {Context} context
 * @param {Hub} hub
 */
async function tabOf(context, hub) {
  const page = await context.newPage();
  await page.goto(hub.url("/healthz"));
  await page.addScriptTag({
    type: "module",
    content: `
      import EventSourceWrapper from "/tidings/browser/index.js";
      import { sharing } from "/tidings/browser/share.js";
      Object.assign(window, { EventSourceWrapper, sharing, seen: {}, log: [], sources: [], gaps: [] });
      let last = 0;
      window.watch = (topics, options) => {
        const source = new EventSourceWrapper("/.well-known/mercure", { topics, ...options });
        sources.push(source);
        for (const topic of topics) seen[topic] ??= [];
        source.onOpen(() => log.push("open"));
        source.onError(({ kind, status, message }) => log.push(kind + " " + status + " " + message));
        source.on("close", ({ reason }) => log.push("close " + reason));
        source.on("tidings", ({ data }) => log.push(data));
        source.onMessage(({ data, topic }) => {
          const now = performance.now();
          if (last) gaps.push(now - last);
          last = now;
          (seen[topic] ??= []).push(data);
        });
        return source;
      };
      window.ready = true;`,
  });
  await page.waitForFunction("window.ready");
  return page;
}

/**
 * @param {Page} page
 * @param {string[]} topics
 * @param {string} [options]
 */
async function watch(page, topics, options = "{}") {
  await page.evaluate(`watch(${JSON.stringify(topics)}, ${options}); undefined`);
}

/** @param {Page} page */
async function opened(page) {
  await until("all sources are open", () => page.evaluate("sources.every(({ readyState }) => readyState === 1)")).catch(async (error) => {
    throw new Error(`${error.message}: ${await page.evaluate("JSON.stringify(log.slice(-10))")}`);
  });
}

/**
 * @param {import("node:test").TestContext} t
 * @param {number} count of tabs
 * @returns {Promise<{ hub: Hub, context: Context, tabs: Page[] }>}
 */
async function tabsOf(t, count, flags = [""].slice(1)) {
  const hub = await Hub.start(t, { flags });
  const context = await browser.newContext();
  t.after(() => context.close());
  const tabs = [];
  for (let n = 0; n < count; n += 1) tabs.push(await tabOf(context, hub));
  return { hub, context, tabs };
}

/** Publishes numbers to topics in turn, at a steady rate, until it is stopped. */
class Publisher {
  /** @type {Map<string, string[]>} */
  published = new Map();
  #ended = false;
  #done;

  /**
   * @param {Hub} hub
   * @param {string[]} topics
   */
  constructor(hub, topics) {
    this.#done = this.#run(hub, topics);
  }

  /**
   * @param {Hub} hub
   * @param {string[]} topics
   */
  async #run(hub, topics) {
    const start = performance.now();
    for (let n = 0; !this.#ended; ) {
      // As many as are due by now, in one request, so that a slow machine keeps the rate.
      const due = Math.floor(((performance.now() - start) * EVENTS_PER_SECOND) / 1000);
      const lines = [];
      for (; n < due && lines.length < 100; n += 1) {
        const name = /** @type {string} */ (topics[n % topics.length]);
        lines.push(JSON.stringify({ topics: [name], data: String(n) }));
        const data = this.published.get(name) ?? [];
        this.published.set(name, data);
        data.push(String(n));
      }
      if (lines.length > 0) {
        const headers = { "Content-Type": "application/x-ndjson" };
        const response = await fetch(hub.mercure, { method: "POST", headers, body: lines.join("\n") });
        assert.equal(response.status, 200, await response.text());
      } else {
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
    }
  }

  async stop() {
    this.#ended = true;
    await this.#done;
  }
}

/**
 * Each tab has got all that was published to its topic, once and in order.
 *
 * @param {Publisher} publisher
 * @param {[Page, string][]} tabs with their topics
 */
async function checkAll(publisher, tabs) {
  for (const [page, name] of tabs) {
    const published = publisher.published.get(name) ?? [];
    assert.ok(published.length > 0);
    const seen = () => /** @type {Promise<string[]>} */ (page.evaluate(`seen[${JSON.stringify(name)}]`));
    await until("the last event", async () => (await seen()).at(-1) === published.at(-1)).catch(async (error) => {
      const log = await page.evaluate("JSON.stringify(log.slice(-10))");
      throw new Error(`${error.message}: ${(await seen()).at(-1)} of ${published.at(-1)}; ${log}`);
    });
    const got = await seen();
    if (got.join() === published.join()) continue;
    const numbers = got.map(Number);
    const lost = published.filter((data) => !got.includes(data));
    const repeated = got.length - new Set(got).size;
    const outOfOrder = numbers.filter((number, at) => at > 0 && number < Number(numbers[at - 1])).length;
    assert.fail(`${name}: ${lost.length} lost (${lost.slice(0, 5)} …), ${repeated} repeated, ${outOfOrder} out of order; ${await page.evaluate("JSON.stringify(log.slice(-20))")}`);
  }
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

test("thirty tabs with ten topics each are live on one connection, and a fetch is answered at once", async (t) => {
  const { hub, tabs } = await tabsOf(t, 30);
  for (const [n, page] of tabs.entries()) {
    for (let m = 0; m < 10; m += 1) await watch(page, [topic(`${n}/${m}`)]);
  }
  for (const page of tabs) await opened(page);
  assert.equal(await hub.subscribers(), 1);
  for (let n = 0; n < tabs.length; n += 1) {
    for (let m = 0; m < 10; m += 1) await hub.publish({ topic: topic(`${n}/${m}`), data: `${n} ${m}` });
  }
  for (const [n, page] of tabs.entries()) {
    await until("each topic's event", async () => {
      const seen = /** @type {Record<string, string[]>} */ (await page.evaluate("seen"));
      return Array.from({ length: 10 }, (_, m) => seen[topic(`${n}/${m}`)]?.join() === `${n} ${m}`).every(Boolean);
    });
    assert.equal(await page.evaluate("Object.values(seen).flat().length"), 10);
    assert.equal(await page.evaluate(`fetch("/healthz").then(({ status }) => status)`), 200);
  }
  assert.equal(await hub.subscribers(), 1);
  const told = /** @type {any} */ (await tabs[7]?.evaluate("sharing()"));
  assert.deepEqual([told.tabs, told.connections], [30, 1]);
});

test("topics come and go under load, and nobody misses or repeats an event", async (t) => {
  const { hub, tabs } = await tabsOf(t, 2);
  const [first, second] = /** @type {[Page, Page]} */ (tabs);
  await watch(first, [topic("a")]);
  await opened(first);
  const publisher = new Publisher(hub, [topic("a"), topic("b"), topic("c")]);
  t.after(() => publisher.stop());
  for (let round = 0; round < 5; round += 1) {
    await second.evaluate(`watch(["${topic("b")}"])`);
    await opened(second);
    await second.evaluate(`(sources.pop().close(), watch(["${topic("c")}"]))`);
    await opened(second);
    await second.evaluate("sources.pop().close()");
  }
  await publisher.stop();
  await checkAll(publisher, [[first, topic("a")]]);
  // The second got parts: each without a hole inside, and nothing before it joined.
  assert.equal(await hub.subscribers(), 1);
});

test("a listener gets only what came after it joined", async (t) => {
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

test("a listener whose topic is refused costs the others nothing", async (t) => {
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

/**
 * What can happen to the tab that created the worker. `back` brings it back, if it can be.
 *
 * @type {Record<string, (page: Page) => Promise<(() => Promise<unknown>) | null>>}
 */
const faults = {
  closed: async (page) => {
    await page.close();
    return null;
  },
  crashed: async (page) => {
    const session = await page.context().newCDPSession(page);
    const gone = new Promise((resolve) => page.once("crash", resolve));
    session.send("Page.crash").catch(() => {});
    await gone;
    return null;
  },
  frozen: async (page) => {
    const session = await page.context().newCDPSession(page);
    await session.send("Page.setWebLifecycleState", { state: "frozen" });
    return () => session.send("Page.setWebLifecycleState", { state: "active" });
  },
  "sent to the back/forward cache": async (page) => {
    await page.goto(`${new URL(page.url()).origin}/readyz`);
    return () => page.goBack({ waitUntil: "commit" });
  },
};

for (const [name, fault] of Object.entries(faults)) {
  test(`the tab that holds the connection is ${name}: nothing is lost, repeated or reordered`, async (t) => {
    const hub = await Hub.start(t);
    /** @type {number[]} */
    const silences = [];
    for (let round = 0; round < ROUNDS; round += 1) {
      // A worker of its own for each round, so that it is always the creator that it happens to.
      const context = await browser.newContext();
      const creator = await tabOf(context, hub);
      await watch(creator, [topic(0), topic("own")]);
      await opened(creator);
      /** @type {[Page, string][]} */
      const others = [[await tabOf(context, hub), topic(1)], [await tabOf(context, hub), topic(2)]];
      for (const [page, one] of others) await watch(page, [one]);
      for (const [page] of others) await opened(page);
      const publisher = new Publisher(hub, [topic(0), topic(1), topic(2)]);
      try {
        const [[any, one]] = /** @type {[[Page, string]]} */ (others);
        const more = async (/** @type {number} */ count) => {
          const before = Number(await any.evaluate(`seen["${one}"].length`));
          await until("events", async () => Number(await any.evaluate(`seen["${one}"].length`)) >= before + count);
        };
        await more(20);
        for (const [page] of others) await page.evaluate("gaps.length = 0");
        const back = await fault(creator);
        await more(50);
        for (const [page] of others) silences.push(Number(await page.evaluate("Math.max(...gaps)")));
        if (name === "crashed") {
          for (const [page] of others) assert.ok(await page.evaluate("log.some((line) => line.includes('is gone'))"));
        }
        await back?.();
        if (back) await more(20);
        await until("one connection", async () => (await hub.subscribers()) === 1);
        await publisher.stop();
        await checkAll(publisher, back ? [...others, [creator, topic(0)]] : others);
      } finally {
        await publisher.stop();
        await context.close();
      }
    }
    t.diagnostic(`${ROUNDS} rounds; longest silence of each other tab: p50 ${Math.round(middle(silences))} ms, max ${Math.round(Math.max(...silences))} ms`);
  });
}

test("the hub is killed and started again: all tabs are told of the reset, and go on", async (t) => {
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

test("where there are no locks, a crash is noticed by the silence, and nothing is lost", async (t) => {
  const { hub, context } = await tabsOf(t, 0);
  await context.addInitScript("delete Navigator.prototype.locks");
  const creator = await tabOf(context, hub);
  await watch(creator, [topic("own")]);
  await opened(creator);
  const page = await tabOf(context, hub);
  assert.equal(await page.evaluate("navigator.locks"), undefined);
  await watch(page, [topic(1)]);
  await opened(page);
  const publisher = new Publisher(hub, [topic(1)]);
  t.after(() => publisher.stop());
  await until("events", () => page.evaluate(`seen["${topic(1)}"].length > 50`));
  await page.evaluate("gaps.length = 0");
  await faults.crashed?.(creator);
  await until("it is noticed", () => page.evaluate("log.some((line) => line.includes('is gone'))"));
  await publisher.stop();
  await checkAll(publisher, [[page, topic(1)]]);
  t.diagnostic(`silence ${Math.round(Number(await page.evaluate("Math.max(...gaps)")))} ms`);
});

test("where there is no SharedWorker, each tab has its own stream, and one warning", async (t) => {
  const { hub, context } = await tabsOf(t, 0);
  await context.addInitScript("delete window.SharedWorker");
  /** @type {string[]} */
  const warnings = [];
  context.on("console", (message) => message.type() === "warning" && warnings.push(message.text()));
  const page = await tabOf(context, hub);
  await watch(page, [topic("a")]);
  await watch(page, [topic("b")]);
  await opened(page);
  assert.equal(await hub.subscribers(), 2);
  assert.equal(warnings.length, 1, warnings.join());
  await hub.publish({ topic: topic("b"), data: "1" });
  await until("the event", () => page.evaluate(`seen["${topic("b")}"].length === 1`));
});

test("a worker whose script can't be loaded is no end: each tab has its own stream", async (t) => {
  const { hub, tabs } = await tabsOf(t, 1);
  const [page] = /** @type {[Page]} */ (tabs);
  await watch(page, [topic("a")], `{ worker: "/nothing/is/here.js" }`);
  await opened(page);
  assert.equal(await hub.subscribers(), 1);
});

test("a shared stream of any URL is shared too, and asks a tab for a new token when the old one ends", async (t) => {
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
  const context = await browser.newContext();
  t.after(() => context.close());
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

/** @param {number[]} numbers */
function middle(numbers) {
  return Number(numbers.sort((a, b) => a - b)[Math.floor(numbers.length / 2)]);
}
