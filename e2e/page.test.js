// The hub's page, with its buttons pressed.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { after, before, test } from "node:test";
import { launch } from "./chromium.js";
import { Command } from "./command.js";
import { HubPage } from "./hub-page.js";
import { Hub, binary as tidings } from "./hub.js";
import { until } from "./until.js";

const TOPIC = "https://example.com/books/1";

/** @type {import("playwright-core").Browser} */
let browser;
before(async () => {
  browser = await launch();
});
after(() => browser.close());

test("the first press of Publish shows the event, with its topic, type, id and time", async (t) => {
  const hub = await Hub.start(t);
  const hubPage = await HubPage.open(t, browser, hub.origin);
  await hubPage.topic.reaches("open");
  await hubPage.pressPublish();
  const [, id = ""] = await hubPage.says(/^Published at \S+ as (tidings:\S+)\. It arrived here after \d+ ms\.$/);

  const event = hubPage.topic.part.locator(".events > li:not(.notice)");
  assert.equal(await event.count(), 1);
  assert.equal(await event.locator(".data pre").textContent(), await hubPage.field("Data").inputValue());
  assert.equal(await event.locator(".topic").textContent(), `topic ${TOPIC}`);
  assert.equal(await event.locator(".type").textContent(), "type message");
  assert.equal(await event.locator(".id").textContent(), `id ${id}`);
  assert.match(await event.locator("time").innerText(), /^\d\d:\d\d:\d\d\.\d{3}$/);
  assert.equal(await hubPage.topic.lastEventId(), id);
  assert.deepEqual(hubPage.complaints, []);
});

test("the page shows its version, the reference, and the hub's live numbers", async (t) => {
  const hub = await Hub.start(t);
  const { page, topic } = await HubPage.open(t, browser, hub.origin);
  await topic.reaches("open");
  await hub.publish({ topic: TOPIC, data: "one" });
  const numbers = page.locator("#numbers");
  await until("one stream and one update", async () => /1 stream open\s+1 update published/.test(await numbers.innerText()));
  assert.match(await page.locator(".version").innerText(), /^\d+\.\d+\.\d+/);

  await page.getByRole("link", { name: "Reference" }).click();
  await page.getByText("# Interfaces of the hub").waitFor();
});

test("Open shows the clock's events", async (t) => {
  const hub = await Hub.start(t);
  const { clock, complaints } = await HubPage.open(t, browser, hub.origin);
  assert.equal(await clock.state(), "closed");

  await clock.open();
  await clock.reaches("open");
  await until("two events", async () => (await clock.data()).length >= 2);

  const [newest = ""] = await clock.data();
  assert.match(JSON.parse(newest).message, /^Current time is \d{1,2}:\d\d:\d\d [AP]M$/);
  assert.deepEqual(complaints, []);
});

test("the Enter key keeps the one connection if the topic is open", async (t) => {
  const hub = await Hub.start(t);
  const context = await browser.newContext();
  t.after(() => context.close());
  /** @type {string[]} */
  const streams = [];
  context.on("request", (request) => {
    const { pathname } = new URL(request.url());
    if (pathname === "/.well-known/mercure" && request.method() === "GET") streams.push(pathname);
  });
  const { topic } = await HubPage.openIn(context, hub.origin);
  await topic.reaches("open");
  await topic.topicField.press("Enter");
  await topic.says(/keeps its connection/);
  assert.equal(await topic.state(), "open");
  await hub.publish({ topic: TOPIC, data: "once" });
  await topic.shows("once");

  assert.equal(streams.length, 1);
  assert.deepEqual((await topic.data()).filter((data) => data === "once"), ["once"]);
  assert.equal(await hub.subscribers(), 1);
});

test("another topic replaces the one that is open", async (t) => {
  const hub = await Hub.start(t);
  const { topic } = await HubPage.open(t, browser, hub.origin);
  await topic.reaches("open");

  await topic.topicField.fill("*");
  await topic.part.getByRole("button", { name: "Open this topic" }).first().click();
  await topic.reaches("open");
  await until("the first is gone", async () => (await hub.subscribers()) === 1);
  await hub.publish({ topic: TOPIC, data: "the first" });
  await hub.publish({ topic: "https://example.com/books/2", data: "the second" });
  await topic.shows("the second");
  assert.deepEqual(await topic.data(), ["the second", "the first"]);
  const topics = await topic.part.locator(".events .topic").allTextContents();
  assert.deepEqual(topics, ["topic https://example.com/books/2", `topic ${TOPIC}`]);
});

