// The page when the hub stops, restarts, or refuses a request.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { launch } from "./chromium.js";
import { HubPage } from "./hub-page.js";
import { Hub } from "./hub.js";
import { until } from "./until.js";

const TOPIC = "https://example.com/books/1";

/** @type {import("playwright-core").Browser} */
let browser;
before(async () => {
  browser = await launch();
});
after(() => browser.close());

test("the page reports an unreachable hub, with the seconds until the next attempt", async (t) => {
  const hub = await Hub.start(t);
  const { topic, clock } = await HubPage.open(t, browser, hub.origin);
  await clock.open();
  for (const part of [topic, clock]) await part.reaches("open");

  for (const part of [topic, clock]) await part.recordWords();
  await hub.kill();
  const told = [topic, clock].map(async (part) => {
    await part.says(/The hub can't be reached\. Reconnecting in [1-9]\d* s\./);
    assert.equal(await part.state(), "connecting");
    assert.ok((await part.recordedWords()).includes("The connection was lost."));
  });
  await Promise.all(told);
  await topic.close();
  await topic.reaches("closed");
  assert.match(await topic.words(), /^closed\s+Closed by you\.\s*$/);
});

test("after a restart the page reconnects, and reports the reset", async (t) => {
  const hub = await Hub.start(t, { returns: true });
  const { topic } = await HubPage.open(t, browser, hub.origin);
  await topic.reaches("open");
  await hub.publish({ topic: TOPIC, data: "before" });
  await topic.shows("before");
  const lastId = await topic.lastEventId();

  await hub.kill();
  await topic.says(/connection was lost|can't be reached/);
  const next = await Hub.start(t, { listen: hub.listen });
  await topic.reaches("open");
  await topic.showsNotice("reset");
  const meaning = await topic.part.locator(".notice[data-kind=reset] .meaning").innerText();
  assert.ok(meaning.includes(lastId), meaning);

  await next.publish({ topic: TOPIC, data: "after" });
  await topic.shows("after");
  assert.deepEqual(await topic.data(), ["after", "before"]);
  assert.equal(await next.subscribers(), 1);
});

test("Retry now, pressed while the page waits, reconnects at once", async (t) => {
  const hub = await Hub.start(t, { returns: true });
  const { page, topic } = await HubPage.open(t, browser, hub.origin);
  await topic.reaches("open");
  // The page would wait for ten minutes.
  const busy = { status: 503, headers: { "Retry-After": "600" }, contentType: "text/plain", body: "too many" };
  await page.route("**/.well-known/mercure?*", (route) => route.fulfill(busy));
  await hub.kill();
  await topic.says(/The hub answered 503/);
  await page.unroute("**/.well-known/mercure?*");
  const next = await Hub.start(t, { listen: hub.listen });

  await topic.part.getByRole("button", { name: "Retry now" }).click();
  await topic.reaches("open");
  assert.equal(await next.subscribers(), 1);
});

test("the page reports a drain, waits for the hub, and reconnects", async (t) => {
  const hub = await Hub.start(t, { returns: true });
  const { topic } = await HubPage.open(t, browser, hub.origin);
  await topic.showsNotice("live");

  await hub.stop();
  await topic.showsNotice("draining");
  await topic.says(/Reconnecting in \d+ s\./);
  const next = await Hub.start(t, { listen: hub.listen });
  await topic.reaches("open");
  await until("the stream", async () => (await next.subscribers()) === 1);
});

test("a refused stream is reported with the hub's reason, and not retried", async (t) => {
  const hub = await Hub.start(t);
  const { page, topic } = await HubPage.open(t, browser, hub.origin);
  await topic.reaches("open");
  await topic.close();
  let asked = 0;
  await page.route("**/.well-known/mercure?*", (route) => {
    asked += 1;
    return route.fulfill({ status: 403, contentType: "text/plain", body: "the token allows no such topic" });
  });

  await topic.open();
  await topic.says(/The hub answered 403.*: the token allows no such topic\. It would be refused again/);
  assert.equal(await topic.state(), "closed");
  // A hub's stream is read with fetch, whose answer shows the reason: no second request is needed.
  assert.equal(asked, 1);
});

test("an invalid topic is reported with the hub's reason", async (t) => {
  const hub = await Hub.start(t);
  const { topic } = await HubPage.open(t, browser, hub.origin);
  await topic.topicField.fill(`https://example.com/${"x".repeat(10_000)}`);
  await topic.topicField.press("Enter");
  await topic.says(/The hub answered 4\d\d/);
  assert.equal(await topic.state(), "closed");
});

test("a busy hub is retried after its Retry-After, from the last event id", async (t) => {
  const hub = await Hub.start(t, { returns: true });
  const { page, topic } = await HubPage.open(t, browser, hub.origin);
  await topic.reaches("open");
  const id = await hub.publish({ topic: TOPIC, data: "before" });
  await topic.shows("before");
  await page.route("**/.well-known/mercure?*", (route) =>
    route.fulfill({ status: 503, headers: { "Retry-After": "2" }, contentType: "text/plain", body: "too many" }),
  );

  await hub.kill();
  const next = await Hub.start(t, { listen: hub.listen });
  await topic.says(/The hub answered 503.*: too many\. Reconnecting in \d+ s\./);
  const asked = page.waitForRequest((request) => request.headers()["last-event-id"] !== undefined);
  await page.unroute("**/.well-known/mercure?*");
  assert.equal((await asked).headers()["last-event-id"], id);
  await topic.reaches("open");
  assert.equal(await next.subscribers(), 1);
});

test("the page explains a stream that waits for one of the browser's six connections", async (t) => {
  const hub = await Hub.start(t);
  const { page, clock, topic } = await HubPage.open(t, browser, hub.origin);
  await topic.reaches("open");
  await topic.close();
  await until("its connection is free", async () => (await hub.subscribers()) === 0);
  const held = await page.evaluateHandle(() => Array.from({ length: 6 }, () => new EventSource("/sse")));
  await until("six streams are open", () => held.evaluate((all) => all.every(({ readyState }) => readyState === 1)));

  await clock.open();
  await clock.says(/No answer yet\. .*six connections/);
  assert.equal(await clock.state(), "connecting");
  await held.evaluate((all) => all[0]?.close());
  await clock.reaches("open");
});

test("a response that is not an event stream is shown", async (t) => {
  const hub = await Hub.start(t);
  const { page, clock } = await HubPage.open(t, browser, hub.origin);
  await page.route("**/sse", (route) => route.fulfill({ status: 200, contentType: "text/html", body: "<p>A proxy's page." }));
  await clock.open();
  await clock.says(/The response is not an event stream but text\/html/);
  assert.equal(await clock.state(), "closed");
});

test("a page that the user leaves closes its stream, and resumes when it is shown again", async (t) => {
  const hub = await Hub.start(t);
  const { page, topic } = await HubPage.open(t, browser, hub.origin);
  await topic.reaches("open");
  await hub.publish({ topic: TOPIC, data: "before" });
  await topic.shows("before");

  await page.goto(hub.url("/tidings/page/icon.svg"));
  await until("no subscriber is left", async () => (await hub.subscribers()) === 0);
  await hub.publish({ topic: TOPIC, data: "meanwhile" });
  await page.goBack({ waitUntil: "commit" });

  await topic.shows("meanwhile");
  assert.deepEqual(await topic.data(), ["meanwhile", "before"]);
  assert.equal(await hub.subscribers(), 1);
});

test("a tab that is hidden for long frees its connection, and misses nothing", async (t) => {
  const hub = await Hub.start(t);
  const context = await browser.newContext();
  t.after(() => context.close());
  await context.clock.install();
  const { page, topic } = await HubPage.openIn(context, hub.origin);
  await topic.reaches("open");
  const hide = (/** @type {boolean} */ hidden) =>
    page.evaluate((hidden) => {
      Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
      document.dispatchEvent(new Event("visibilitychange"));
    }, hidden);

  await hide(true);
  await context.clock.fastForward(10_000);
  await hide(false);
  // Not so long that the page takes the hub's silence for a lost connection.
  await context.clock.fastForward(15_000);
  assert.equal(await topic.state(), "open");
  await hub.publish({ topic: TOPIC, data: "before" });
  await topic.shows("before");

  await hide(true);
  await context.clock.fastForward(30_000);
  await topic.says(/Paused while this tab is hidden/);
  await until("no subscriber is left", async () => (await hub.subscribers()) === 0);
  await hub.publish({ topic: TOPIC, data: "meanwhile" });
  await hide(false);
  await topic.shows("meanwhile");
  assert.deepEqual(await topic.data(), ["meanwhile", "before"]);
});
