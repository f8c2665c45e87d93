// The operator's page in a real browser, on a hub with an admin listener.

import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { once } from "node:events";
import { mkdirSync } from "node:fs";
import { connect } from "node:net";
import { after, before, test } from "node:test";
import { launch } from "./chromium.js";
import { faintTexts } from "./faint-texts.js";
import { Hub } from "./hub.js";
import { keptPort } from "./port.js";
import { until } from "./until.js";

const KEY = "a key for this test alone, 32 bytes";
const TOPIC = "https://example.com/books/1";
const PAYLOAD = "<img src=x onerror=\"document.title='hacked'\"><script>document.title='hacked'</script>";

/** @type {import("playwright-core").Browser} */
let browser;
before(async () => {
  browser = await launch();
});
after(() => browser.close());

/**
 * @param {Record<string, unknown>} mercure
 * @param {Record<string, unknown>} [claims]
 */
function token(mercure, claims = {}) {
  const part = (/** @type {object} */ value) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const message = `${part({ alg: "HS256", typ: "JWT" })}.${part({ mercure, ...claims })}`;
  return `${message}.${createHmac("sha256", KEY).update(message).digest("base64url")}`;
}

/** A hub with keys, whose admin listener is another one. */
class AdminHub {
  /**
   * @param {Hub} hub
   * @param {string} admin
   */
  constructor(hub, admin) {
    this.hub = hub;
    this.page = `http://${admin}/operator`;
    this.admin = admin;
  }

  /**
   * @param {import("node:test").TestContext} test
   * @param {{ flags?: string[], listen?: string, admin?: string, returns?: boolean }} [options]
   */
  static async start(test, { flags = ["--anonymous-subscribe", "--publisher-key", KEY, "--subscriber-key", KEY], listen, admin, returns } = {}) {
    admin ??= `127.0.0.1:${await keptPort()}`;
    const hub = await Hub.start(test, { flags: ["--admin-listen", admin, ...flags], ...(listen ? { listen } : {}), ...(returns ? { returns } : {}) });
    return new AdminHub(hub, admin);
  }

  /** @param {Record<string, string>} fields */
  async publish(fields) {
    const headers = { Authorization: `Bearer ${token({ publish: ["*"] })}` };
    const response = await fetch(this.hub.mercure, { method: "POST", headers, body: new URLSearchParams(fields) });
    assert.equal(response.status, 200, await response.text());
  }

  /**
   * A stream whose client reads its head and nothing more, while more is published than the kernel holds.
   *
   * @param {import("node:test").TestContext} test
   * @param {string} bearer
   */
  async slowReader(test, bearer) {
    const { hostname, port } = new URL(this.hub.origin);
    const socket = connect(Number(port), hostname);
    test.after(() => socket.destroy());
    socket.on("error", () => {});
    await once(socket, "connect");
    socket.write(`GET /.well-known/mercure?topic=${encodeURIComponent(TOPIC)} HTTP/1.1\r\nHost: ${hostname}\r\nAuthorization: Bearer ${bearer}\r\n\r\n`);
    await once(socket, "data");
    socket.pause();
    const data = "x".repeat(900_000);
    for (let n = 0; n < 12; n += 1) await this.publish({ topic: TOPIC, data });
    return socket;
  }
}

/**
 * @param {import("node:test").TestContext} test
 * @param {string} url
 * @param {import("playwright-core").BrowserContextOptions} [options]
 */
async function open(test, url, options) {
  const context = await browser.newContext(options);
  test.after(() => context.close());
  const page = await context.newPage();
  /** @type {string[]} */
  const complaints = [];
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.on("console", (message) => {
    if (message.type() === "error" && !/Failed to load resource/.test(message.text())) complaints.push(message.text());
  });
  await page.addInitScript(() => {
    document.addEventListener("securitypolicyviolation", (event) => console.error(`policy: ${event.violatedDirective} ${event.blockedURI}`));
  });
  await page.goto(url);
  await page.getByText("live", { exact: true }).waitFor();
  return { page, complaints };
}

/**
 * @param {import("playwright-core").Page} page
 * @param {string} selector
 * @param {RegExp} words
 */
const says = (page, selector, words) => until(`${selector} says ${words}`, async () => (await page.locator(selector).innerText()).match(words));

/**
 * @param {import("playwright-core").Page} page
 * @param {string} text
 */
async function useToken(page, text) {
  const form = page.locator("#token-form");
  await form.getByLabel("Token").fill(text);
  await form.getByRole("button", { name: "Use" }).click();
}

