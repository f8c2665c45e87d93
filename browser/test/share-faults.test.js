// Faults of the tab that holds the shared connection, in Chromium, whose driver can cause them: every other tab gets
// every event of its topics once and in order.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { launch } from "../../e2e/chromium.js";
import { Hub } from "../../e2e/hub.js";
import { until } from "../../e2e/until.js";
import { checkAll, opened, Publisher, tabOf, topic, watch } from "./tabs.js";

/** How often each fault is met. */
const ROUNDS = Number(process.env.TIDINGS_TAB_FAULTS ?? 2);

/**
 * @typedef {import("../../e2e/node_modules/playwright-core/index.js").Page} Page
 * @typedef {import("../../e2e/node_modules/playwright-core/index.js").BrowserContext} Context
 */

/** @type {import("../../e2e/node_modules/playwright-core/index.js").Browser} */
let browser;
before(async () => {
  browser = await launch();
});
after(() => browser?.close());

const tabIn = /** @type {(context: Context, hub: Hub, first?: string) => Promise<Page>} */ (/** @type {unknown} */ (tabOf));

/**
 * Faults of the tab that created the worker. `back` restores the tab, if this is possible.
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
  // The lifecycle state "frozen" does not stop visible pages, and without a screen all pages are visible. A debugger's
  // pause does: no task of the page runs, and its worker continues.
  frozen: async (page) => {
    const session = await page.context().newCDPSession(page);
    await session.send("Debugger.enable");
    const paused = new Promise((resolve) => session.once("Debugger.paused", resolve));
    await session.send("Debugger.pause");
    page.evaluate("0").catch(() => {});
    await paused;
    return () => session.send("Debugger.disable");
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
      // A new worker for each round, so that the fault always happens to the tab that created it.
      const context = await browser.newContext();
      const creator = await tabIn(context, hub);
      await watch(creator, [topic(0), topic("own")]);
      await opened(creator);
      /** @type {[Page, string][]} */
      const others = [[await tabIn(context, hub), topic(1)], [await tabIn(context, hub), topic(2)]];
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
          for (const [page] of others) assert.ok(await page.evaluate("log.some((line) => line.includes('the SharedWorker stopped'))"));
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

test("without locks, a crash is noticed by the missing heartbeat, and nothing is lost", async (t) => {
  const hub = await Hub.start(t);
  const context = await browser.newContext();
  t.after(() => context.close());
  const noLocks = "delete Navigator.prototype.locks";
  const creator = await tabIn(context, hub, noLocks);
  await watch(creator, [topic("own")]);
  await opened(creator);
  const page = await tabIn(context, hub, noLocks);
  assert.equal(await page.evaluate("navigator.locks"), undefined);
  await watch(page, [topic(1)]);
  await opened(page);
  const publisher = new Publisher(hub, [topic(1)]);
  t.after(() => publisher.stop());
  await until("events", () => page.evaluate(`seen["${topic(1)}"].length > 50`));
  await page.evaluate("gaps.length = 0");
  await faults.crashed?.(creator);
  await until("it is noticed", () => page.evaluate("log.some((line) => line.includes('the SharedWorker stopped'))"));
  await publisher.stop();
  await checkAll(publisher, [[page, topic(1)]]);
  t.diagnostic(`silence ${Math.round(Number(await page.evaluate("Math.max(...gaps)")))} ms`);
});

/**
 * @param {Hub} hub
 * @param {string} name of the topic
 * @param {number} count
 */
async function publishMany(hub, name, count) {
  const lines = Array.from({ length: count }, (_, n) => JSON.stringify({ topics: [name], data: String(n) }));
  const headers = { "Content-Type": "application/x-ndjson" };
  // A hub accepts 1000 in one request.
  for (let at = 0; at < count; at += 1000) {
    const response = await fetch(hub.mercure, { method: "POST", headers, body: lines.slice(at, at + 1000).join("\n") });
    assert.equal(response.status, 200, await response.text());
  }
}

/** @param {number} count */
const upTo = (count) => Array.from({ length: count }, (_, n) => n).join();

test("32 Mi characters are kept for a frozen tab, which catches up on the rest itself", async (t) => {
  const hub = await Hub.start(t);
  const context = await browser.newContext();
  t.after(() => context.close());
  const page = await tabIn(context, hub);
  await watch(page, [topic("large")]);
  await opened(page);
  const back = await faults.frozen?.(page);
  const [count, size] = [40, 900_000];
  for (let n = 0; n < count; n += 1) await hub.publish({ topic: topic("large"), data: `${n} ${"x".repeat(size)}` });
  // No other tab listens, so the stream ends with this tab.
  await until("it is dropped", async () => (await hub.subscribers()) === 0);
  await back?.();
  const seen = () => page.evaluate(`seen["${topic("large")}"].map((data) => parseInt(data)).join()`);
  await until("the last event", async () => (await seen()).endsWith(`,${count - 1}`));
  assert.equal(await seen(), upTo(count));
  assert.equal(await page.evaluate(`seen["${topic("large")}"].every((data) => data.length > ${size})`), true);
  assert.ok(await page.evaluate("log.some((line) => line.includes('did not take its events in time'))"));
  await until("one connection", async () => (await hub.subscribers()) === 1);
});

test("a tab that returns when the stream is 2000 events ahead gets all of its events, on its own stream", async (t) => {
  const hub = await Hub.start(t);
  const context = await browser.newContext();
  t.after(() => context.close());
  const [stays, leaves] = [await tabIn(context, hub), await tabIn(context, hub)];
  for (const [page, name] of /** @type {const} */ ([[stays, "a"], [leaves, "b"]])) {
    await watch(page, [topic(name)]);
    await opened(page);
    await publishMany(hub, topic(name), 1);
    await until("the first event", () => page.evaluate(`seen["${topic(name)}"].length === 1`));
  }
  const back = await faults["sent to the back/forward cache"]?.(leaves);
  for (const [page, name] of /** @type {const} */ ([[stays, "a"], [leaves, "b"]])) {
    await publishMany(hub, topic(name), 2500);
    if (page === stays) await until("all events", () => page.evaluate(`seen["${topic(name)}"].length === 2501`));
  }
  await back?.();
  for (const [page, name] of /** @type {const} */ ([[stays, "a"], [leaves, "b"]])) {
    const seen = () => page.evaluate(`seen["${topic(name)}"].join()`);
    await until("all events", async () => (await seen()).endsWith(",2499"));
    assert.equal(await seen(), `0,${upTo(2500)}`);
  }
  assert.equal(await hub.subscribers(), 2);
});

/** @param {number[]} numbers */
function middle(numbers) {
  return Number(numbers.sort((a, b) => a - b)[Math.floor(numbers.length / 2)]);
}
