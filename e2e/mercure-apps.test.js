// Mercure as applications use it: the requests of Laravel's driver and of its Echo connector, played
// as these make them from a page of another origin, and Symfony's component for PHP itself.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { createHmac, randomUUID } from "node:crypto";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { createServer } from "node:http";
import { delimiter, join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { launch } from "./chromium.js";
import { Command } from "./command.js";
import { Hub } from "./hub.js";
import { keptPort } from "./port.js";
import { until } from "./until.js";

const KEY = "!ChangeThisMercureHubJWTSecretKey!";
const PREFIX = "https://laravel.alt/echo/";
const DETAIL = "https://mercure.rocks/authorization-detail";

/**
 * A token, made without code of Tidings.
 *
 * @param {object} claims
 * @param {string} [type]
 */
function sign(claims, type = "at+jwt") {
  const encode = (/** @type {object} */ part) => Buffer.from(JSON.stringify(part)).toString("base64url");
  const message = `${encode({ alg: "HS256", typ: type })}.${encode(claims)}`;
  return `${message}.${createHmac("sha256", KEY).update(message).digest("base64url")}`;
}

/** As the driver writes a channel's name into a topic: encoded as one segment of a path. */
const channel = (/** @type {string} */ name) => `${PREFIX}channel/${segment(name)}`;
const whisper = (/** @type {string} */ name) => `${PREFIX}whisper/${segment(name)}`;
const segment = (/** @type {string} */ name) =>
  encodeURIComponent(name).replace(/[!'()*]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`);

/**
 * The grants of the driver's token for these channels.
 *
 * @param {string[]} channels
 * @param {object} user
 */
function details(channels, user) {
  const subscribe = { type: DETAIL, actions: ["subscribe"] };
  const guarded = channels.filter((name) => /^(private|presence)-/.test(name));
  const each = guarded.map((name) => {
    const exact = { match: channel(name) };
    if (!name.startsWith("presence-")) return { ...subscribe, topics: [exact] };
    const members = `/.well-known/mercure/subscriptions/:match_type/${encodeURIComponent(channel(name))}{/:subscriber}?`;
    return { ...subscribe, topics: [exact, { match: members, match_type: "urlpattern" }], payload: user };
  });
  if (guarded.length === 0) return undefined;
  const whispers = guarded.map((name) => ({ match: whisper(name) }));
  return [...each, { type: DETAIL, actions: ["subscribe", "publish"], topics: whispers }];
}

/**
 * An application and a hub on two origins. The application has a page, and authorizes the page's visitor at the hub
 * with a cookie, as Laravel does.
 *
 * @param {import("node:test").TestContext} t
 */
async function laravel(t) {
  const app = createServer(async (request, response) => {
    const url = new URL(request.url ?? "/", "http://localhost");
    if (url.pathname !== "/broadcasting/auth") {
      response.setHeader("Content-Type", "text/html").end("<!doctype html><title>An application</title>");
      return;
    }
    let body = "";
    for await (const piece of request) body += piece;
    const { channels, user, seconds = 300 } = JSON.parse(body);
    const now = Math.floor(Date.now() / 1000);
    const granted = details(channels, user);
    const claims = { iss: origin, aud: mercure, sub: String(user.user_id), client_id: "An application", iat: now, jti: randomUUID(), exp: now + seconds };
    const value = sign(granted ? { ...claims, authorization_details: granted } : claims);
    // Over plain http the installer chooses a name without prefix.
    response.setHeader("Set-Cookie", `mercure_access_token=${value}; Path=/.well-known/mercure; HttpOnly; SameSite=Strict; Max-Age=300`);
    response.setHeader("Content-Type", "application/json").end(JSON.stringify({ expires_in: 300 }));
  });
  app.listen(0, "localhost");
  await once(app, "listening");
  t.after(() => app.close());
  const { port } = /** @type {import("node:net").AddressInfo} */ (app.address());
  const origin = `http://localhost:${port}`;
  // The audience is the hub's URL, so its port must be known before. Cookies ignore ports, so both use one host.
  const listen = `localhost:${await keptPort("localhost")}`;
  const mercure = `http://${listen}/.well-known/mercure`;
  const flags = ["--publisher-key", KEY, "--subscriber-key", KEY, "--issuer", origin, "--audience", mercure, "--presence-events"];
  await Hub.start(t, { listen, flags: [...flags, "--publish-origin", origin, "--cors-origin", origin] });
  const browser = await launch();
  t.after(() => browser.close());

  /** The driver's request for a broadcast event. */
  const broadcast = async (/** @type {string[]} */ channels, /** @type {string} */ event, /** @type {object} */ payload) => {
    const now = Math.floor(Date.now() / 1000);
    const grants = [{ type: DETAIL, actions: ["publish"], topics: [{ match: "*" }] }];
    const claims = { iss: origin, sub: origin, client_id: origin, aud: mercure, iat: now, jti: randomUUID(), exp: now + 3600, authorization_details: grants };
    const fields = channels.map((name) => `topic=${encodeURIComponent(channel(name))}`);
    fields.push(`data=${encodeURIComponent(JSON.stringify({ channels, event, payload, socket: null })).replaceAll("%20", "+")}`);
    if (!channels.every((name) => name.startsWith("public"))) fields.push("private=on");
    const headers = { Authorization: `Bearer ${sign(claims)}`, "Content-Type": "application/x-www-form-urlencoded" };
    const response = await fetch(mercure, { method: "POST", headers, body: fields.join("&") });
    const id = await response.text();
    assert.equal(response.status, 200, id);
    return id;
  };
  return { mercure, origin, browser, broadcast };
}

/** Streams that visitors have opened, which are named by their numbers. */
let streams = 0;

/**
 * A visitor of the application, with its own cookies.
 *
 * @param {Awaited<ReturnType<typeof laravel>>} app
 * @param {object} user
 * @param {string[]} channels
 */
async function visit({ mercure, origin, browser }, user, channels) {
  const context = await browser.newContext();
  const page = await context.newPage();
  await page.goto(origin);
  /** Asks the application for a cookie, as the connector does before it subscribes. */
  const letIn = (/** @type {number} */ seconds = 300) =>
    page.evaluate(async (body) => {
      const headers = { "Content-Type": "application/json" };
      const response = await fetch("/broadcasting/auth", { method: "POST", headers, body: JSON.stringify(body) });
      return (await response.json()).expires_in;
    }, { channels, user, seconds });
  /** Opens the one stream for all channels; `query` is appended to its URL. */
  const listen = async (/** @type {string[]} */ matches, /** @type {string[]} */ patterns, query = "") => {
    const asked = [...matches.map((one) => `match=${encodeURIComponent(one)}`), ...patterns.map((one) => `match_urlpattern=${encodeURIComponent(one)}`)];
    streams += 1;
    const name = `stream${streams}`;
    await page.evaluate(async ({ url, name }) => {
      const seen = /** @type {{ type: string, data: string, id: string }[]} */ ([]);
      const source = new EventSource(url, { withCredentials: true });
      Object.assign(window, { [name]: { seen, source } });
      for (const type of ["message", "mercure"]) {
        source.addEventListener(type, ({ data, lastEventId }) => seen.push({ type, data: JSON.parse(data), id: lastEventId }));
      }
      await new Promise((resolve, reject) => {
        source.onopen = resolve;
        source.onerror = () => reject(new Error(`the stream of ${url.slice(0, 200)} is not opened`));
      });
    }, { url: `${mercure}?${asked.join("&")}${query}`, name });
    return {
      seen: () => page.evaluate((name) => /** @type {any} */ (window)[name].seen, name),
      close: () => page.evaluate((name) => /** @type {any} */ (window)[name].source.close(), name),
    };
  };
  /** Requests the members of a channel from the hub. */
  const members = (/** @type {string} */ name) =>
    page.evaluate(async (url) => {
      const response = await fetch(url, { credentials: "include" });
      return { status: response.status, link: response.headers.get("link"), body: await response.json().catch(() => null) };
    }, `${mercure}/subscriptions/exact/${encodeURIComponent(channel(name))}`);
  const whispers = (/** @type {string} */ name, /** @type {object} */ data) =>
    page.evaluate(async ({ url, topic, data }) => {
      const body = new URLSearchParams({ topic, data, private: "on" });
      const response = await fetch(url, { method: "POST", credentials: "include", body });
      return response.status;
    }, { url: mercure, topic: whisper(name), data: JSON.stringify(data) });
  return { page, context, letIn, listen, members, whispers };
}

/** The pattern for presence events of a channel's members. */
const comings = (/** @type {string} */ name) =>
  `/.well-known/mercure/subscriptions/:match_type/${encodeURIComponent(channel(name))}/:subscriber`;

test("Laravel's driver and its Echo connector work from a page of another origin", async (t) => {
  const app = await laravel(t);
  // A name in which every character must be encoded, and twice in a path.
  const room = "presence-room/1 ü:%";
  const channels = ["public-news", "private-orders.7", room];
  const matches = channels.map(channel);
  const ada = await visit(app, { user_id: "42", user_info: { name: "Ada" } }, channels);
  assert.equal(await ada.letIn(), 300);
  const stream = await ada.listen(matches, [comings(room)]);
  const own = await ada.members(room);
  assert.equal(own.status, 200);
  assert.match(own.link ?? "", /rel="mercure"; last-event-id="/);
  const [first] = own.body.subscriptions;
  assert.equal(own.body.subscriptions.length, 1);
  assert.deepEqual({ match: first.match, match_type: first.match_type, active: first.active, payload: first.payload }, {
    match: channel(room), match_type: "exact", active: true, payload: { user_id: "42", user_info: { name: "Ada" } },
  });
  assert.notEqual((await ada.members("presence-other")).status, 200, "what was not granted");

  // Another member joins.
  const bob = await visit(app, { user_id: "7", user_info: { name: "Bob" } }, channels);
  await bob.letIn();
  const others = await bob.listen([channel(room)], [comings(room)]);
  const told = async (/** @type {boolean} */ active) => {
    const of = (/** @type {any} */ one) => one.type === "mercure" && one.data.active === active && one.data.payload?.user_id === "7";
    const event = await until(`Bob is told of as ${active ? "there" : "gone"}`, async () => (await stream.seen()).find(of));
    assert.equal(event.data.match, channel(room));
    assert.equal(event.data.match_type, "exact");
    assert.match(event.data.subscriber, /^urn:uuid:/);
    return event;
  };
  const joined = await told(true);
  assert.equal((await bob.members(room)).body.subscriptions.length, 2);

  // Broadcasts to each kind of channel arrive, with the publisher's bytes.
  const payload = { text: "ä + b & c", at: 7 };
  for (const name of channels) await app.broadcast([name], "OrderShipped", payload);
  await app.broadcast(["private-not.granted"], "OrderShipped", payload);
  const messages = async () => (await stream.seen()).filter((/** @type {any} */ one) => one.type === "message");
  await until("the broadcasts", async () => (await messages()).length >= 3);
  assert.deepEqual((await messages()).map((/** @type {any} */ one) => one.data), channels.map((name) => ({ channels: [name], event: "OrderShipped", payload, socket: null })));

  // A whisper, received on a separate stream.
  const hears = await bob.listen([whisper(room)], []);
  assert.equal(await ada.whispers(room, { typing: true }), 200);
  await until("the whisper", async () => (await hears.seen()).length === 1);
  assert.deepEqual((await hears.seen())[0].data, { typing: true });
  assert.equal(await ada.whispers("presence-other", {}), 403, "what was not granted");
  // An expired cookie is a 401, for which the connector gets a fresh one and tries once more.
  await ada.letIn(-1);
  assert.equal(await ada.whispers(room, { typing: false }), 401);
  await ada.letIn();
  assert.equal(await ada.whispers(room, { typing: false }), 200);
  await until("the second whisper", async () => (await hears.seen()).length === 2);

  await others.close();
  await hears.close();
  const left = await told(false);
  assert.equal(left.data.subscriber, joined.data.subscriber);

  // A page that resumes after a presence event misses no update.
  await stream.close();
  await app.broadcast([room], "Missed", payload);
  const again = await ada.listen(matches, [comings(room)], `&last_event_id=${encodeURIComponent(left.id)}`);
  const missed = await until("what was missed", async () => (await again.seen()).find((/** @type {any} */ one) => one.type === "message"));
  assert.equal(missed.data.event, "Missed");
  await again.close();
  // Nor does one that resumes from the event of Bob's join: everything after it arrives again, once.
  const whole = await ada.listen(matches, [comings(room)], `&last_event_id=${encodeURIComponent(joined.id)}`);
  const events = async () => (await whole.seen()).filter((/** @type {any} */ one) => one.type === "message").map((/** @type {any} */ one) => one.data.event);
  await until("all of it", async () => (await events()).length >= 4);
  assert.deepEqual(await events(), ["OrderShipped", "OrderShipped", "OrderShipped", "Missed"]);
});

test("a guest of a Laravel application reads public events with a token, at a hub without anonymous subscribers", async (t) => {
  const app = await laravel(t);
  const guest = await visit(app, { user_id: "anonymous" }, ["public-news"]);
  await assert.rejects(guest.listen([channel("public-news")], []), /not opened/);
  await guest.letIn();
  const stream = await guest.listen(["public-news", "private-orders.7"].map(channel), []);
  await app.broadcast(["private-orders.7"], "Secret", {});
  await app.broadcast(["public-news"], "News", {});
  await until("the news", async () => (await stream.seen()).length > 0);
  assert.equal((await stream.seen())[0].data.event, "News");
  assert.equal(await guest.whispers("private-orders.7", {}), 403);
});

test("a hundred Laravel channels fit into one stream", async (t) => {
  const app = await laravel(t);
  const channels = Array.from({ length: 100 }, (_, at) => `presence-a.rather.long.name.of.a.channel.${at}`);
  const ada = await visit(app, { user_id: "42" }, channels.slice(0, 5));
  await ada.letIn();
  const stream = await ada.listen(channels.map(channel), channels.map(comings));
  await app.broadcast(channels.slice(4, 5), "Last", {});
  // Each of its patterns is compiled, and held against each of its joins: seconds on a slow machine.
  await until("the event", async () => (await stream.seen()).some((/** @type {any} */ one) => one.data.event === "Last"), 90_000);
});

test("a page subscribes by QUERY across origins, with its visitor's cookie", async (t) => {
  const app = await laravel(t);
  const ada = await visit(app, { user_id: "42" }, ["private-orders.7"]);
  await ada.letIn();
  const first = ada.page.evaluate(async ({ url, topic }) => {
    const body = new URLSearchParams({ match: topic, last_event_id: "earliest" });
    const response = await fetch(url, { method: "QUERY", credentials: "include", body });
    const cursor = response.headers.get("mercure-last-event-id");
    const accepts = response.headers.get("accept-query");
    let text = "";
    if (!response.body) throw new Error("there is no body");
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    while (!text.includes("OrderShipped")) {
      const { value, done } = await reader.read();
      if (done) break;
      text += value;
    }
    return { status: response.status, cursor, accepts, text };
  }, { url: app.mercure, topic: channel("private-orders.7") });
  await app.broadcast(["private-orders.7"], "OrderShipped", {});
  const { status, cursor, accepts, text } = await first;
  assert.equal(status, 200, text);
  assert.equal(cursor, "earliest");
  assert.equal(accepts, "application/x-www-form-urlencoded");
  assert.match(text, /OrderShipped/);
});

const PHP = fileURLToPath(new URL("symfony_mercure.php", import.meta.url));
const hasSymfony =
  (process.env.PATH ?? "").split(delimiter).some((path) => existsSync(join(path, "php"))) &&
  existsSync("/usr/share/php/Symfony/Component/Mercure/autoload.php");
const skip = !hasSymfony && "there is no PHP here, or no php-symfony-mercure";
const TOPIC = "https://example.com/books/1";

/** @param {string[]} args */
function php(...args) {
  const ended = spawnSync("php", [PHP, ...args], { encoding: "utf8", timeout: 60_000 });
  assert.equal(ended.status, 0, `${ended.stdout}${ended.stderr}`);
  assert.equal(ended.stderr, "");
  return ended.stdout;
}

test("Symfony's component publishes, and Symfony's client reads it", { skip }, async (t) => {
  const hub = await Hub.start(t, { flags: ["--publisher-key", KEY, "--subscriber-key", KEY] });
  const read = new Command(t, "php", [PHP, "read", hub.mercure, KEY, "https://example.com/books/{id}", "1"]);
  await until("it is subscribed", async () => (await hub.subscribers()) === 1);
  const data = '{"price": 12, "text": "ä\\n☂ + &"}\nand a second line';
  assert.equal(php("publish", hub.mercure, KEY, `${TOPIC} https://example.com/other`, data), "urn:uuid:symfony");
  await read.ended;
  assert.equal(read.errors, "");
  assert.deepEqual(JSON.parse(read.output), { type: "price", id: "urn:uuid:symfony", data });
});

test("the cookie of Symfony's component authorizes a browser, and its URL may have two cursors", { skip }, async (t) => {
  const hub = await Hub.start(t, { flags: ["--publisher-key", KEY, "--subscriber-key", KEY] });
  const [, name = "", value = ""] = php("cookie", hub.mercure, KEY, hub.origin, TOPIC).match(/^([^=]+)=([^;]+);/) ?? [];
  assert.equal(name, "mercureAuthorization");
  assert.equal(php("publish", hub.mercure, KEY, TOPIC, "missed"), "urn:uuid:symfony");
  const browser = await launch();
  t.after(() => browser.close());
  const context = await browser.newContext();
  const { hostname } = new URL(hub.origin);
  await context.addCookies([{ name, value, domain: hostname, path: "/.well-known/mercure", httpOnly: true, sameSite: "Strict" }]);
  const page = await context.newPage();
  await page.goto(hub.url("/healthz"));
  // As the function `mercure()` of its templates writes it.
  const query = `topic=${encodeURIComponent(TOPIC)}&lastEventID=earliest&Last-Event-ID=earliest`;
  const data = await page.evaluate((url) => new Promise((resolve, reject) => {
    const source = new EventSource(url, { withCredentials: true });
    source.addEventListener("price", (event) => resolve(event.data));
    source.onerror = () => reject(new Error(`closed: ${source.readyState}`));
  }), `${hub.mercure}?${query}`);
  assert.equal(data, "missed");
});
