// The hub behind real proxies, with the files that docs/proxies.md shows.

import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { launch } from "./chromium.js";
import { HubPage } from "./hub-page.js";
import { Hub } from "./hub.js";
import { keptPort } from "./port.js";
import { until } from "./until.js";

const TOPIC = "https://example.com/books/1";
/** The idle limit of the proxies here, and the hub's heartbeat. */
const [IDLE, HEARTBEAT, BEATS] = ["3s", "1s", 5];

const documented = readFileSync(new URL("../docs/proxies.md", import.meta.url), "utf8");

/**
 * @typedef {object} Proxy
 * @property {string} name of the block in the document
 * @property {(file: string, folder: string) => string} complete adds the lines that the document leaves to the package
 * @property {string} [bare] a configuration without the document's advice that also works
 * @property {boolean} [keeps] whether streams outlive a reload
 * @property {(file: string) => string[]} command
 * @property {(child: import("node:child_process").ChildProcess, file: string) => void} reload
 */

const nginxFrame = (/** @type {string} */ file, /** @type {string} */ folder) => {
  // The first directive of the document's block is outside of `http`.
  const [, outer = "", inner = file] = file.match(/^(worker_shutdown_timeout [^\n]*\n)?([^]*)$/) ?? [];
  const kinds = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
  const folders = kinds.map((kind) => `${kind}_temp_path ${join(folder, kind)};`).join(" ");
  return `daemon off; pid ${join(folder, "pid")}; error_log ${join(folder, "log")}; ${outer}
    events {} http { access_log off; proxy_read_timeout ${IDLE}; ${folders} ${inner} }`;
};

/** @type {Proxy[]} */
const PROXIES = [
  {
    name: "nginx",
    complete: nginxFrame,
    bare: "server { listen 80; location / { proxy_pass http://127.0.0.1:8081; } }",
    command: (file) => ["nginx", "-c", file, "-e", `${file}.log`],
    reload: (child) => child.kill("SIGHUP"),
  },
  {
    name: "haproxy",
    complete: (file) => file,
    bare: `defaults\n  mode http\n  timeout connect 5s\n  timeout client 50s\n  timeout server 50s
listen web\n  bind :80\n  server hub 127.0.0.1:8081\n`,
    command: (file) => ["haproxy", "-W", "-db", "-f", file],
    reload: (child) => child.kill("SIGUSR2"),
  },
  {
    name: "caddy",
    complete: (file, folder) => {
      return `{\n\tadmin unix/${join(folder, "admin")}\n\tstorage file_system ${folder}\n}\n${file}`;
    },
    keeps: true,
    command: (file) => ["caddy", "run", "--config", file, "--adapter", "caddyfile"],
    reload: (_, file) => {
      const address = `unix/${join(file, "..", "admin")}`;
      const of = ["--config", file, "--adapter", "caddyfile", "--address", address, "--force"];
      execFileSync("caddy", ["reload", ...of], { stdio: "pipe", env: environment(join(file, "..")) });
    },
  },
];

/** @param {string} folder where it may write */
function environment(folder) {
  // Debian keeps servers where only root's PATH leads.
  const path = `${process.env.PATH ?? ""}:/usr/sbin`;
  return { ...process.env, PATH: path, HOME: folder, XDG_DATA_HOME: folder, XDG_CONFIG_HOME: folder };
}

/**
 * Runs a proxy in front of a hub until the test ends.
 *
 * @param {import("node:test").TestContext} test
 * @param {Proxy} proxy
 * @param {Hub} hub
 * @param {string} text its file, as the document has it
 * @param {string} [path] of the hub behind the proxy
 * @param {string} [probe] a path that the hub answers with 200
 */
async function run(test, proxy, hub, text, path = "/", probe = "healthz") {
  const folder = mkdtempSync(join(tmpdir(), `tidings-${proxy.name}-`));
  mkdirSync(join(folder, "tmp"));
  const port = await keptPort();
  const listen = proxy.name === "caddy" ? `http://127.0.0.1:${port}` : `127.0.0.1:${port}`;
  const file = join(folder, "config");
  const ours = text
    .replaceAll("127.0.0.1:8081", hub.listen)
    .replace(/listen 80|bind :80|^:80/m, (words) => words.replace(/:?80$/, listen))
    .replace(/(timeout|after) +60s/, "$1 1s")
    .replace(/(timeout (?:client|server)) +50s/g, `$1 ${IDLE}`);
  writeFileSync(file, proxy.complete(ours, folder));
  const [program = "", ...flags] = proxy.command(file);
  const child = spawn(program, flags, { stdio: ["ignore", "pipe", "pipe"], env: environment(folder) });
  /** @type {string[]} */
  const said = [];
  for (const output of [child.stdout, child.stderr]) output.on("data", (data) => said.push(String(data)));
  test.after(async () => {
    if (child.exitCode === null && child.signalCode === null) {
      const gone = once(child, "exit");
      child.kill("SIGTERM");
      const timer = setTimeout(() => child.kill("SIGKILL"), 5000);
      await gone;
      clearTimeout(timer);
    }
    rmSync(folder, { recursive: true, force: true });
  });
  const origin = `http://127.0.0.1:${port}`;
  await until(`${proxy.name} answers for the hub`, async () => {
    if (child.exitCode !== null) throw new Error(`${proxy.name} ended: ${said.join("")}`);
    return fetch(`${origin}${path}${probe}`).then(
      (answer) => answer.ok,
      () => false,
    );
  });
  return { origin, reload: () => proxy.reload(child, file) };
}

