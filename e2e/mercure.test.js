// Typical uses of Mercure: third-party publishers, and a browser whose visitor is authorized by a cookie.

import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { createRequire } from "node:module";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { launch } from "./chromium.js";
import { Command } from "./command.js";
import { Hub } from "./hub.js";
import { until } from "./until.js";

const KEY = "!ChangeThisMercureHubJWTSecretKey!";
const ISSUER = "https://issuer.example.com";
const TOPIC = "https://example.com/books/1";
const TEMPLATE = "https://example.com/books/{id}";

/**
 * A token, made without code of Tidings.
 *
 * @param {object} claims
 * @param {string} [type]
 * @param {string} [key]
 */
function token(claims, type = "JWT", key = KEY) {
  const encode = (/** @type {object} */ part) => Buffer.from(JSON.stringify(part)).toString("base64url");
  const message = `${encode({ alg: "HS256", typ: type })}.${encode(claims)}`;
  return `${message}.${createHmac("sha256", key).update(message).digest("base64url")}`;
}

/**
 * @param {import("node:test").TestContext} t
 * @param {string[]} [flags]
 */
function start(t, flags = []) {
  const keys = ["--publisher-key", KEY, "--subscriber-key", KEY];
  return Hub.start(t, { flags: [...keys, "--audience", "https://hub.example.com", "--issuer", ISSUER, ...flags] });
}

/**
 * A page of the hub's own origin, with a cookie, on which an `EventSource` listens.
 *
 * @param {import("node:test").TestContext} t
 * @param {Hub} hub
 * @param {(() => { name: string, value: string, secure?: boolean }) | undefined} cookie made once the
 *   browser is there, which may take long
 * @param {string} query
 */
async function listen(t, hub, cookie, query) {
  const browser = await launch();
  t.after(() => browser.close());
  const context = await browser.newContext();
  if (cookie) {
    const { hostname } = new URL(hub.origin);
    const path = "/.well-known/mercure";
    await context.addCookies([{ httpOnly: true, sameSite: "Strict", ...cookie(), domain: hostname, path }]);
  }
  const page = await context.newPage();
  await page.goto(hub.url("/healthz"));
  await page.evaluate((url) => {
    const seen = /** @type {{ type: string, data: string, id: string }[]} */ ([]);
    const errors = /** @type {number[]} */ ([]);
    Object.assign(window, { seen, errors });
    const source = new EventSource(url, { withCredentials: true });
    for (const type of ["message", "price", "mercure", "tidings"]) {
      source.addEventListener(type, ({ data, lastEventId }) => seen.push({ type, data, id: lastEventId }));
    }
    source.addEventListener("error", () => errors.push(source.readyState));
  }, `${hub.mercure}?${query}`);
  return {
    page,
    seen: () => page.evaluate(() => /** @type {any} */ (window).seen),
    errors: () => page.evaluate(() => /** @type {any} */ (window).errors),
  };
}

const subscribes = token({ mercure: { subscribe: [TEMPLATE] } });
const deployed = () => ({ name: "mercureAuthorization", value: subscribes });
const query = `topic=${encodeURIComponent(TEMPLATE)}`;

/** @type {[string, (t: import("node:test").TestContext, hub: Hub, data: string) => Promise<string>][]} */
const PUBLISHERS = [
  [
    "the Python package mercure-publisher",
    async (t, hub, data) => {
      const python = process.env.PYTHON;
      assert.ok(python, "PYTHON names no Python with requirements.txt installed");
      const script = fileURLToPath(new URL("mercure_publisher_client.py", import.meta.url));
      const run = new Command(t, python, [script, hub.mercure, KEY, `${TOPIC} https://example.com/other`, data]);
      await run.ended;
      assert.equal(run.errors, "");
      return run.output.trim();
    },
  ],
  [
    "the npm package mercure",
    async (_t, hub, data) => {
      const { Publisher } = createRequire(import.meta.url)("mercure");
      const { hostname, port } = new URL(hub.origin);
      const jwt = token({ mercure: { publish: ["*"] } });
      const config = { protocol: "http", host: hostname, port: Number(port), path: "/.well-known/mercure", jwt };
      const id = await new Publisher(config).publish([TOPIC], data, { id: "urn:uuid:node", type: "price" });
      return String(id);
    },
  ],
  [
    "a request as Symfony's component makes it",
    async (_t, hub, data) => {
      // It sends the fields that are set, and each topic by itself.
      const body = `topic=${encodeURIComponent(TOPIC)}&data=${encodeURIComponent(data)}&private=on&id=urn%3Auuid%3Aphp&type=price`;
      const response = await fetch(hub.mercure, {
        method: "POST",
        headers: {
          Authorization: `Bearer ${token({ mercure: { publish: ["*"] } })}`,
          "Content-Type": "application/x-www-form-urlencoded",
          Accept: "*/*",
        },
        body,
      });
      assert.equal(response.status, 200);
      assert.match(response.headers.get("content-type") ?? "", /^text\/plain/);
      return response.text();
    },
  ],
];

