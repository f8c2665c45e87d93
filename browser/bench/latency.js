// The latency that sharing adds: a shared tab compared with a tab that has its own stream, with one hub, in one run.
// `node bench/latency.js`; TIDINGS names the hub's binary, CHROMIUM the browser's.

import { launch } from "../../e2e/chromium.js";
import { Hub } from "../../e2e/hub.js";
import { until } from "../../e2e/until.js";

const ROUNDS = 5;
const EVENTS = 300;
const PAUSE_MS = 10;
const PARTS = [0.5, 0.95, 0.99];
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

// The tab that creates the worker is not the measured one. Both get each event, so that other load on the machine
// affects both.
await tab("{ shared: true }");
const pages = [await tab("{ shared: false }"), await tab("{ shared: true }")];
/** @type {number[][][]} by part, then round: direct, shared */
const rounds = [[], [], []];
for (let round = 1; round <= ROUNDS; round += 1) {
  for (let n = 0; n < EVENTS; n += 1) {
    await hub.publish({ topic: TOPIC, data: String(performance.timeOrigin + performance.now()) });
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
  }
  /** @type {number[][]} */
  const delays = [];
  for (const page of pages) {
    await until("all events", () => page.evaluate(`delays.length === ${EVENTS}`));
    delays.push(/** @type {number[]} */ (await page.evaluate("delays.splice(0)")).sort((a, b) => a - b));
  }
  PARTS.forEach((part, n) => rounds[n]?.push(delays.map((sorted) => Number(sorted[Math.floor(EVENTS * part)]))));
}
PARTS.forEach((part, n) => {
  const middle = (/** @type {(round: number[]) => number} */ of) => Number(rounds[n]?.map(of).sort((a, b) => a - b)[Math.floor(ROUNDS / 2)]).toFixed(2);
  const [direct, shared, added] = [middle(([one]) => Number(one)), middle(([, two]) => Number(two)), middle(([one, two]) => Number(two) - Number(one))];
  console.log(`p${part * 100}: direct ${direct} ms, shared ${shared} ms, added ${added} ms (median of ${ROUNDS} rounds)`);
});
for (const end of ends) await end();
await browser.close();
