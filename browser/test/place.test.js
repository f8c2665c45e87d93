// A stream that is cut before its first event loses nothing, because a hub sends the place at once. With a real hub,
// and a relay that cuts.

import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, createServer } from "node:net";
import { describe, test } from "node:test";
import { Hub } from "../../e2e/hub.js";
import { until } from "../../e2e/until.js";
import { BROWSERS, browserOf } from "./browsers.js";
import { tabOf } from "./tabs.js";

/**
 * @param {import("node:test").TestContext} t
 * @param {Hub} hub
 */
async function relayTo(t, hub) {
  const { hostname, port } = new URL(hub.origin);
  /** @type {Set<import("node:net").Socket>} */
  const sockets = new Set();
  let isAway = false;
  const server = createServer((socket) => {
    const inner = connect(Number(port), hostname);
    for (const one of [socket, inner]) {
      sockets.add(one);
      one.on("error", () => {}).on("close", () => (sockets.delete(one), socket.destroy(), inner.destroy()));
    }
    if (isAway) return void socket.destroy();
    socket.pipe(inner).pipe(socket);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const cut = () => {
    for (const socket of sockets) socket.destroy();
  };
  t.after(() => (cut(), server.close()));
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("no port");
  return {
    url: (/** @type {string} */ path) => `http://127.0.0.1:${address.port}${path}`,
    cut: () => ((isAway = true), cut()),
    back: () => (isAway = false),
  };
}

const HUB = "/.well-known/mercure";
const waits = "reconnect: { reconnectionMs: 300, backoffFirstMs: 100 }";
/** Opens a source of the topic `a`, in a page. */
const sources = {
  "the browser's own class": `new EventSource("${HUB}?topic=a")`,
  "EventSourceWrapper with a hub's URL": `new EventSourceWrapper("${HUB}?topic=a", { ${waits} })`,
  "EventSourceWrapper with topics, unshared": `new EventSourceWrapper("${HUB}", { topics: ["a"], shared: false, ${waits} })`,
  "EventSourceWrapper with topics, shared": `new EventSourceWrapper("${HUB}", { topics: ["a"], shared: true, ${waits} })`,
  FetchEventSource: `new FetchEventSource("${HUB}?topic=a")`,
};

for (const browserName of BROWSERS) {
  describe(`in ${browserName}`, { concurrency: 2 }, () => {
    const browser = browserOf(browserName);
    for (const [name, make] of Object.entries(sources)) {
      // It ignores the id of a block without data, and stops at the first refused connection.
      const skip = browserName === "Firefox" && name === "the browser's own class";
      test(`${name}: cut before the first event, it gets everything published before it reconnects`, { skip }, async (t) => {
        const hub = await Hub.start(t);
        const relay = await relayTo(t, hub);
        const page = await tabOf(await browser.newContext(t), /** @type {any} */ (relay));
        await page.evaluate(`(async () => {
          const { FetchEventSource } = await import("/tidings/browser/index.js");
          window.got = []; window.source = ${make};
          source.addEventListener("message", ({ data }) => got.push(data));
        })()`);
        await until("it is open", () => page.evaluate("source.readyState === 1"));
        for (const round of [1, 2]) {
          relay.cut();
          await until("it is lost", () => page.evaluate("source.readyState === 0"));
          await hub.publish({ topic: "a", data: String(round) });
          relay.back();
          await until("what was missed", () => page.evaluate(`got.length >= ${round}`), 40_000);
        }
        assert.deepEqual(await page.evaluate("got"), ["1", "2"]);
      });
    }
  });
}