test("Close shows the state closed, and the hub removes the stream", async (t) => {
  const hub = await Hub.start(t);
  const { topic } = await HubPage.open(t, browser, hub.origin);
  await topic.reaches("open");
  assert.equal(await hub.subscribers(), 1);

  await topic.close();
  await topic.reaches("closed");
  await until("no subscriber is left", async () => (await hub.subscribers()) === 0);
  await hub.publish({ topic: TOPIC, data: "to nobody" });

  await topic.open();
  await topic.reaches("open");
  await hub.publish({ topic: TOPIC, data: "to somebody" });
  await topic.shows("to somebody");
  assert.deepEqual(await topic.data(), ["to somebody"]);
});

test("an event from the form appears on the page, in a second tab and in curl", async (t) => {
  const hub = await Hub.start(t);
  const first = await HubPage.open(t, browser, hub.origin);
  const second = await HubPage.openIn(first.page.context(), hub.origin);
  const curl = new Command(t, "curl", ["-sN", `${hub.mercure}?topic=${encodeURIComponent(TOPIC)}`]);
  for (const { topic } of [first, second]) await topic.reaches("open");
  await until("three subscribers", async () => (await hub.subscribers()) === 3);

  await first.field("Data").fill("first line\nsecond line");
  await first.pressPublish();
  const [, id = ""] = await first.says(/^Published at \S+ as (tidings:\S+)\./);

  for (const { topic } of [first, second]) {
    await topic.shows("first line\nsecond line");
    await until("the last event id", async () => (await topic.lastEventId()) === id);
  }
  await curl.prints(`data: first line\ndata: second line\nid: ${id}\n\n`);
  assert.deepEqual([...first.complaints, ...second.complaints], []);
});

test("events of every type are shown, with their type", async (t) => {
  const hub = await Hub.start(t);
  const hubPage = await HubPage.open(t, browser, hub.origin);
  await hubPage.topic.reaches("open");
  const published = new Command(t, tidings, ["publish", "--hub", hub.origin, "--type", "price", TOPIC, "12.99"]);
  await published.prints("tidings:");
  await hubPage.topic.shows("12.99");
  await hub.publish({ topic: TOPIC, type: "sold-out", data: "none left" });
  await hubPage.topic.shows("none left");
  await hubPage.field("Type").fill("back");
  await hubPage.field("Data").fill("two more");
  await hubPage.pressPublish();
  await hubPage.topic.shows("two more");

  const types = await hubPage.topic.part.locator("li:not(.notice) .type").allTextContents();
  assert.deepEqual(types, ["type back", "type sold-out", "type price"]);
  assert.equal(await hubPage.topic.received.innerText(), "3 events");
});

test("published events may be of the types that EventSource uses itself", async (t) => {
  const hub = await Hub.start(t);
  const { topic } = await HubPage.open(t, browser, hub.origin);
  await topic.reaches("open");

  await hub.publish({ topic: TOPIC, type: "error", data: "no failure" });
  await hub.publish({ topic: TOPIC, type: "open", data: "no opening" });
  await topic.shows("no opening");
  assert.deepEqual(await topic.data(), ["no opening", "no failure"]);
  assert.equal(await topic.state(), "open");
  assert.equal(await hub.subscribers(), 1);
});

test("a refused publish is reported with the hub's reason", async (t) => {
  const hub = await Hub.start(t);
  const hubPage = await HubPage.open(t, browser, hub.origin);

  await hubPage.field("Type").fill("tidings");
  await hubPage.pressPublish();
  await hubPage.says(/^Not published\. The hub answered 400\b.*tidings/s);

  await hubPage.field("Type").fill("");
  await hubPage.page.locator("summary").click();
  await hubPage.field("Retry, in ms").fill("soon");
  await hubPage.pressPublish();
  await hubPage.says(/^Not published\. The hub answered 400\b.*retry/s);

  await hubPage.field("Retry, in ms").fill("");
  await hubPage.pressPublish();
  await hubPage.says(/^Published/);
});