for (const [name, publish] of PUBLISHERS) {
  test(`an event that ${name} publishes reaches a browser that has the cookie`, async (t) => {
    const hub = await start(t);
    const { seen } = await listen(t, hub, deployed, query);
    await until("it is subscribed", async () => (await hub.subscribers()) === 1);
    const data = '{"price": 12, "text": "ä\\n☂"}';
    const id = await publish(t, hub, data);
    await until("the event", async () => (await seen()).length === 1);
    assert.match(id, /^urn:uuid:(python|node|php)$/);
    assert.deepEqual(await seen(), [{ type: "price", data, id }]);
  });
}

test("a browser without the cookie is refused, or gets no private events if anonymous clients may read", async (t) => {
  const closed = await start(t);
  const refused = await listen(t, closed, undefined, query);
  await until("the end", async () => (await refused.errors()).includes(2));

  const open = await start(t, ["--anonymous-subscribe"]);
  const reads = await listen(t, open, undefined, query);
  await until("it is subscribed", async () => (await open.subscribers()) === 1);
  const publish = (/** @type {Record<string, string>} */ fields) =>
    fetch(open.mercure, {
      method: "POST",
      headers: { Authorization: `Bearer ${token({ mercure: { publish: ["*"] } })}` },
      body: new URLSearchParams({ topic: TOPIC, ...fields }),
    });
  await publish({ data: "secret", private: "" });
  await publish({ data: "public" });
  await until("the public event", async () => (await reads.seen()).length === 1);
  assert.equal((await reads.seen())[0].data, "public");
});

test("a token of 1.0 in a cookie authorizes a browser, and its expiry ends the stream", async (t) => {
  const hub = await start(t, ["--listen", "localhost:0"]);
  const claims = () => ({
    iss: ISSUER,
    aud: "https://hub.example.com",
    exp: Math.floor(Date.now() / 1000) + 6,
    authorization_details: [
      {
        type: "https://mercure.rocks/authorization-detail",
        actions: ["subscribe"],
        topics: [{ match: "https://example.com/books/:id", match_type: "urlpattern" }],
      },
    ],
  });
  // Browsers take loopback for as safe as https, and so keep secure cookies for it.
  const cookie = () => ({ name: "__Secure-mercure_access_token", value: token(claims(), "at+jwt"), secure: true });
  const pattern = `match_urlpattern=${encodeURIComponent("https://example.com/books/:id")}`;
  const { seen, errors } = await listen(t, hub, cookie, pattern);
  await until("it is subscribed", async () => (await hub.subscribers()) === 1);
  await fetch(hub.mercure, {
    method: "POST",
    headers: { Authorization: `Bearer ${token({ mercure: { publish: [TOPIC] } })}` },
    body: new URLSearchParams({ topic: TOPIC, data: "secret", private: "on" }),
  });
  await until("the event", async () => (await seen()).some((/** @type {any} */ one) => one.data === "secret"));
  // The browser is told, the stream ends, and the reconnect with the old token is refused.
  await until("the end", async () => (await errors()).includes(2));
  const notices = (await seen()).filter((/** @type {any} */ one) => one.type === "tidings");
  assert.deepEqual(notices.map((/** @type {any} */ one) => JSON.parse(one.data).kind), ["expiring"]);
});