test("the page shows live numbers, topics and the last events", async (t) => {
  const { hub, ...admin } = await AdminHub.start(t).then((one) => Object.assign(one, { publish: one.publish.bind(one) }));
  const { page, complaints } = await open(t, admin.page);
  await says(page, "#readiness", /^ready$/);
  await says(page, "#journal", /none: the journal is empty/);
  const stream = await fetch(`${hub.mercure}?topic=${encodeURIComponent(TOPIC)}`);
  await until("the stream", async () => (await page.locator("[data-figure=streams]").innerText()) === "1");
  for (let n = 0; n < 5; n += 1) await admin.publish({ topic: TOPIC, data: `{"n":${n}}` });
  await until("a rate of updates", async () => Number(await page.locator("[data-figure=publishes]").innerText()) > 0);
  await until("a rate of deliveries", async () => Number(await page.locator("[data-figure=deliveries]").innerText()) > 0);
  await until("a latency", async () => /(µs|ms|s)$/.test(await page.locator("[data-latency='delivery.99']").innerText()));
  await says(page, "#journal", /1 to 5/);
  const row = page.locator("#topics-table tbody tr");
  assert.match(await row.innerText(), /books\/1/);
  await row.getByRole("button", { name: `Events of ${TOPIC}` }).click();
  await says(page, "#topic-events", /5 events, newest first/);
  assert.match((await page.locator("#topic-events li pre").first().textContent()) ?? "", /"n": 4/);
  await stream.body?.cancel();
  await says(page, "#reasons-table", /Stream closed: its client closed it/);
  assert.deepEqual(complaints, []);
});

test("a slow reader is shown, and ends after the question is answered", async (t) => {
  const admin = await AdminHub.start(t);
  const { page, complaints } = await open(t, admin.page);
  await says(page, "#slow-words", /Every stream has received everything/);
  const subscriber = token({ subscribe: ["*"] }, { jti: "slow one" });
  const socket = await admin.slowReader(t, subscriber);
  await says(page, "#slow-words", /One stream is behind/);
  const row = page.locator("#slow-table tbody tr");
  await says(page, "#slow-table tbody tr", /its client reads too slowly/);
  const end = row.getByRole("button", { name: /^End stream/ });

  await end.click();
  await says(page, "#act-result", /This needs a token/);
  assert.equal(await page.locator("dialog[open]").count(), 0);

  await useToken(page, token({ publish: ["*"], subscribe: ["*"] }));
  await says(page, "#token-form .result", /Used to read and to act/);
  await says(page, "#slow-table tbody tr", /books\/1/);

  const dialog = page.getByRole("dialog");
  await end.click();
  await dialog.getByText(/all streams of this token end/).waitFor();
  assert.equal(await dialog.getByRole("button", { name: "Cancel" }).evaluate((one) => one === document.activeElement), true);
  await page.keyboard.press("Escape");
  await says(page, "#act-result", /Nothing was changed/);
  assert.equal(await admin.hub.subscribersAt(`http://${admin.admin}/metrics`), 1);

  await end.click();
  const ended = once(socket, "close");
  socket.resume();
  await dialog.getByRole("button", { name: "End the stream" }).click();
  await says(page, "#act-result", /Stream \d+ has ended/);
  await ended;
  await says(page, "#reasons-table", /Stream closed: its token was revoked/);
  await says(page, "#slow-words", /Every stream has received everything/);
  const again = await fetch(`${admin.hub.mercure}?topic=a`, { headers: { Authorization: `Bearer ${subscriber}` } });
  assert.equal(again.status, 401);
  assert.deepEqual(complaints, []);
});

test("topics and data with markup are shown as text, and break no policy", async (t) => {
  const admin = await AdminHub.start(t);
  const { page, complaints } = await open(t, admin.page);
  await admin.publish({ topic: PAYLOAD, data: PAYLOAD, type: "<b>type</b>", id: "<i>id</i>" });
  const row = page.locator("#topics-table tbody tr");
  await until("the topic", async () => (await row.locator(".topic-name").allTextContents()).includes(PAYLOAD));
  await row.getByRole("button").click();
  await until("the data", async () => (await page.locator("#topic-events pre").allTextContents()).includes(PAYLOAD));
  assert.equal(await page.locator("#topic-events h3").textContent(), `Last events of ${PAYLOAD}`);
  assert.equal(await page.locator("#topics img, #topics script, #topics b, #topics i").count(), 0);
  assert.equal(await page.title(), "Tidings · operator");
  assert.deepEqual(complaints, []);
});