test("where a publish reaches nobody here, the page says so, and offers to open the topic", async (t) => {
  const hub = await Hub.start(t);
  const hubPage = await HubPage.open(t, browser, hub.origin);
  const { topic, hint } = hubPage;
  await topic.reaches("open");
  assert.equal(await hint.innerText(), "");
  const offer = hubPage.publishing.getByRole("button", { name: "Open this topic" });
  assert.equal(await offer.count(), 0);

  await topic.topicField.fill("https://example.com/books/2");
  assert.match(await hint.innerText(), /The stream here is of \S+\/books\/1, so the event will not show/);
  await hubPage.pressPublish();
  await hubPage.says(/^Published at \S+ as \S+\.$/);
  await offer.click();
  await topic.reaches("open");
  assert.equal(await hint.innerText(), "");
  await hubPage.pressPublish();
  await hubPage.says(/It arrived here after/);

  await topic.close();
  assert.match(await hint.innerText(), /No stream is open here/);
  await topic.topicField.fill("*");
  assert.match(await hint.innerText(), /enter one topic/);
  await topic.topicField.press("Enter");
  await topic.reaches("open");
  await topic.topicField.fill("https://example.com/another");
  assert.equal(await hint.innerText(), "");
  await hubPage.pressPublish();
  await hubPage.says(/It arrived here after/);
});

test("without keys the page has neither tokens nor private events, and without the clock no clock", async (t) => {
  const hub = await Hub.start(t);
  const { page, access, clock } = await HubPage.open(t, browser, hub.origin);
  await clock.part.waitFor();
  assert.equal(await access.count(), 0);
  await page.locator("summary").click();
  assert.ok(!(await page.getByLabel("Private").isVisible()));

  const quiet = await Hub.start(t, { flags: ["--anonymous-subscribe", "--anonymous-publish"] });
  const other = await HubPage.open(t, browser, quiet.origin);
  await other.topic.reaches("open");
  assert.equal(await other.clock.part.count(), 0);
  assert.ok(!(await other.page.locator("#command-clock").isVisible()));
  assert.ok(!(await other.closed.isVisible()));
});

test("a hub with keys is closed until a token is used, and the commands have the token", async (t) => {
  const key = "a key for this test alone, 32 bytes";
  const hub = await Hub.start(t, { flags: ["--publisher-key", key, "--subscriber-key", key] });
  const hubPage = await HubPage.open(t, browser, hub.origin);
  const { page, access, topic, closed } = hubPage;
  assert.match(await closed.innerText(), /needs a token to publish and to watch topics\. .*tidings token --publish '\*' --subscribe '\*'/);
  assert.equal(await topic.state(), "closed");
  assert.equal(await hubPage.hint.innerText(), "Publishing to this hub needs a token.");
  await hubPage.pressPublish();
  await hubPage.says(/^Not published\. The hub answered 401/);

  const token = execFileSync(tidings, ["token", "--publish", "*", "--subscribe", "*", "--key", key], { encoding: "utf8" }).trim();
  await access.getByLabel("Token", { exact: true }).fill(token);
  await access.getByRole("button", { name: "Use" }).click();
  await topic.reaches("open");
  assert.ok(!(await closed.isVisible()));
  await page.locator("summary").click();
  await hubPage.field("Private").check();
  await hubPage.field("Data").fill("for few");
  await hubPage.pressPublish();
  await hubPage.says(/It arrived here after/);
  await topic.shows("for few");

  await hubPage.field("Data").fill("by the command");
  const [publishing, subscribing] = [page.locator("#command-publish"), page.locator("#command-subscribe")];
  for (const command of [publishing, subscribing]) assert.ok(!(await command.innerText()).includes("\n"));
  const subscribed = new Command(t, "sh", ["-c", `exec ${await subscribing.innerText()}`]);
  await until("both are subscribed", async () => (await hub.subscribers()) === 2);
  new Command(t, "sh", ["-c", `exec ${await publishing.innerText()}`]);
  await topic.shows("by the command");
  await subscribed.prints("data: by the command\n");

  await access.getByRole("button", { name: "Forget" }).click();
  await topic.says(/needs a token/);
  assert.equal(await topic.state(), "closed");
  assert.ok(await closed.isVisible());
  assert.ok(!(await publishing.innerText()).includes(token));
  assert.match(await publishing.innerText(), / -H "Authorization: Bearer \$TOKEN" /);
  assert.deepEqual(hubPage.complaints, []);
});

