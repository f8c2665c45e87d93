// "auto": shared over HTTP/1.1, and a stream for each tab over HTTP/2.

import assert from "node:assert/strict";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createSecureServer } from "node:http2";
import { createServer } from "node:https";
import { describe, test } from "node:test";
import { Authority } from "../../e2e/authority.js";
import { until } from "../../e2e/until.js";
import { BROWSERS, browserOf } from "./browsers.js";

const trusted = new Authority();

/**
 * A server of the package and of a stream.
 *
 * @param {import("node:test").TestContext} t at whose end it is removed
 * @param {"h2" | "http/1.1"} protocol
 * @param {Authority} authority
 */
async function serve(t, protocol, authority) {
  const about = { origin: "", open: 0 };
  const create = /** @type {typeof createSecureServer} */ (protocol === "h2" ? createSecureServer : createServer);
  const server = create(authority.issue(), (request, response) => {
    const name = request.url.match(/^\/tidings\/browser\/([\w-]+\.js)$/)?.[1];
    // Each request on a new connection: no request uses a connection of an earlier one.
    if (protocol === "http/1.1") response.setHeader("connection", "close");
    if (request.url === "/sse" && request.method === "GET") {
      about.open += 1;
      response.on("close", () => (about.open -= 1));
      response.writeHead(200, { "content-type": "text/event-stream" });
      return void response.write("data: a\n\n");
    }
    response.setHeader("content-type", name ? "text/javascript" : "text/html");
    response.end(name ? readFileSync(new URL(`../${name}`, import.meta.url)) : "<!doctype html>");
  });
  server.listen(0, "localhost");
  await once(server, "listening");
  t.after(() => void server.close());
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("no port");
  about.origin = `https://localhost:${address.port}`;
  return about;
}

/**
 * Opens the stream in a page, and waits for it.
 *
 * @param {import("./browsers.js").Page} page
 * @param {boolean | "auto"} shared
 */
async function open(page, shared) {
  await page.evaluate(`(async () => {
    const { default: EventSourceWrapper } = await import("/tidings/browser/index.js");
    window.source = new EventSourceWrapper("/sse", { shared: ${JSON.stringify(shared)} });
  })()`);
  await until("it is open", () => page.evaluate("source.readyState === 1"));
}

for (const browserName of BROWSERS) {
  describe(`in ${browserName}`, () => {
    const browser = browserOf(browserName, trusted);

    for (const [protocol, shared, streams] of /** @type {const} */ ([["h2", "auto", 2], ["h2", true, 1], ["http/1.1", "auto", 1]])) {
      test(`over ${protocol}, two tabs with shared: ${shared} have ${streams} streams`, async (t) => {
        const server = await serve(t, protocol, trusted);
        const context = await browser.newContext(t);
        for (let n = 0; n < 2; n += 1) {
          const page = await context.newPage();
          await page.goto(server.origin);
          assert.equal(await page.evaluate("performance.getEntriesByType('navigation')[0].nextHopProtocol"), protocol);
          await open(page, shared);
        }
        assert.equal(server.open, streams);
      });
    }
  });
}

describe("in Chromium, after a visitor accepted the warning about a certificate", () => {
  const browser = browserOf("Chromium");
  test("each tab has its own stream, and the console says why: its worker is refused", async (t) => {
    const server = await serve(t, "http/1.1", new Authority());
    const context = await browser.newContext(t);
    const pages = [await context.newPage(), await context.newPage()];
    const [first] = /** @type {import("../../e2e/node_modules/playwright-core/index.js").Page[]} */ (/** @type {unknown} */ (pages));
    assert.ok(first);
    await assert.rejects(first.goto(server.origin), /ERR_CERT_AUTHORITY_INVALID/);
    await first.locator("#details-button").click();
    await first.locator("#proceed-link").click();
    await first.waitForURL(`${server.origin}/`);
    for (const page of pages) {
      /** @type {string[]} */
      const warnings = [];
      page.on("console", (message) => message.type() === "warning" && warnings.push(message.text()));
      await page.goto(server.origin);
      await open(page, true);
      assert.deepEqual(warnings, ["each tab has its own stream: cannot load the SharedWorker"]);
    }
    assert.equal(server.open, 2);
  });
});
