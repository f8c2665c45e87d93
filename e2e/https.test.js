// Many streams over one HTTP/2 connection, in a real browser.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Authority } from "./authority.js";
import { launch } from "./chromium.js";
import { Hub } from "./hub.js";

const STREAMS = 200;
const authority = new Authority();

/** @type {import("playwright-core").Browser} */
let browser;
before(async () => {
  browser = await launch(authority);
});
after(() => browser.close());

test(`${STREAMS} streams share one connection, all are live, and a fetch is answered at once`, async (t) => {
  const { cert, key } = authority.issue().files;
  const hub = await Hub.start(t, { flags: ["--tls-cert", cert, "--tls-key", key] });
  const context = await browser.newContext();
  t.after(() => context.close());
  const page = await context.newPage();
  await page.goto(hub.url("/healthz"));

  const { live, status, protocols } = await page.evaluate(async (count) => {
    const path = "/.well-known/mercure";
    const streams = Array.from({ length: count }, (_, n) => new EventSource(`${path}?topic=all&topic=${n}`));
    const each = (/** @type {string} */ type) =>
      Promise.all(
        streams.map(
          (stream) => new Promise((resolve) => stream.addEventListener(type, (event) => resolve(event), { once: true })),
        ),
      );
    await each("open");
    const events = each("message");
    const answer = await fetch(path, { method: "POST", body: new URLSearchParams({ topic: "all", data: "good" }) });
    const live = (await events).filter((event) => event.data === "good").length;
    const entries = performance.getEntriesByType("resource").concat(performance.getEntriesByType("navigation"));
    const protocols = [...new Set(entries.map((entry) => Reflect.get(entry, "nextHopProtocol")).filter(Boolean))];
    for (const stream of streams) stream.close();
    return { live, status: answer.status, protocols };
  }, STREAMS);

  assert.equal(live, STREAMS);
  assert.equal(status, 200);
  assert.deepEqual(protocols, ["h2"]);
});