test("a token that is used while the topic is open reads private events at once", async (t) => {
  const key = "a key for this test alone, 32 bytes";
  const flags = ["--publisher-key", key, "--subscriber-key", key, "--anonymous-subscribe", "--anonymous-publish"];
  const hub = await Hub.start(t, { flags });
  const hubPage = await HubPage.open(t, browser, hub.origin);
  const { page, access, topic, hint } = hubPage;
  await topic.reaches("open");
  await page.locator("summary").click();
  await hubPage.field("Private").check();
  assert.match(await hint.innerText(), /It is private: without a token/);

  const token = execFileSync(tidings, ["token", "--publish", "*", "--subscribe", "*", "--key", key], { encoding: "utf8" }).trim();
  await access.getByLabel("Token", { exact: true }).fill(token);
  await access.getByRole("button", { name: "Use" }).click();
  await topic.reaches("open");
  await until("no hint", async () => (await hint.innerText()) === "");
  await hubPage.field("Data").fill("a secret");
  await hubPage.pressPublish();
  await topic.shows("a secret");
});

test("on a hub that is closed to everybody, the page says how to open it", async (t) => {
  // The command refuses to start such a hub, but a service may embed one, and a reload may make one.
  const hub = await Hub.start(t);
  const context = await browser.newContext();
  t.after(() => context.close());
  await context.route(hub.url("/"), async (route) => {
    const response = await route.fetch();
    const body = (await response.text()).replace(/"(anonymous\w+)":true/g, '"$1":false');
    await route.fulfill({ response, body });
  });
  const { topic, closed, complaints } = await HubPage.openIn(context, hub.origin);
  assert.match(await closed.innerText(), /closed to everybody.* --anonymous-publish and --anonymous-subscribe/);
  assert.equal(await topic.state(), "closed");
  assert.equal(await hub.subscribers(), 0);
  assert.deepEqual(complaints, []);
});

test("a hub on which only publishing needs a token says so, and opens the topic", async (t) => {
  const hub = await Hub.start(t, { flags: ["--publisher-key", "a key for this test alone, 32 bytes", "--anonymous-subscribe"] });
  const { topic, closed } = await HubPage.open(t, browser, hub.origin);
  await topic.reaches("open");
  assert.match(await closed.innerText(), /needs a token to publish\./);
});

test("a hub with a key for publishers only offers nothing that needs one for subscribers", async (t) => {
  const key = "a key for this test alone, 32 bytes";
  const hub = await Hub.start(t, { flags: ["--publisher-key", key, "--anonymous-subscribe"] });
  const hubPage = await HubPage.open(t, browser, hub.origin);
  const { page, access, topic, closed } = hubPage;
  await topic.reaches("open");
  await page.locator("summary").click();
  assert.ok(!(await page.getByLabel("Private").isVisible()));
  assert.equal(await access.getByRole("button", { name: "List subscriptions" }).count(), 0);

  const token = execFileSync(tidings, ["token", "--publish", "*", "--subscribe", "*", "--key", key], { encoding: "utf8" }).trim();
  await access.getByLabel("Token", { exact: true }).fill(token);
  await access.getByRole("button", { name: "Use" }).click();
  await until("its use", async () => /^Used to publish from now on/.test(await access.getByRole("status").innerText()));
  assert.ok(!(await closed.isVisible()));
  await hubPage.field("Data").fill("with the token");
  await hubPage.pressPublish();
  await topic.shows("with the token");
  assert.equal(await topic.state(), "open");

  const reading = execFileSync(tidings, ["token", "--subscribe", "*", "--key", key], { encoding: "utf8" }).trim();
  await access.getByLabel("Token", { exact: true }).fill(reading);
  await access.getByRole("button", { name: "Use" }).click();
  await until("the reason", async () => /^Not used: this hub has no key/.test(await access.getByRole("status").innerText()));
  assert.deepEqual(hubPage.complaints, []);
});

test("a token is used as it was copied: with line breaks, spaces, and the word before it", async (t) => {
  const key = "a key for this test alone, 32 bytes";
  const hub = await Hub.start(t, { flags: ["--publisher-key", key, "--subscriber-key", key] });
  const { access, topic } = await HubPage.open(t, browser, hub.origin);
  const token = execFileSync(tidings, ["token", "--publish", "*", "--subscribe", "*", "--key", key], { encoding: "utf8" }).trim();
  for (const copied of [`  ${token}\n`, `${token.slice(0, 40)} \r\n  ${token.slice(40)}`, `Bearer ${token}`]) {
    await access.getByLabel("Token", { exact: true }).fill(copied);
    await access.getByRole("button", { name: "Use" }).click();
    await topic.reaches("open");
    await access.getByRole("button", { name: "Forget" }).click();
    await topic.reaches("closed");
  }
});

