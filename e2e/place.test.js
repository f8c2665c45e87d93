// A browser's stream that is cut before its first event misses nothing. The hub recognises a browser by the head of
// the request, so this test also records the heads that browsers send.

import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, request as ask } from "node:http";
import { createRequire } from "node:module";
import { after, before, describe, test } from "node:test";
import { chromium } from "playwright-core";
import { Hub } from "./hub.js";
import { until } from "./until.js";

const require = createRequire(new URL("../browser/package.json", import.meta.url));
/** @type {{ launch: (options: object) => Promise<any> }} */
const puppeteer = require("puppeteer-core").default ?? require("puppeteer-core");

/** A name that browsers don't take for this machine, so that http to it is as to any other. */
const ELSEWHERE = "elsewhere.test";
const CHROMIUM = process.env.CHROMIUM ?? "/usr/bin/chromium";
const FIREFOX = process.env.FIREFOX ?? "/usr/bin/firefox-esr";

/** @type {Record<string, () => Promise<any>>} */
const BROWSERS = {
  Chromium: () =>
    chromium.launch({
      executablePath: CHROMIUM,
      args: ["--no-sandbox", "--disable-gpu", `--host-resolver-rules=MAP ${ELSEWHERE} 127.0.0.1`],
    }),
  Firefox: () =>
    puppeteer.launch({
      browser: "firefox",
      executablePath: FIREFOX,
      headless: true,
      extraPrefsFirefox: { "network.dns.localDomains": ELSEWHERE },
    }),
};

/** The headers that distinguish the requests; all others are the same or irrelevant. */
const TELLING = ["accept", "cache-control", "pragma", "sec-fetch-mode", "sec-fetch-dest"];

/**
 * A relay between a browser and a hub, with its own host names. It cuts streams on request.
 *
 * @param {import("node:test").TestContext} t
 * @param {string} hub
 */
async function relay(t, hub) {
  const state = {
    /** @type {import("node:http").IncomingHttpHeaders[]} */
    heads: [],
    seen: "",
    away: false,
    port: 0,
    cut: () => server.closeAllConnections(),
  };
  const server = createServer((request, response) => {
    if (request.url === "/") {
      response.writeHead(200, { "content-type": "text/html" }).end("<!doctype html><title>A page</title>");
      return;
    }
    if (state.away || !request.url?.startsWith("/.well-known/mercure")) {
      response.destroy();
      return;
    }
    state.heads.push(request.headers);
    const headers = { ...request.headers, host: new URL(hub).host };
    const asked = ask(new URL(request.url ?? "/", hub), { headers }, (answer) => {
      response.writeHead(answer.statusCode ?? 500, answer.headers);
      answer.on("data", (piece) => {
        state.seen += piece;
        response.write(piece);
      });
      answer.on("error", () => response.destroy());
      answer.on("end", () => response.destroy());
    });
    asked.on("error", () => response.destroy());
    response.on("close", () => asked.destroy());
    asked.end();
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  const address = server.address();
  assert.ok(address && typeof address === "object");
  state.port = address.port;
  return state;
}

for (const [name, launch] of Object.entries(BROWSERS)) {
  describe(name, () => {
    /** @type {any} */
    let browser;
    before(async () => {
      browser = await launch();
    });
    after(() => browser?.close());

    for (const host of ["localhost", ELSEWHERE]) {
      const isHere = host === "localhost";

      test(`an EventSource on ${host} that is cut before its first event misses nothing`, async (t) => {
        const hub = await Hub.start(t);
        const between = await relay(t, hub.origin);
        const page = await browser.newPage();
        t.after(() => page.close());
        await page.goto(`http://${host}:${between.port}/`);
        await page.evaluate(`
          globalThis.seen = [];
          globalThis.source = new EventSource("/.well-known/mercure?topic=a");
          source.onmessage = (event) => seen.push(event.data);
        `);
        // As soon as the place has arrived: nothing was ever published.
        const place = await until("the place", () => between.seen.match(/^id: (.*)\n\n/m)?.[1]);
        await until("the stream is open", () => page.evaluate("source.readyState === 1"));
        between.away = true;
        between.cut();
        for (const data of ["1", "2"]) await hub.publish({ topic: "a", data });
        between.away = false;
        await until("what was missed", () => page.evaluate("seen.length >= 2"));
        await hub.publish({ topic: "a", data: "live" });
        await until("what is live", () => page.evaluate("seen.length >= 3"));
        assert.deepEqual(await page.evaluate("seen"), ["1", "2", "live"]);
        assert.equal(between.heads.at(-1)?.["last-event-id"], place);
      });

      test(`of an EventSource and a fetch on ${host}, only the first gets the place`, async (t) => {
        const hub = await Hub.start(t);
        const between = await relay(t, hub.origin);
        const page = await browser.newPage();
        t.after(() => page.close());
        await page.goto(`http://${host}:${between.port}/`);
        const fetched = isHere ? { "sec-fetch-mode": "cors", "sec-fetch-dest": "empty" } : {};
        const open = async (/** @type {string} */ script) => {
          between.seen = "";
          await page.evaluate(script);
          await until("a stream has begun", () => between.seen.includes("retry: "));
          await hub.publish({ topic: "a", data: "x" });
          await until("an event", () => between.seen.includes("data: x\n"));
          const head = between.heads.at(-1) ?? {};
          const told = Object.fromEntries(TELLING.filter((one) => head[one]).map((one) => [one, head[one]]));
          const isBrowsers = /^Mozilla\/5\.0 \(/.test(head["user-agent"] ?? "") && !!head["accept-language"];
          return { told, isBrowsers, place: /retry: \d+\n(event: tidings\ndata: .*"cursor".*\n)?id: /.test(between.seen) };
        };

        const source = await open(`void (globalThis.source = new EventSource("/.well-known/mercure?topic=a"))`);
        assert.deepEqual(source, {
          told: { accept: "text/event-stream", "cache-control": "no-cache", pragma: "no-cache", ...fetched },
          isBrowsers: true,
          place: true,
        });
        // As @microsoft/fetch-event-source and its relatives do.
        const fetching = await open(
          `void fetch("/.well-known/mercure?topic=a", { headers: { accept: "text/event-stream" } }).catch(() => {})`,
        );
        assert.deepEqual(fetching, { told: { accept: "text/event-stream", ...fetched }, isBrowsers: true, place: false });
      });
    }
  });
}