test("the page uses a token, shows its grants, private events and the list of subscriptions", async (t) => {
  const hub = await start(t, ["--anonymous-subscribe"]);
  const browser = await launch();
  t.after(() => browser.close());
  const page = await browser.newPage();
  await page.goto(hub.url("/"));
  const access = page.locator("#access");
  const use = async (/** @type {string} */ text) => {
    await access.locator("[name=token]").fill(text);
    await access.getByRole("button", { name: "Use" }).click();
  };
  const says = (/** @type {RegExp} */ words) =>
    until(`it says ${words}`, async () => words.test((await access.locator(".result").textContent()) ?? ""));

  await access.getByRole("button", { name: "List subscriptions" }).click();
  await says(/token/);
  await use("no token");
  await says(/not a token \(JWT\)/);
  await use(token({ mercure: { publish: ["*"], subscribe: ["*"], payload: { user: "é" } } }));
  await says(/publishing to \*.*private events of \*/);
  assert.equal(await access.locator("[name=token]").inputValue(), "");

  await page.locator("#topic [name=topic]").fill(TEMPLATE);
  await page.locator("#topic [name=topic]").press("Enter");
  await until("the template is open", async () => (await page.locator("#topic .state").innerText()) === "open");
  await until("it is subscribed", async () => (await hub.subscribers()) === 1);
  await page.locator("#topic [name=topic]").fill(TOPIC);
  await page.locator("summary").click();
  await page.locator("#publish [name=private]").check();
  await page.locator("#publish").getByRole("button", { name: "Publish" }).click();
  await until("the private event", async () => (await page.locator("#topic .events li").allTextContents()).some((text) => text.includes("Middlemarch")));
  await access.getByRole("button", { name: "List subscriptions" }).click();
  await says(/One subscription/);
  assert.match((await access.locator(".subscribers li").textContent()) ?? "", /books\/\{id\}.*urn:uuid:.*"é"/);

  await access.getByRole("button", { name: "Forget" }).click();
  await access.getByRole("button", { name: "List subscriptions" }).click();
  await says(/the request has none/);
  // The browser stores nothing of it.
  assert.deepEqual(await page.context().cookies(), []);
});

test("the page uses a publisher's and a subscriber's token together, each for what it grants", async (t) => {
  const OTHER_KEY = "another secret, for subscribers only, long enough";
  const audience = "https://hub.example.com";
  const keys = ["--publisher-key", KEY, "--subscriber-key", OTHER_KEY, "--anonymous-subscribe"];
  // A hub of 1.0 alone reads no cookie of 0.x.
  const flags = [...keys, "--audience", audience, "--issuer", ISSUER, "--dialect", "1.0"];
  const hub = await Hub.start(t, { flags });
  const grants = (/** @type {string} */ action, /** @type {string} */ key, exp = Math.floor(Date.now() / 1000) + 60) =>
    token(
      {
        iss: ISSUER,
        aud: audience,
        exp,
        authorization_details: [
          { type: "https://mercure.rocks/authorization-detail", actions: [action], topics: [{ match: "*" }] },
        ],
      },
      "at+jwt",
      key,
    );
  const browser = await launch();
  t.after(() => browser.close());
  const page = await browser.newPage();
  await page.goto(hub.url("/"));
  const access = page.locator("#access");
  const said = async () => (await access.locator(".result").textContent()) ?? "";
  const use = async (/** @type {string} */ text, /** @type {RegExp} */ words) => {
    await access.locator("[name=token]").fill(text);
    await access.getByRole("button", { name: "Use" }).click();
    await until(`it says ${words}`, async () => words.test(await said()));
  };
  await use(grants("subscribe", OTHER_KEY, 1), /Used to read from now on, but it expired/);
  await use(grants("subscribe", OTHER_KEY), /Used to read from now on until/);
  await use(grants("publish", KEY), /Used to publish from now on until .*publishing to \*; .*events of nothing/);
  const query = "match=https%3A%2F%2Fexample.com%2Fbooks%2F1";
  const seen = page.evaluate(
    async ([url, query]) => {
      const { Stream } = await import(/** @type {any} */ ("/tidings/page/stream.js"));
      return new Promise((resolve) => {
        const stream = new Stream({
          onStatus: (/** @type {any} */ status) => status.readyState === 1 && document.body.setAttribute("data-open", ""),
          onEvent: (/** @type {any} */ event) => resolve(event.data),
        });
        stream.open(new URL(`${url}?${query}`));
      });
    },
    [hub.mercure, query],
  );
  await page.locator("body[data-open]").waitFor();
  await page.locator("#topic [name=topic]").fill(TOPIC);
  await page.locator("summary").click();
  await page.locator("#publish [name=data]").fill("secret");
  await page.locator("#publish [name=private]").check();
  await page.locator("#publish").getByRole("button", { name: "Publish" }).click();
  assert.equal(await seen, "secret");
  await access.getByRole("button", { name: "List subscriptions" }).click();
  await until("the list", async () => /One subscription/.test(await said()));
});
