// The hub's page, with its buttons pressed.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { launch } from "./chromium.js";
import { Command } from "./command.js";
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

test("Open shows the clock's events, and the state open 1", async (t) => {
  const hub = await Hub.start(t);
  const { clock, complaints } = await HubPage.open(t, browser, hub.origin);
  assert.equal(await clock.state(), "closed 2");

  await clock.openButton.click();
  await clock.reaches("open 1");
  await until("two events", async () => (await clock.data()).length >= 2);

  const [newest = ""] = await clock.data();
  assert.match(JSON.parse(newest).message, /^Current time is \d{1,2}:\d\d:\d\d [AP]M$/);
  assert.deepEqual(complaints, []);
});

test("a second open keeps the one connection", async (t) => {
  const hub = await Hub.start(t);
  const { page, clock, topic } = await HubPage.open(t, browser, hub.origin);
  /** @type {string[]} */
  const streams = [];
  page.on("request", (request) => {
    const { pathname } = new URL(request.url());
    const isStream = ["/sse", "/.well-known/mercure"].includes(pathname);
    if (isStream && request.method() === "GET") streams.push(pathname);
  });

  for (const part of [clock, topic]) {
    await part.openButton.click();
    await part.reaches("open 1");
    await part.openButton.click();
    await part.says(/keeps its connection/);
    assert.equal(await part.state(), "open 1");
  }
  await hub.publish({ topic: TOPIC, data: "once" });
  await topic.shows("once");

  assert.deepEqual(streams, ["/sse", "/.well-known/mercure"]);
  assert.deepEqual((await topic.data()).filter((data) => data === "once"), ["once"]);
  assert.ok((await hub.subscribers()) <= 2);
});

test("another topic replaces the one that is open", async (t) => {
  const hub = await Hub.start(t);
  const { topic } = await HubPage.open(t, browser, hub.origin);
  await topic.openButton.click();
  await topic.reaches("open 1");

  await topic.part.getByLabel("Topic to open").fill("*");
  await topic.openButton.click();
  await topic.reaches("open 1");
  await until("the first is gone", async () => (await hub.subscribers()) === 1);
  await hub.publish({ topic: TOPIC, data: "the first" });
  await hub.publish({ topic: "https://example.com/books/2", data: "the second" });
  await topic.shows("the second");
  assert.deepEqual(await topic.data(), ["the second", "the first"]);
});

test("Close shows the state closed 2, and the hub removes the stream", async (t) => {
  const hub = await Hub.start(t);
  const { topic } = await HubPage.open(t, browser, hub.origin);
  await topic.openButton.click();
  await topic.reaches("open 1");
  assert.equal(await hub.subscribers(), 1);

  await topic.closeButton.click();
  await topic.reaches("closed 2");
  await until("no subscriber is left", async () => (await hub.subscribers()) === 0);
  await hub.publish({ topic: TOPIC, data: "to nobody" });

  await topic.openButton.click();
  await topic.reaches("open 1");
  await hub.publish({ topic: TOPIC, data: "to somebody" });
  await topic.shows("to somebody");
  assert.deepEqual(await topic.data(), ["to somebody"]);
});

test("an event from the form appears on the page, in a second tab and in curl", async (t) => {
  const hub = await Hub.start(t);
  const first = await HubPage.open(t, browser, hub.origin);
  const second = await HubPage.openIn(first.page.context(), hub.origin);
  const curl = new Command(t, "curl", ["-sN", `${hub.mercure}?topic=${encodeURIComponent(TOPIC)}`]);
  for (const { topic } of [first, second]) {
    await topic.openButton.click();
    await topic.reaches("open 1");
  }
  await until("three subscribers", async () => (await hub.subscribers()) === 3);

  await first.field("Data").fill("first line\nsecond line");
  await first.pressPublish();
  const [, id = ""] = await first.says(/^Published at \S+ as (tidings:\S+)$/);

  for (const { topic } of [first, second]) {
    await topic.shows("first line\nsecond line");
    await until("the last event id", async () => (await topic.lastEventId()) === id);
  }
  await curl.prints(`data: first line\ndata: second line\nid: ${id}\n\n`);
  assert.deepEqual([...first.complaints, ...second.complaints], []);
});