/** An event stream, read as it arrives. */
class Stream {
  #abort = new AbortController();
  text = "";
  ended = false;

  /**
   * @param {string} origin
   * @param {string} [id] after which it resumes
   */
  static async open(origin, id) {
    const stream = new Stream();
    const url = `${origin}/.well-known/mercure?topic=${encodeURIComponent(TOPIC)}`;
    /** @type {Record<string, string>} */
    const headers = id === undefined ? {} : { "Last-Event-ID": id };
    const response = await fetch(url, { headers, signal: stream.#abort.signal });
    assert.equal(response.status, 200);
    assert.equal(response.headers.get("content-type"), "text/event-stream");
    stream.#read(response).finally(() => (stream.ended = true));
    return stream;
  }

  /** @param {Response} response */
  async #read(response) {
    const decoder = new TextDecoder();
    try {
      for await (const piece of response.body ?? []) this.text += decoder.decode(piece, { stream: true });
    } catch {
      // Cut off, by the proxy or by us.
    }
  }

  /** @param {string} data */
  async has(data) {
    await until(`the event ${data}`, async () => this.text.includes(`data: ${data}\n`));
  }

  get beats() {
    return this.text.split("\n").filter((line) => line.startsWith(":")).length;
  }

  close() {
    this.#abort.abort();
  }
}

for (const proxy of PROXIES) {
  const block = documented.match(new RegExp(`\`\`\`${proxy.name}\n([^]*?)\`\`\``))?.[1] ?? "";

  for (const [kind, text] of [
    ["the documented file", block],
    ["its defaults", proxy.bare],
  ]) {
    if (text === undefined) continue;
    test(`${proxy.name}, ${kind}: events arrive at once, idle streams stay open, a client that disconnects is noticed`, async (t) => {
      assert.ok(text, "the document has a file");
      const hub = await Hub.start(t, { flags: ["--heartbeat", HEARTBEAT] });
      const { origin } = await run(t, proxy, hub, text);
      const stream = await Stream.open(origin);
      await hub.publish({ topic: TOPIC, data: "first" });
      await stream.has("first");
      await until("heartbeats", async () => stream.beats > BEATS || stream.ended);
      assert.ok(!stream.ended, "the stream was cut although it had heartbeats");
      await hub.publish({ topic: TOPIC, data: "later" });
      await stream.has("later");
      assert.equal(await hub.subscribers(), 1);
      stream.close();
      await until("the hub forgets the stream", async () => (await hub.subscribers()) === 0);
    });
  }

  test(`${proxy.name}: a reload loses nothing`, async (t) => {
    const hub = await Hub.start(t, { flags: ["--heartbeat", HEARTBEAT] });
    const { origin, reload } = await run(t, proxy, hub, block);
    const stream = await Stream.open(origin);
    const id = await hub.publish({ topic: TOPIC, data: "before" });
    await stream.has("before");
    reload();
    if (!proxy.keeps) await until("the old stream ends", async () => stream.ended);
    await hub.publish({ topic: TOPIC, data: "meanwhile" });
    if (proxy.keeps) await stream.has("meanwhile");
    const again = await Stream.open(origin, id);
    await again.has("meanwhile");
    assert.ok(!again.text.includes("data: before\n"));
    stream.close();
    again.close();
  });
}

/** A folder for a socket, which is removed with the test, and a hub that listens there as the document says. */
async function onSocket(/** @type {import("node:test").TestContext} */ test) {
  const folder = mkdtempSync(join(tmpdir(), "tidings-socket-"));
  test.after(() => rmSync(folder, { recursive: true, force: true }));
  const socket = join(folder, "hub.sock");
  const block = documented.match(/```toml\n(listen = \["unix:[^]*?)```/)?.[1];
  assert.ok(block, "the document has the hub's side");
  // The group is the package's; nginx may run as any user here.
  chmodSync(folder, 0o755);
  const ours = block
    .replace(/^listen.*\n/, "")
    .replace(/^group.*$/m, 'mode = "0666"')
    .replace("[limits]\n", "[limits]\nstreams_per_address = 1\n");
  const config = join(folder, "tidings.toml");
  writeFileSync(config, `${ours}anonymous_publish = true\n`);
  const flags = ["--listen", `unix:${socket}`, "--config", config, "--heartbeat", HEARTBEAT];
  return { hub: await Hub.start(test, { flags }), socket };
}

test("nginx in front of a Unix socket: events arrive at once, idle streams stay open, clients have their addresses", async (t) => {
  const { hub, socket } = await onSocket(t);
  const nginx = /** @type {Proxy} */ (PROXIES.find((proxy) => proxy.name === "nginx"));
  const block = documented.match(/```nginx\n([^]*?)```/)?.[1] ?? "";
  const text = block.replace("http://127.0.0.1:8081", `http://unix:${socket}`);
  assert.notEqual(text, block);
  const { origin } = await run(t, nginx, hub, text, "/", "");
  const stream = await Stream.open(origin);
  await hub.publish({ topic: TOPIC, data: "first" });
  await stream.has("first");
  await until("heartbeats", async () => stream.beats > BEATS || stream.ended, 30_000);
  assert.ok(!stream.ended, "the stream was cut although it had heartbeats");
  // This machine has its one stream, whatever address it claims.
  const turnedAway = await Stream.open(origin);
  await until("a second one is told to come back", async () => turnedAway.ended);
  stream.close();
});

test("curl reads a stream from a Unix socket", async (t) => {
  const { hub, socket } = await onSocket(t);
  const url = `http://localhost/.well-known/mercure?topic=${encodeURIComponent(TOPIC)}`;
  const child = spawn("curl", ["-sN", "--unix-socket", socket, url], { stdio: ["ignore", "pipe", "pipe"] });
  t.after(() => child.kill("SIGKILL"));
  let text = "";
  child.stdout.on("data", (data) => (text += String(data)));
  await until("the stream begins", async () => text.includes("retry:"));
  await hub.publish({ topic: TOPIC, data: "to curl" });
  await until("the event", async () => text.includes("data: to curl\n"));
});

test("nginx, under a path: the page loads completely, and the page and its commands stream and publish", async (t) => {
  const [proxy] = PROXIES;
  const [, block] = [...documented.matchAll(/```nginx\n([^]*?)```/g)].map(([, block = ""]) => block);
  assert.ok(proxy && block, "the document has a second file");
  const hub = await Hub.start(t, { flags: ["--heartbeat", HEARTBEAT] });
  const { origin } = await run(t, proxy, hub, block, "/events/");
  const browser = await launch();
  t.after(() => browser.close());

  // nginx leads to the path with the slash.
  const hubPage = await HubPage.open(t, browser, `${origin}/events`);
  const { page, clock, topic, complaints } = hubPage;
  /** @type {string[]} */
  const failed = [];
  page.on("response", (response) => {
    if (response.status() >= 400) failed.push(`${response.status()} ${response.url()}`);
  });
  await page.reload();
  assert.equal(await page.locator("#origin").innerText(), `${origin}/events`);
  await clock.open();
  for (const part of [clock, topic]) await part.reaches("open");
  await hubPage.pressPublish();
  await hubPage.says(/^Published at/);
  await topic.shows(await hubPage.field("Data").inputValue());

  await hubPage.field("Data").fill("by the command");
  const command = await page.locator("#command-publish").innerText();
  execFileSync("sh", ["-c", `${command} --silent --fail`], { stdio: "pipe" });
  await topic.shows("by the command");
  const subscribing = await page.locator("#command-subscribe").innerText();
  assert.ok(subscribing.includes(`${origin}/events/.well-known/mercure`), subscribing);
  const clocked = await page.locator("#command-clock").innerText();
  assert.ok(clocked.includes(`${origin}/events/sse`), clocked);

  await page.getByRole("link", { name: "Many tabs" }).click();
  // Its script has run then.
  await page.waitForURL(`${origin}/events/tidings/page/many-tabs.html`);
  await page.getByRole("button", { name: "Open shared" }).click();
  const wall = page.locator("#wall .said");
  await until("eight open streams", async () => /8 open/.test(await wall.innerText()));
  await page.getByRole("button", { name: "Publish to all eight" }).click();
  const result = page.locator("#meanwhile .result");
  await until("it is published", async () => /^Published as/.test(await result.innerText()));
  await page.getByRole("link", { name: "Back" }).click();
  await page.waitForURL(`${origin}/events/tidings/page/index.html`);
  await clock.open();
  await clock.reaches("open");
  assert.deepEqual(failed, []);
  assert.deepEqual(complaints, []);
});
