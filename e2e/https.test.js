// Many streams over one connection, in a real browser: what HTTP/2 is for.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { launch } from "./chromium.js";
import { Hub } from "./hub.js";

const STREAMS = 200;

/** @type {import("playwright-core").Browser} */
let browser;
before(async () => {
  browser = await launch();
});
after(() => browser.close());

/**
 * A certificate for localhost, and its key, until the test ends.
 *
 * @param {import("node:test").TestContext} test
 */
function certificate(test) {
  const folder = mkdtempSync(join(tmpdir(), "tidings-https-"));
  test.after(() => rmSync(folder, { recursive: true }));
  const [cert, key] = [join(folder, "cert.pem"), join(folder, "key.pem")];
  const curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
  const name = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-days", "2"];
  execFileSync("openssl", ["req", "-x509", ...curve, ...name, "-keyout", key, "-out", cert], { stdio: "pipe" });
  return ["--tls-cert", cert, "--tls-key", key];
}

test(`${STREAMS} streams share one connection, all are live, and a fetch is answered at once`, async (t) => {
  const hub = await Hub.start(t, { flags: certificate(t) });
  const context = await browser.newContext({ ignoreHTTPSErrors: true });
  t.after(() => context.close());
  const page = await context.newPage();
  await page.goto(hub.origin);

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