test("the first minute needs no typing", async (t) => {
  const hub = await Hub.start(t);
  const hubPage = await HubPage.open(t, browser, hub.origin);
  await hubPage.topic.openButton.click();
  await hubPage.topic.reaches("open 1");
  await hubPage.pressPublish();
  await hubPage.topic.shows(await hubPage.field("Data").inputValue());
});

test("the page listens for the type in the publish form, and for the types in its own field", async (t) => {
  const hub = await Hub.start(t);
  const hubPage = await HubPage.open(t, browser, hub.origin);
  await hubPage.topic.openButton.click();
  await hubPage.topic.reaches("open 1");

  await hubPage.field("Type").fill("price");
  await hubPage.field("Data").fill("12.99");
  await hubPage.pressPublish();
  await hubPage.topic.shows("12.99");

  await hubPage.topic.part.getByText("Where to start, and which types").click();
  await hubPage.topic.part.getByLabel("Listen for these types too").fill("sold-out, back");
  await hub.publish({ topic: TOPIC, type: "sold-out", data: "none left" });
  await hubPage.topic.shows("none left");
  await hub.publish({ topic: TOPIC, type: "unheard-of", data: "not asked for" });
  await hub.publish({ topic: TOPIC, type: "back", data: "two more" });
  await hubPage.topic.shows("two more");

  const types = await hubPage.topic.part.locator("li:not(.notice) .type").allTextContents();
  assert.deepEqual(types, ["back", "sold-out", "price"]);
});

test("published events may be of the types that EventSource uses itself", async (t) => {
  const hub = await Hub.start(t);
  const { topic } = await HubPage.open(t, browser, hub.origin);
  await topic.part.getByText("Where to start, and which types").click();
  await topic.part.getByLabel("Listen for these types too").fill("open error");
  await topic.openButton.click();
  await topic.reaches("open 1");

  await hub.publish({ topic: TOPIC, type: "error", data: "no failure" });
  await hub.publish({ topic: TOPIC, type: "open", data: "no opening" });
  await topic.shows("no opening");
  assert.deepEqual(await topic.data(), ["no opening", "no failure"]);
  assert.equal(await topic.state(), "open 1");
  assert.equal(await hub.subscribers(), 1);
});

test("a refused publish is reported with the hub's reason", async (t) => {
  const hub = await Hub.start(t);
  const hubPage = await HubPage.open(t, browser, hub.origin);

  await hubPage.field("Type").fill("tidings");
  await hubPage.pressPublish();
  await hubPage.says(/^Not published\. The hub answered 400\b.*tidings/s);

  await hubPage.field("Type").fill("");
  await hubPage.field("Retry, in ms").fill("soon");
  await hubPage.pressPublish();
  await hubPage.says(/^Not published\. The hub answered 400\b.*retry/s);

  await hubPage.field("Retry, in ms").fill("");
  await hubPage.pressPublish();
  await hubPage.says(/^Published/);
});

test("a page without a token shows no private event", async (t) => {
  const hub = await Hub.start(t);
  const hubPage = await HubPage.open(t, browser, hub.origin);
  await hubPage.topic.openButton.click();
  await hubPage.topic.reaches("open 1");

  await hubPage.field("Data").fill("a secret");
  await hubPage.field("Private").check();
  await hubPage.pressPublish();
  await hubPage.says(/^Published/);
  await hub.publish({ topic: TOPIC, data: "for all" });
  await hubPage.topic.shows("for all");
  assert.deepEqual(await hubPage.topic.data(), ["for all"]);
});

