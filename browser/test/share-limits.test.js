// Sharing behind a proxy that accepts only short URLs: in front of a real hub, a server imitates the limit and the
// refusal of nginx, Apache or Tomcat.

import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, request as ask } from "node:http";
import { describe, test } from "node:test";
import { Hub } from "../../e2e/hub.js";
import { until } from "../../e2e/until.js";
import { browserOf } from "./browsers.js";
import { opened, tabOf, topic, watch } from "./tabs.js";

/** @typedef {import("./browsers.js").Page} Page */

/**
 * @param {import("node:test").TestContext} t
 * @param {Hub} hub
 * @param {{ bytesMax: number, status: number, isAway?: boolean }} limit of the request's head; or the hub is unreachable
 */
async function limited(t, hub, limit) {
  /** @type {{ streams: number, refused: number, longest: number }} */
  const seen = { streams: 0, refused: 0, longest: 0 };
  const server = createServer({ maxHeaderSize: 128 * 1024 }, (request, response) => {
    const line = `${request.method} ${request.url} HTTP/1.1\r\n`;
    if (limit.isAway && request.url?.startsWith("/.well-known/mercure")) {
      seen.refused += 1;
      return void request.socket.destroy();
    }
    if (line.length > limit.bytesMax) {
      seen.refused += 1;
      if (limit.status === 0) return void request.socket.destroy();
      return void response.writeHead(limit.status, { "Content-Type": "text/html" }).end("<h1>Too long</h1>");
    }
    if (request.url?.includes("topic=")) seen.longest = Math.max(seen.longest, line.length);
    const { hostname, port } = new URL(hub.origin);
    const inner = ask({ hostname, port, path: request.url, method: request.method, headers: request.headers }, (answer) => {
      response.writeHead(Number(answer.statusCode), answer.headers).flushHeaders();
      answer.pipe(response).on("error", () => {});
    });
    inner.on("error", () => response.destroy());
    response.on("close", () => inner.destroy());
    request.pipe(inner);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => (server.closeAllConnections(), server.close()));
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("no port");
  const { port } = address;
  /** @type {any} */
  const front = { url: (/** @type {string} */ path) => `http://127.0.0.1:${port}${path}` };
  return { front, seen };
}

describe("in Chromium", { concurrency: 2 }, () => {
  const browser = browserOf("Chromium");

  /** @param {Page[]} tabs @param {Hub} hub @param {string[][]} topics */
  async function checkEach(tabs, hub, topics) {
    for (const [n, page] of tabs.entries()) {
      for (const name of topics[n] ?? []) await hub.publish({ topic: name, data: "x" });
      await until("each topic's event", async () => {
        const seen = JSON.parse(await page.evaluate("JSON.stringify(seen)"));
        return (topics[n] ?? []).every((name) => seen[name]?.join() === "x");
      });
    }
  }

  test("many short lists become streams whose URLs pass nginx's 8 KiB, and no source is lost", async (t) => {
    const hub = await Hub.start(t);
    const { front, seen } = await limited(t, hub, { bytesMax: 8192, status: 414 });
    const context = await browser.newContext(t);
    /** @type {Page[]} */
    const tabs = [];
    const topics = [];
    for (let n = 0; n < 3; n += 1) {
      const page = await tabOf(context, front);
      tabs.push(page);
      // 80 sources of one long topic each: 6 KB of URL for each tab.
      const own = Array.from({ length: 80 }, (_, m) => topic(`${n}/${m}/${"long".repeat(6)}`));
      topics.push(own);
      await page.evaluate(`for (const topic of ${JSON.stringify(own)}) watch([topic]); undefined`);
      await opened(page);
    }
    await checkEach(tabs, hub, topics.map((own) => [own[0], own[41], own[79]].map(String)));
    const streams = await hub.subscribers();
    t.diagnostic(`${streams} streams, the longest request line has ${seen.longest} bytes, ${seen.refused} refused`);
    assert.ok(streams >= 3 && streams <= 4, String(streams));
  });

  // 0: the connection is closed without an answer.
  for (const [status, bytesMax] of /** @type {const} */ ([[414, 4096], [431, 3000], [400, 4096], [0, 8192]])) {
    test(`if shorter URLs are required (${status} above ${bytesMax} bytes), URLs become shorter, and no source is lost or silent`, async (t) => {
      const hub = await Hub.start(t);
      const { front, seen } = await limited(t, hub, { bytesMax, status });
      const context = await browser.newContext(t);
      const [first, second] = [await tabOf(context, front), await tabOf(context, front)];
      // The first is live before the list gets too long for the proxy.
      await watch(first, [topic("first")]);
      await opened(first);
      await hub.publish({ topic: topic("first"), data: "1" });
      const own = Array.from({ length: 240 }, (_, m) => topic(m));
      await second.evaluate(`for (const topic of ${JSON.stringify(own)}) watch([topic]); undefined`);
      for (let n = 2; n <= 20; n += 1) await hub.publish({ topic: topic("first"), data: String(n) });
      await opened(second);
      await opened(first);
      await checkEach([second], hub, [[own[0], own[120], own[239]].map(String)]);
      await until("all of the first", async () => (await first.evaluate(`seen["${topic("first")}"].length`)) >= 20);
      assert.deepEqual(await first.evaluate(`seen["${topic("first")}"]`), Array.from({ length: 20 }, (_, n) => String(n + 1)));
      for (const page of [first, second]) assert.equal(await page.evaluate("log.filter((line) => line.startsWith('close')).length"), 0);
      const streams = await hub.subscribers();
      t.diagnostic(`${streams} streams, the longest request line has ${seen.longest} bytes, ${seen.refused} refused`);
      assert.ok(streams <= 6, String(streams));
    });
  }

  test("a hub that is unreachable at the start does not make the tab open its own stream", async (t) => {
    const hub = await Hub.start(t);
    const limit = { bytesMax: 64 * 1024, status: 414, isAway: true };
    const { front, seen } = await limited(t, hub, limit);
    const page = await tabOf(await browser.newContext(t), front);
    // Together more than half of the limit of a stream's URL.
    const own = Array.from({ length: 10 }, (_, n) => Array.from({ length: 20 }, (_, m) => topic(`${n}/${m}/${"long".repeat(5)}`)));
    await page.evaluate(`for (const topics of ${JSON.stringify(own)}) watch(topics, { reconnect: { reconnectionMs: 100, backoffFirstMs: 100 } }); undefined`);
    // The browser itself repeats some requests before it reports the failure.
    await until("three failures", async () => (await page.evaluate("log.filter((line) => line.startsWith('unreachable')).length")) >= 3 * own.length);
    limit.isAway = false;
    await opened(page);
    await checkEach([page], hub, [[own[0]?.[0], own[9]?.[19]].map(String)]);
    assert.ok(seen.longest > 7 * 1024, String(seen.longest));
    assert.equal(await hub.subscribers(), 1);
  });

  test("live sources whose URL becomes too long for a new proxy resume on shorter URLs", async (t) => {
    const hub = await Hub.start(t);
    const limit = { bytesMax: 8192, status: 414 };
    const { front } = await limited(t, hub, limit);
    const context = await browser.newContext(t);
    const [page, other] = [await tabOf(context, front), await tabOf(context, front)];
    const own = Array.from({ length: 100 }, (_, m) => topic(m));
    await page.evaluate(`for (const topic of ${JSON.stringify(own)}) watch([topic], { reconnect: { reconnectionMs: 100 } }); undefined`);
    await opened(page);
    await checkEach([page], hub, [own]);
    limit.bytesMax = 3000;
    // With one more topic, the stream is requested anew.
    await watch(other, [topic("more")], "{ reconnect: { reconnectionMs: 100 } }");
    for (const name of own) await hub.publish({ topic: name, data: "y" });
    await opened(other);
    await opened(page);
    await until("all events", async () => Object.values(JSON.parse(await page.evaluate("JSON.stringify(seen)"))).every((data) => data.length >= 2));
    const seen = JSON.parse(await page.evaluate("JSON.stringify(seen)"));
    for (const name of own) assert.equal(seen[name].join(), "x,y", name);
  });

  test("one source whose own list is too long gets an error, and does not affect the others", async (t) => {
    const hub = await Hub.start(t);
    const { front } = await limited(t, hub, { bytesMax: 8192, status: 414 });
    const page = await tabOf(await browser.newContext(t), front);
    await watch(page, [topic("a")]);
    await watch(page, Array.from({ length: 400 }, (_, m) => topic(m)));
    await until("the refusal", () => page.evaluate("log.includes('close refused')"));
    assert.match(await page.evaluate("log.find((line) => line.startsWith('refused'))"), /414.*the URL has \d+ characters/);
    await until("the other", () => page.evaluate("sources[0].readyState === 1"));
    await checkEach([page], hub, [[topic("a")]]);
  });
});
