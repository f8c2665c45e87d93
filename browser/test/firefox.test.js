// In Firefox, by WebDriver BiDi.

import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { after, before, test } from "node:test";
import puppeteer from "puppeteer-core";
import { Hub } from "../../e2e/hub.js";
import { until } from "../../e2e/until.js";
import { Server, stream } from "./server.js";

const executablePath = process.env.FIREFOX ?? "/usr/bin/firefox-esr";

/** @type {import("puppeteer-core").Browser} */
let browser;
before(async () => {
  if (!existsSync(executablePath)) throw new Error(`there is no Firefox at ${executablePath}: install it, or name one in FIREFOX`);
  browser = await puppeteer.launch({ browser: "firefox", executablePath, headless: true });
});
after(() => browser?.close());

/**
 * @param {import("node:test").TestContext} t
 * @param {string} url of a page on whose origin the package is
 */
async function pageOf(t, url) {
  const page = await browser.newPage();
  t.after(() => page.close());
  await page.goto(url);
  await page.evaluate(`(async () => {
    const { default: EventSourceWrapper, FetchEventSource } = await import("/tidings/browser/index.js");
    Object.assign(window, { EventSourceWrapper, FetchEventSource, log: [] });
    window.watch = (url, options) => {
      window.source = new EventSourceWrapper(url, options);
      source.onOpen(() => log.push("open"));
      source.onMessage(({ data }) => log.push(data));
      source.onError(({ kind, status }) => log.push(kind + " " + status));
      source.on("close", ({ reason }) => log.push("close " + reason));
    };
  })()`);
  return page;
}

/**
 * @param {import("puppeteer-core").Page} page
 * @param {string} line
 */
async function logs(page, line) {
  await until(line, () => page.evaluate(`log.includes(${JSON.stringify(line)})`)).catch(async (error) => {
    throw new Error(`${error.message}: ${await page.evaluate("JSON.stringify(log)")}`);
  });
}

const QUICK = "{ reconnect: { reconnectionMs: 200, backoffFirstMs: 100 } }";

test("a server that is busy, then away, then back: the browser's own class is dead, the wrapper goes on", async (t) => {
  const server = await Server.start(t);
  let isBusy = false;
  server.routes.set("/sse", (_, response, url) => {
    if (isBusy) return void response.writeHead(503).end("busy");
    stream(response, `retry: 100\nid: 7\ndata: after ${url.searchParams.get("lastEventID")}\n\n`);
  });
  const page = await pageOf(t, server.origin);
  await page.evaluate(`watch("/sse", ${QUICK}); window.native = new EventSource("/sse"); undefined`);
  await logs(page, "after null");
  await until("the native one is open", () => page.evaluate("native.readyState === 1"));
  isBusy = true;
  server.cut();
  await until("the native one is dead", () => page.evaluate("native.readyState === 2"));
  await logs(page, "refused 503");
  await server.down();
  await logs(page, "unreachable 0");
  isBusy = false;
  await server.up();
  await logs(page, "after 7");
  assert.equal(await page.evaluate("native.readyState"), 2);
});

test("statuses and bodies are told, over both transports", async (t) => {
  const server = await Server.start(t);
  server.routes.set("/sse", (_, response) => response.writeHead(403).end("no"));
  for (const options of ["{}", "{ headers: { 'X-Test': 'yes' } }"]) {
    const page = await pageOf(t, server.origin);
    await page.evaluate(`watch("/sse", ${options}); undefined`);
    await logs(page, "close refused");
    assert.deepEqual(await page.evaluate("log"), ["refused 403", "close refused"]);
  }
});

test("FetchEventSource does what the browser's own class does", async (t) => {
  const server = await Server.start(t);
  server.routes.set("/sse", (request, response) => stream(response, `retry: 300\nid: 7\nevent: x\ndata: ${request.headers["last-event-id"]}\n\n`).end());
  server.routes.set("/gone", (_, response) => response.writeHead(410).end());
  const page = await pageOf(t, server.origin);
  const [ours, theirs] = await Promise.all(
    ["FetchEventSource", "EventSource"].map((name) =>
      page.evaluate(`new Promise((resolve) => {
        const told = []; const source = new ${name}("/sse");
        for (const type of ["open", "x", "error"]) source.addEventListener(type, (event) => {
          told.push([event.type, source.readyState, event.data ?? null, event.lastEventId ?? null]);
          if (told.length < 5) return;
          source.close();
          const gone = new ${name}("/gone");
          gone.onerror = () => { told.push(gone.readyState); resolve(told) };
        });
      })`),
    ),
  );
  assert.deepEqual(ours, theirs);
  assert.equal(/** @type {any} */ (ours)[4][2], "7");
});

test("two tabs share one connection, and go on when the one that made it is closed", async (t) => {
  const hub = await Hub.start(t);
  const topic = "https://example.com/a";
  const first = await pageOf(t, hub.url("/healthz"));
  const second = await pageOf(t, hub.url("/healthz"));
  for (const page of [first, second]) {
    await page.evaluate(`watch("/.well-known/mercure", { topics: ["${topic}"], shared: true }); undefined`);
    await logs(page, "open");
  }
  assert.equal(await hub.subscribers(), 1);
  await hub.publish({ topic, data: "1" });
  for (const page of [first, second]) await logs(page, "1");
  await first.goto("about:blank");
  await hub.publish({ topic, data: "2" });
  await logs(second, "2");
  assert.deepEqual(await second.evaluate("log.filter((line) => /^[0-9]/.test(line))"), ["1", "2"]);
});