test("the page keeps the newest 200 events, and says so", async (t) => {
  const hub = await Hub.start(t);
  const { topic } = await HubPage.open(t, browser, hub.origin);
  await topic.openButton.click();
  await topic.reaches("open 1");

  const all = Array.from({ length: 230 }, (_, number) => `event ${number}`);
  for (const data of all) await hub.publish({ topic: TOPIC, data });
  await topic.shows("event 229");

  assert.deepEqual(await topic.data(), all.slice(-200).reverse());
  assert.match(await topic.part.locator(".received").innerText(), /^23\d; the newest 200 are kept$/);
});

test("data is text, whatever it looks like", async (t) => {
  const hub = await Hub.start(t);
  const hubPage = await HubPage.open(t, browser, hub.origin);
  await hubPage.topic.openButton.click();
  await hubPage.topic.reaches("open 1");

  const data = `<img src=x onerror="document.title='taken'"><script>document.title='taken'</script>`;
  await hub.publish({ topic: TOPIC, data, id: "<b>id</b>" });
  await hubPage.topic.shows(data);
  await until("the id", async () => (await hubPage.topic.lastEventId()) === "<b>id</b>");

  assert.equal(await hubPage.topic.part.locator("img, script, dd b").count(), 0);
  assert.equal(await hubPage.page.title(), "Tidings");
  assert.deepEqual(hubPage.complaints, []);
});

test("JSON is indented on demand, its values untouched", async (t) => {
  const hub = await Hub.start(t);
  const { topic } = await HubPage.open(t, browser, hub.origin);
  await topic.openButton.click();
  await topic.reaches("open 1");
  const data = `{"number":12345678901234567890,"empty":{},"list":[1,"a, b: {c}",[]],"number":1.0}`;
  await hub.publish({ topic: TOPIC, data });
  await topic.shows(data);

  await topic.part.getByLabel("Indent JSON").check();
  const indented = [
    "{",
    '  "number": 12345678901234567890,',
    '  "empty": {},',
    '  "list": [',
    "    1,",
    '    "a, b: {c}",',
    "    []",
    "  ],",
    '  "number": 1.0',
    "}",
  ].join("\n");
  assert.deepEqual(await topic.data(), [indented]);
  await topic.part.getByLabel("Indent JSON").uncheck();
  assert.deepEqual(await topic.data(), [data]);
});

test("long data is cut, and shown whole on demand", async (t) => {
  const hub = await Hub.start(t);
  const { topic } = await HubPage.open(t, browser, hub.origin);
  await topic.openButton.click();
  await topic.reaches("open 1");
  const data = "0123456789".repeat(1_000);
  await hub.publish({ topic: TOPIC, data });
  await topic.shows(`${data.slice(0, 2_000)}…`);

  await topic.part.getByRole("button", { name: "Show all 10000 characters" }).click();
  assert.deepEqual(await topic.data(), [data]);
});

test("a topic can be opened from the earliest event that the hub has", async (t) => {
  const hub = await Hub.start(t);
  await hub.publish({ topic: TOPIC, data: "before anybody came" });
  const { topic } = await HubPage.open(t, browser, hub.origin);
  await topic.part.getByText("Where to start, and which types").click();
  await topic.part.getByLabel("Start with").selectOption({ label: "the earliest event that the hub still has" });
  await topic.openButton.click();
  await topic.shows("before anybody came");
});

