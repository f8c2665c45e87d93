// What sharing adds to an event's way: a shared tab beside one with a stream of its own, with one
// hub, in one run. `node bench/latency.js`; TIDINGS names the hub's binary, CHROMIUM the browser's.

import { launch } from "../../e2e/chromium.js";
import { Hub } from "../../e2e/hub.js";
import { until } from "../../e2e/until.js";

const EVENTS = 1000;
const PAUSE_MS = 10;
const TOPIC = "https://example.com/latency";

/** @type {(() => unknown)[]} */
const ends = [];
const test = /** @type {any} */ ({ after: (/** @type {() => unknown} */ end) => ends.push(end) });
const browser = await launch();
const hub = await Hub.start(test);
const context = await browser.newContext();

/** @param {string} options */
async function tab(options) {
  const page = await context.newPage();
  await page.goto(hub.url("/healthz"));
  await page.evaluate(`(async () => {
    const { default: EventSourceWrapper } = await import("/tidings/browser/index.js");
    window.delays = [];
    window.source = new EventSourceWrapper("/.well-known/mercure", { topics: ["${TOPIC}"], ...${options} });
    source.onMessage(({ data }) => delays.push(performance.timeOrigin + performance.now() - Number(data)));
  })()`);
  await until("it is open", () => page.evaluate("source.readyState === 1"));
  return page;
}

// The tab that creates the worker is another one than the one that is measured.
await tab("{ shared: true }");
const pages = { direct: await tab("{ shared: false }"), shared: await tab("{ shared: true }") };
for (let n = 0; n < EVENTS; n += 1) {
  await hub.publish({ topic: TOPIC, data: String(performance.timeOrigin + performance.now()) });
  await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
}
/** @type {Record<string, number[]>} */
const delays = {};
for (const [name, page] of Object.entries(pages)) {
  await until("all events", () => page.evaluate(`delays.length === ${EVENTS}`));
  delays[name] = /** @type {number[]} */ (await page.evaluate("delays")).sort((a, b) => a - b);
}
for (const part of [0.5, 0.95, 0.99]) {
  const [direct, shared] = ["direct", "shared"].map((name) => Number(delays[name]?.[Math.floor(EVENTS * part)]));
  console.log(`p${part * 100}: direct ${direct?.toFixed(2)} ms, shared ${shared?.toFixed(2)} ms, added ${(Number(shared) - Number(direct)).toFixed(2)} ms`);
}
for (const end of ends) await end();
await browser.close();