test("an answer of a proxy in place of the list of subscriptions is told as what it is", async (t) => {
  const key = "a key for this test alone, 32 bytes";
  const flags = ["--publisher-key", key, "--subscriber-key", key, "--anonymous-subscribe", "--anonymous-publish"];
  const hub = await Hub.start(t, { flags });
  const { page, access, topic } = await HubPage.open(t, browser, hub.origin);
  await topic.reaches("open");
  for (const [status, words] of /** @type {const} */ ([
    [502, /^The hub answered 502.*Bad gateway/],
    [200, /^The answer \(200, text\/html\) is no list of subscriptions\./],
  ])) {
    await page.route("**/subscriptions", (route) => route.fulfill({ status, contentType: "text/html", body: "<h1>Bad gateway</h1>" }));
    await access.getByRole("button", { name: "List subscriptions" }).click();
    await until(`the words ${words}`, async () => words.test(await access.getByRole("status").innerText()));
    await page.unroute("**/subscriptions");
  }
});

test("another start that is chosen while the topic is open reopens it once", async (t) => {
  const hub = await Hub.start(t);
  const { page, topic } = await HubPage.open(t, browser, hub.origin);
  await topic.reaches("open");
  await hub.publish({ topic: "https://example.com/books/1", data: "first" });
  await topic.shows("first");
  // Each of these changes what the page shows of its state.
  for (const name of ["a", "b", "c"]) await topic.topicField.fill(`https://example.com/${name}`);
  await topic.topicField.fill("https://example.com/books/1");
  /** @type {string[]} */
  const asked = [];
  page.on("request", (request) => {
    if (request.url().includes("/.well-known/mercure?")) asked.push(request.url());
  });
  await page.getByLabel("Watch from").selectOption("earliest");
  await until("it begins anew", async () => (await topic.data()).filter((data) => data === "first").length === 2);
  assert.equal(asked.length, 1);
});

test("the page keeps up with 5,000 events in a second", async (t) => {
  const hub = await Hub.start(t);
  const { page, topic, complaints } = await HubPage.open(t, browser, hub.origin);
  await topic.reaches("open");
  await page.evaluate(() => {
    const pauses = /** @type {any} */ (window);
    pauses.longestFrameMs = 0;
    let before = performance.now();
    const frame = (/** @type {number} */ now) => {
      pauses.longestFrameMs = Math.max(pauses.longestFrameMs, now - before);
      before = now;
      requestAnimationFrame(frame);
    };
    requestAnimationFrame(frame);
  });

  // Ten batches in a second, of 500 events each.
  for (let batch = 0; batch < 10; batch += 1) {
    const next = new Promise((resolve) => setTimeout(resolve, 100));
    const lines = Array.from({ length: 500 }, (_, n) => JSON.stringify({ topics: [TOPIC], data: `event ${batch * 500 + n}` }));
    const headers = { "Content-Type": "application/x-ndjson" };
    const { status } = await fetch(hub.mercure, { method: "POST", headers, body: lines.join("\n") });
    assert.equal(status, 200);
    await next;
  }
  await topic.shows("event 4999");
  assert.equal(await topic.received.innerText(), "5,000 events, the newest 200 shown");
  assert.equal(await topic.events.count(), 200);
  // The newest ones without a hole. A slow machine may get a notice among them.
  const shown = await topic.data();
  assert.deepEqual(shown, Array.from(shown, (_, n) => `event ${4999 - n}`));
  assert.ok(shown.length >= 190, `${shown.length} events`);
  // A machine under test is slow, but the page must answer.
  const longest = await page.evaluate(() => /** @type {any} */ (window).longestFrameMs);
  assert.ok(longest < 2_000, `a frame of ${longest} ms`);
  await topic.close();
  await topic.reaches("closed");
  assert.deepEqual(complaints, []);
});