test("every notice is explained in words", async (t) => {
  const hub = await Hub.start(t);
  const { page, topic } = await HubPage.open(t, browser, hub.origin);
  const notices = [
    { v: 1, kind: "gap", asked: "a", oldest: "b", missed: 1 },
    { v: 1, kind: "gap", oldest: "b" },
    { v: 1, kind: "reset", asked: "a" },
    { v: 1, kind: "expiring", in_ms: 30_000 },
    { v: 1, kind: "revoked" },
    { v: 1, kind: "anonymous" },
    { v: 1, kind: "draining", retry_ms: 1_500 },
    { v: 1, kind: "live", heartbeat_ms: 15_000 },
    { v: 1, kind: "cursor" },
    { v: 1, kind: "resumed", asked: "a", replayed: 2 },
    { v: 1, kind: "slow", behind: 3 },
    { v: 1, kind: "toString" },
    { v: 2, kind: "live" },
  ];
  const events = notices.map((notice) => `event: tidings\ndata: ${JSON.stringify(notice)}\n\n`);
  // The answer ends, and is not requested again within this test.
  const body = `retry: 600000\n${events.join("")}`;
  await page.route("**/.well-known/mercure?*", (route) => route.fulfill({ contentType: "text/event-stream", body }));

  await topic.openButton.click();
  await until("all of them", async () => (await topic.events.count()) === notices.length);
  assert.deepEqual((await topic.part.locator(".meaning").allTextContents()).reverse(), [
    "Events were lost. The hub no longer has everything after a; the stream continues from b. 1 event lost.",
    "Events were lost. The hub no longer has everything after the last event of this page; the stream continues from b. Their number is unknown.",
    "The hub doesn't know the id a: its journal was reset. Events may have been lost; what follows is new.",
    "The token of this stream expires in 30 s.",
    "The token of this stream was revoked.",
    "This stream has no token, so it has public events only.",
    "The hub is draining. The page reconnects in 1.5 s.",
    "Live. What follows is new.",
    "Nothing new for this stream. A reconnect resumes from here.",
    "Resumed after a. 2 events to catch up on.",
    "This page reads more slowly than events come: 3 events behind. The hub sends the rest from its journal.",
    "This page does not know this kind of notice.",
    "This page does not know this kind of notice.",
  ]);
});

test("the command lines work as shown", async (t) => {
  const hub = await Hub.start(t);
  const hubPage = await HubPage.open(t, browser, hub.origin);
  await hubPage.topic.openButton.click();
  await hubPage.topic.reaches("open 1");
  await hubPage.field("Type").fill("it's");
  await hubPage.field("Data").fill(`"quoted" 'twice' $HOME \`date\` \\ & 100 %\nand @once more`);

  const command = (/** @type {string} */ name) =>
    hubPage.page.getByRole("region", { name: `${name} command` }).innerText();
  // `exec`, so that ending the shell ends the command.
  const subscribed = new Command(t, "sh", ["-c", `exec ${await command("Subscribe")}`]);
  const clock = new Command(t, "sh", ["-c", `exec ${await command("Clock")}`]);
  await until("both are subscribed", async () => (await hub.subscribers()) >= 2);
  const published = new Command(t, "sh", ["-c", `exec ${await command("Publish")}`]);

  await published.prints("tidings:");
  await hubPage.topic.shows(await hubPage.field("Data").inputValue());
  await subscribed.prints(`data: "quoted" 'twice' $HOME \`date\` \\ & 100 %\ndata: and @once more\nid: `);
  await subscribed.prints("event: it's\n");
  await clock.prints("Current time is");
});

test("the page needs nothing but the hub, and its policy allows nothing else", async (t) => {
  const hub = await Hub.start(t);
  const context = await browser.newContext();
  t.after(() => context.close());
  /** @type {string[]} */
  const elsewhere = [];
  context.on("request", (request) => {
    if (new URL(request.url()).origin !== hub.origin) elsewhere.push(request.url());
  });
  const { clock, complaints } = await HubPage.openIn(context, hub.origin);
  await clock.openButton.click();
  await clock.reaches("open 1");

  assert.deepEqual(elsewhere, []);
  assert.deepEqual(complaints, []);
  const { headers } = await fetch(hub.url("/"));
  assert.match(headers.get("Content-Security-Policy") ?? "", /default-src 'self'/);
  assert.equal(headers.get("X-Content-Type-Options"), "nosniff");
});
