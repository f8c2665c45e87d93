// Tabs that listen to a hub's topics, events that are published meanwhile, and a check that each tab got all of its
// events once and in order.

import assert from "node:assert/strict";
import { until } from "../../e2e/until.js";

/** Published meanwhile. */
const EVENTS_PER_SECOND = 200;

/**
 * @typedef {import("../../e2e/hub.js").Hub} Hub
 * @typedef {import("./browsers.js").Page} Page
 * @typedef {import("./browsers.js").Context} Context
 */

/** @param {number | string} name */
export const topic = (name) => `https://example.com/${name}`;

/** `watch(topics, options)`: a source; its events are written down in `seen`, by topic, the rest in `log`. */
const WATCH = `
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
  window.ready = true;`;

/**
 * @param {Context} context
 * @param {Hub} hub
 * @param {string} [first] a script that runs before
 * @returns {Promise<Page>}
 */
export async function tabOf(context, hub, first = "") {
  const page = await context.newPage();
  // The name that counts as secure, and speaks HTTP/1.1 alone.
  await page.goto(hub.url("/healthz").replace("127.0.0.1", "localhost"));
  await page.evaluate(`${first}; undefined`);
  await page.addScriptTag({ type: "module", content: WATCH });
  await page.waitForFunction("window.ready");
  return page;
}

/**
 * @param {Page} page
 * @param {string[]} topics
 * @param {string} [options]
 */
export async function watch(page, topics, options = "{}") {
  await page.evaluate(`watch(${JSON.stringify(topics)}, ${options}); undefined`);
}

/** @param {Page} page */
export async function opened(page) {
  await until("all sources are open", () => page.evaluate("sources.every(({ readyState }) => readyState === 1)")).catch(async (error) => {
    throw new Error(`${error.message}: ${await page.evaluate("JSON.stringify(log.slice(-10))")}`);
  });
}

/** Publishes numbers to topics in turn, at a steady rate, until it is stopped. */
export class Publisher {
  /** @type {Map<string, string[]>} */
  published = new Map();
  #ended = false;
  #done;

  /**
   * @param {Hub} hub
   * @param {string[]} topics
   * @param {{ headers?: Record<string, string>, update?: object }} [more] in each request, and in each update
   */
  constructor(hub, topics, more = {}) {
    this.#done = this.#run(hub, topics, more);
    // `stop` reports the failure.
    this.#done.catch(() => {});
  }

  /**
   * @param {Hub} hub
   * @param {string[]} topics
   * @param {{ headers?: Record<string, string>, update?: object }} more
   */
  async #run(hub, topics, { headers, update }) {
    const start = performance.now();
    for (let n = 0; !this.#ended; ) {
      // As many as are due by now, in one request, so that a slow machine keeps the rate.
      const due = Math.floor(((performance.now() - start) * EVENTS_PER_SECOND) / 1000);
      const lines = [];
      for (; n < due && lines.length < 100; n += 1) {
        const name = /** @type {string} */ (topics[n % topics.length]);
        lines.push(JSON.stringify({ topics: [name], data: String(n), ...update }));
        const data = this.published.get(name) ?? [];
        this.published.set(name, data);
        data.push(String(n));
      }
      if (lines.length > 0) {
        const response = await fetch(hub.mercure, {
          method: "POST",
          headers: { "Content-Type": "application/x-ndjson", ...headers },
          body: lines.join("\n"),
        });
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
 * Each tab has received everything published to its topic, once and in order.
 *
 * @param {Publisher} publisher
 * @param {[Page, string][]} tabs with their topics
 */
export async function checkAll(publisher, tabs) {
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