test("a screen reader is told of a burst in a few sentences", async (t) => {
  const hub = await Hub.start(t);
  const { page, topic } = await HubPage.open(t, browser, hub.origin);
  await topic.reaches("open");
  await page.evaluate(() => {
    const said = /** @type {string[]} */ ((/** @type {any} */ (window).said = []));
    const place = document.querySelector(".arrivals");
    if (place) new MutationObserver(() => said.push(place.textContent ?? "")).observe(place, { childList: true });
  });
  for (let n = 1; n <= 50; n += 1) await hub.publish({ topic: TOPIC, data: `event ${n}` });
  await topic.shows("event 50");
  /** @type {string[]} */
  let said = [];
  await until("the burst is summed up", async () => {
    said = await page.evaluate(() => /** @type {any} */ (window).said);
    return said.at(-1)?.endsWith("event 50");
  });
  assert.equal(said[0], "New event: event 1");
  assert.ok(said.length < 10, said.join("; "));
});

test("Clear can be undone", async (t) => {
  const hub = await Hub.start(t);
  const { topic } = await HubPage.open(t, browser, hub.origin);
  await topic.reaches("open");
  for (const data of ["one", "two"]) await hub.publish({ topic: TOPIC, data });
  await topic.shows("two");

  await topic.part.getByRole("button", { name: "Clear the events" }).click();
  assert.deepEqual(await topic.data(), []);
  await topic.part.getByText("Cleared 2 events.").waitFor();
  assert.equal(await topic.received.innerText(), "none yet");
  await hub.publish({ topic: TOPIC, data: "three" });
  await topic.shows("three");

  await topic.part.getByRole("button", { name: "Undo" }).click();
  assert.deepEqual(await topic.data(), ["three", "two", "one"]);
  assert.equal(await topic.received.innerText(), "3 events");
  assert.ok(await topic.part.getByRole("button", { name: "Clear the events" }).evaluate((button) => button === document.activeElement));
});

test("the page keeps the newest 200 events, and says so", async (t) => {
  const hub = await Hub.start(t);
  const { topic } = await HubPage.open(t, browser, hub.origin);
  await topic.reaches("open");

  const all = Array.from({ length: 230 }, (_, number) => `event ${number}`);
  for (const data of all) await hub.publish({ topic: TOPIC, data });
  await topic.shows("event 229");

  assert.deepEqual(await topic.data(), all.slice(-200).reverse());
  // The notice that the stream is live is in the list, but is no event.
  assert.equal(await topic.received.innerText(), "230 events, the newest 200 shown");
});

test("data is text, whatever it looks like", async (t) => {
  const hub = await Hub.start(t);
  const hubPage = await HubPage.open(t, browser, hub.origin);
  await hubPage.topic.reaches("open");

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
  await topic.reaches("open");
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
  // The indentation of JSON that is so deep would have millions of characters.
  const deep = `${"[".repeat(900)}${"]".repeat(900)}`;
  await hub.publish({ topic: TOPIC, data: deep });
  await topic.shows(deep);
  await topic.part.getByRole("button", { name: "Clear the events" }).click();
  await hub.publish({ topic: TOPIC, data });
  await topic.shows(indented);
  await topic.part.getByLabel("Indent JSON").uncheck();
  assert.deepEqual(await topic.data(), [data]);
});

test("long data is cut, and shown whole on demand", async (t) => {
  const hub = await Hub.start(t);
  const { topic } = await HubPage.open(t, browser, hub.origin);
  await topic.reaches("open");
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
  await topic.reaches("open");
  await topic.part.getByLabel("Watch from").selectOption({ label: "the earliest event kept" });
  await topic.shows("before anybody came");
});

test("every notice is one line in words, and none counts as an event", async (t) => {
  const hub = await Hub.start(t);
  const { page, topic } = await HubPage.open(t, browser, hub.origin);
  await topic.reaches("open");
  await topic.close();
  await topic.part.getByRole("button", { name: "Clear the events" }).click();
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

  await topic.open();
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
  assert.equal(await topic.part.locator(".notice.loss").count(), 4);
  assert.equal(await topic.received.innerText(), "none yet");
});

test("the command lines work as shown", async (t) => {
  const hub = await Hub.start(t);
  const hubPage = await HubPage.open(t, browser, hub.origin);
  await hubPage.topic.reaches("open");
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
  const { clock, topic, complaints } = await HubPage.openIn(context, hub.origin);
  await clock.open();
  await clock.reaches("open");
  await topic.reaches("open");

  assert.deepEqual(elsewhere, []);
  assert.deepEqual(complaints, []);
  const { headers } = await fetch(hub.url("/"));
  assert.match(headers.get("Content-Security-Policy") ?? "", /default-src 'self'/);
  assert.equal(headers.get("X-Content-Type-Options"), "nosniff");
});