test("without a token private topics stay hidden, and with one they show", async (t) => {
  const admin = await AdminHub.start(t);
  const { page } = await open(t, admin.page);
  await admin.publish({ topic: "https://example.com/secret", data: "x", private: "on" });
  await admin.publish({ topic: TOPIC, data: "x" });
  await says(page, "#topics-table", /books\/1/);
  assert.doesNotMatch(await page.locator("#topics").innerText(), /secret/);
  await useToken(page, token({ subscribe: ["*"] }));
  await says(page, "#topics-table", /secret\s*private/);
  // Nothing of the token is kept.
  assert.equal(await page.evaluate(() => localStorage.length + sessionStorage.length + document.cookie.length), 0);
  assert.equal(await page.locator("#token").inputValue(), "");
  await page.getByRole("button", { name: "Forget" }).click();
  await until("the topic is hidden", async () => !/secret/.test(await page.locator("#topics").innerText()));
});

test("a token that is revoked is used no more, and the page says why", async (t) => {
  const admin = await AdminHub.start(t);
  const { page } = await open(t, admin.page);
  await useToken(page, "no token");
  await says(page, "#token-form .result", /not a token/);
  await useToken(page, "a.b.c");
  await says(page, "#token-form .result", /The hub answered 401/);
  await useToken(page, token({ subscribe: ["*"] }, { jti: "mine" }));
  await says(page, "#access-words", /shows what the token may read/);
  await useToken(page, token({ publish: ["*"] }));
  await says(page, "#access-words", /A token to act is in use/);
  await page.getByLabel("Revoke a token by its id").fill("mine");
  await page.getByRole("button", { name: "Revoke", exact: true }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Revoke the token" }).click();
  await says(page, "#act-result", /The token is revoked/);
  await says(page, "#token-form .result", /The token is used no more\. .*revoked/);
  await says(page, "#access-words", /counts and public topics/);
});

test("a hub without keys says that nothing can be ended, and what to do", async (t) => {
  const hub = await Hub.start(t);
  const { page } = await open(t, hub.url("/operator"));
  await says(page, "#access-words", /no keys.*key for publishers' tokens/);
  assert.equal(await page.locator("#token-form").isVisible(), false);
  assert.equal(await page.locator("#revoke-form").isVisible(), false);
});

test("a state that cannot be shown is reported, and the page goes on with the next one", async (t) => {
  const admin = await AdminHub.start(t);
  const { page } = await open(t, admin.page);
  await says(page, "#topics-words", /No update was published/);
  const rename = (/** @type {string} */ from, /** @type {string} */ to) =>
    page.locator(`#${from}`).evaluate((element, id) => {
      element.id = id;
    }, to);
  await rename("topics-words", "elsewhere");
  await says(page, "#feed-words", /could not be shown.*the page has no #topics-words/);
  await rename("elsewhere", "topics-words");
  await says(page, "#feed-words", /^$/);
  await admin.publish({ topic: TOPIC, data: "x" });
  await says(page, "#topics-words", /Updates published/);
});

test("a closed hub shows counts only, and asks for a token", async (t) => {
  const admin = await AdminHub.start(t, { flags: ["--publisher-key", KEY, "--subscriber-key", KEY] });
  const { page } = await open(t, admin.page);
  await admin.publish({ topic: TOPIC, data: "x" });
  await says(page, "#journal", /1 to 1/);
  await says(page, "#topics-words", /shown only to a token\. Enter a token below/);
  assert.equal(await page.locator("#topic-form").isVisible(), false);
  assert.doesNotMatch(await page.locator("body").innerText(), /books/);
});

test("the page says that the hub is gone, and after a restart that it was restarted", async (t) => {
  const admin = await AdminHub.start(t, { returns: true });
  const { page } = await open(t, admin.page);
  await admin.publish({ topic: TOPIC, data: "x" });
  await says(page, "#journal", /1 to 1/);
  await admin.hub.kill();
  await says(page, "#state .said", /(can't be reached|connection to the hub was lost)/);
  assert.equal(await page.locator("#readiness").isVisible(), false);
  await AdminHub.start(t, { listen: admin.hub.listen, admin: admin.admin });
  await says(page, "#state .said", /The hub was restarted .*all counts began anew/);
  await says(page, "#journal", /none: the journal is empty/);
});

test("the page shows a drain", async (t) => {
  const admin = await AdminHub.start(t, { flags: ["--drain", "1h", "--anonymous-subscribe", "--publisher-key", KEY] });
  const { page } = await open(t, admin.page);
  // The first of them ends at once, the others within the hour.
  const streams = await Promise.all(Array.from({ length: 5 }, () => fetch(`${admin.hub.mercure}?topic=a`)));
  await says(page, "[data-figure=streams]", /^5$/);
  admin.hub.signal("SIGTERM");
  await says(page, "#readiness", /^draining$/);
  await says(page, "#trouble", /The hub is draining/);
  for (const stream of streams) await stream.body?.cancel().catch(() => {});
});

test("everything works from the keyboard, and each control has a name and an outline", async (t) => {
  const admin = await AdminHub.start(t);
  const { page } = await open(t, admin.page);
  await admin.publish({ topic: TOPIC, data: "x" });
  await says(page, "#topics-table", /books/);
  const names = [];
  for (let stop = 0; stop < 20; stop += 1) {
    await page.keyboard.press("Tab");
    const [outline, name] = await page.evaluate(() => {
      const element = document.activeElement ?? document.body;
      const style = getComputedStyle(element);
      return [`${style.outlineStyle} ${style.outlineWidth}`, element.id || element.textContent?.trim() || ""];
    });
    if (name.length > 60) break;
    assert.equal(outline, "solid 2px", name);
    names.push(name);
  }
  for (const wanted of [`Events of ${TOPIC}`, "topic-name", "Show", "token", "Use", "Forget", "jti", "Revoke"]) {
    assert.ok(names.includes(wanted), `${wanted} in ${names.join(", ")}`);
  }
  for (const control of await page.locator("button, input").all()) {
    if (!(await control.isVisible())) continue;
    const snapshot = await control.ariaSnapshot();
    assert.match(snapshot, /"[^"]+"/, `no name: ${snapshot}`);
  }
  // A row in focus keeps the focus while the table is updated.
  const button = page.getByRole("button", { name: `Events of ${TOPIC}` });
  await button.focus();
  for (let n = 0; n < 3; n += 1) await admin.publish({ topic: `https://example.com/books/${n + 2}`, data: "x" });
  await admin.publish({ topic: "https://example.com/books/4", data: "x" });
  await says(page, "#topics-table", /books\/4/);
  assert.equal(await button.evaluate((one) => one === document.activeElement), true);
});

for (const colorScheme of /** @type {const} */ (["light", "dark"])) {
  for (const width of [360, 768, 1280, 2560]) {
    test(`${colorScheme}, ${width} px wide: nothing overflows, and all text is readable`, async (t) => {
      const admin = await AdminHub.start(t);
      const { page } = await open(t, admin.page, { colorScheme, viewport: { width, height: 800 } });
      const stream = await fetch(`${admin.hub.mercure}?topic=a`);
      await admin.slowReader(t, token({ subscribe: ["*"] }));
      const long = `https://example.com/${"unbroken".repeat(60)}`;
      for (const topic of [long, TOPIC, "https://example.com/prices/eur", "https://example.com/prices/usd"]) await admin.publish({ topic, data: "x" });
      await admin.publish({ topic: "https://example.com/orders/7", data: '{"order": 7, "total": "12.50"}', private: "on" });
      await useToken(page, token({ publish: ["*"], subscribe: ["*"] }));
      await says(page, "#slow-table tbody tr", width > 700 ? /books/ : /reads too slowly/);
      await page.getByRole("button", { name: "Events of https://example.com/orders/7" }).click();
      await says(page, "#topic-events", /One event/);

      const wide = await page.evaluate(() =>
        [...document.querySelectorAll("*")]
          .filter((element) => element.getBoundingClientRect().right > innerWidth + 0.5)
          .map((element) => element.outerHTML.slice(0, 100)),
      );
      assert.deepEqual(wide, []);
      assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), width);
      assert.deepEqual(await page.evaluate(faintTexts), []);
      if (process.env.SCREENSHOTS) {
        mkdirSync(process.env.SCREENSHOTS, { recursive: true });
        await page.evaluate(() => scrollTo(0, 0));
        await page.screenshot({ path: `${process.env.SCREENSHOTS}/operator-${colorScheme}-${width}.png`, fullPage: true });
        await page.getByRole("button", { name: /^End stream/ }).click();
        await page.getByRole("dialog").waitFor();
        await page.screenshot({ path: `${process.env.SCREENSHOTS}/operator-${colorScheme}-${width}-dialog.png` });
      }
      await stream.body?.cancel();
    });
  }
}
