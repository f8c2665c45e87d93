// "auto": shared over HTTP/1.1, and a stream for each tab over HTTP/2.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createSecureServer } from "node:http2";
import { createServer } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { launch } from "../../e2e/chromium.js";
import { until } from "../../e2e/until.js";

/** @type {import("../../e2e/node_modules/playwright-core/index.js").Browser} */
let browser;
before(async () => {
  browser = await launch();
});
after(() => browser.close());

/** @param {import("node:test").TestContext} t */
function certificate(t) {
  const folder = mkdtempSync(join(tmpdir(), "tidings-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const [key, cert] = [join(folder, "key.pem"), join(folder, "cert.pem")];
  const subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"];
  execFileSync("openssl", ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-keyout", key, "-out", cert, ...subject], { stdio: "pipe" });
  return { key: readFileSync(key), cert: readFileSync(cert) };
}

for (const [protocol, shared, streams] of /** @type {const} */ ([["h2", "auto", 2], ["h2", true, 1], ["http/1.1", "auto", 1]])) {
  test(`over ${protocol}, two tabs with shared: ${shared} have ${streams} streams`, async (t) => {
    let open = 0;
    const create = /** @type {typeof createSecureServer} */ (protocol === "h2" ? createSecureServer : createServer);
    const server = create(certificate(t), (request, response) => {
      const name = request.url.match(/^\/tidings\/browser\/([\w-]+\.js)$/)?.[1];
      if (request.url === "/sse" && request.method === "GET") {
        open += 1;
        response.on("close", () => (open -= 1));
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
    const context = await browser.newContext({ ignoreHTTPSErrors: true });
    t.after(() => context.close());
    for (let n = 0; n < 2; n += 1) {
      const page = await context.newPage();
      await page.goto(`https://localhost:${address.port}/`);
      assert.equal(await page.evaluate("performance.getEntriesByType('navigation')[0].nextHopProtocol"), protocol);
      await page.evaluate(`(async () => {
        const { default: EventSourceWrapper } = await import("/tidings/browser/index.js");
        window.source = new EventSourceWrapper("/sse", { shared: ${JSON.stringify(shared)} });
      })()`);
      await until("it is open", () => page.evaluate("source.readyState === 1"));
    }
    assert.equal(open, streams);
  });
}
