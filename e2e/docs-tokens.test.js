// docs/tokens.md: its five steps, and its programs that make tokens, run against a real hub.

import assert from "node:assert/strict";
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { stripVTControlCharacters } from "node:util";
import { launch } from "./chromium.js";
import { Command } from "./command.js";
import { built, folder, has, resolves, shell, snippet } from "./snippets.js";
import { until } from "./until.js";

const step = (/** @type {string} */ name) => snippet("tokens.md", name);

/** Packages of npm are found below this folder. */
const BESIDE_PACKAGES = fileURLToPath(new URL("node_modules/.docs", import.meta.url));

/**
 * A folder with the key and the configuration of the first two steps, and a hub that runs there.
 *
 * @param {import("node:test").TestContext} test
 */
async function closed(test) {
  const here = shell(test, folder(test, BESIDE_PACKAGES));
  await here.ends(step("key"));
  writeFileSync(join(here.place, "hub.toml"), step("config"));
  const hub = await here.serve(step("serve"));
  return { ...here, hub };
}

/**
 * Subscribes with a token from the first event on. Returns the status and, if it is 200, the data of the first event.
 *
 * @param {string} hub
 * @param {string} token
 */
async function read(hub, token) {
  const query = new URLSearchParams({ topic: "https://example.com/books/{id}", lastEventID: "earliest" });
  const headers = { Authorization: `Bearer ${token}` };
  const response = await fetch(`${hub}?${query}`, { headers, signal: AbortSignal.timeout(60_000) });
  if (response.status !== 200) return { status: response.status };
  let text = "";
  assert.ok(response.body);
  for await (const piece of response.body.pipeThrough(new TextDecoderStream())) {
    text += piece;
    const data = text.match(/^data: (.*)\n/m)?.[1];
    if (data !== undefined) return { status: 200, data };
  }
  throw new Error(`the stream ended with ${text}`);
}

test("the five steps of docs/tokens.md lead to a private event in a browser, and to a new key", async (test) => {
  const { place, start, serve, ends, hub, server } = await closed(test);
  const exported = await ends(`${step("url")}\necho "$HUB"`);
  assert.equal(exported.output.trim(), "http://localhost:8081/.well-known/mercure");
  const refused = await ends(step("refused").replace("curl -i", "curl -is"), hub);
  assert.match(refused.output, /^HTTP\/1.1 401/);
  assert.match((await ends(step("publish"), hub)).output, /^tidings:\S+$/);
  const subscriber = start(step("subscribe"), hub);
  await subscriber.prints('data: {"copies":3}');
  await subscriber.end();
  const inspected = await ends(step("inspect"));
  assert.match(inspected.output, /accepted/, inspected.errors);

  // A service on another port is another origin, which the hub must allow.
  const name = step("service").match(/^node (\S+\.mjs)$/m)?.[1];
  assert.ok(name, "docs/tokens.md says how to start the service");
  writeFileSync(join(place, name), step("cookie"));
  const service = (/** @type {string} */ hub, port = "0") => new Command(test, "env", ["-C", place, `HUB=${hub}`, `PORT=${port}`, process.execPath, name]);
  const first = service(hub);
  await first.prints("\n");
  const origin = first.output.trim();
  const open = await serve(step("serve-origins").replaceAll("http://localhost:3000", origin));
  await first.end();
  const second = service(open, new URL(origin).port);
  await second.prints("\n");
  const browser = await launch();
  test.after(() => browser.close());
  const page = await browser.newPage();
  const opened = page.waitForResponse((response) => response.url().startsWith(open) && response.status() === 200);
  await page.goto(origin);
  await opened;
  await ends(step("publish"), open);
  await page.getByText('{"copies":3}').waitFor();

  // The key is replaced while the first hub runs.
  const old = (await ends(step("command"))).output.trim();
  await ends(step("second-key"));
  const reload = async (/** @type {string} */ configuration) => {
    const reloads = () => server().errors.split("reloaded the configuration").length;
    const before = reloads();
    writeFileSync(join(place, "hub.toml"), step(configuration));
    await ends(step("reload"), hub, { HUB_PID: String(server().pid) });
    await until("the hub reloads its configuration", () => reloads() > before);
  };
  await reload("both-keys");
  const fresh = (await ends(step("new-token"))).output.trim();
  for (const token of [old, fresh]) assert.deepEqual(await read(hub, token), { status: 200, data: '{"copies":3}' });
  await reload("new-key");
  assert.deepEqual(await read(hub, old), { status: 401 });
  assert.deepEqual(await read(hub, fresh), { status: 200, data: '{"copies":3}' });
});

test("the commands of docs/tokens.md make a pair of keys that a hub accepts", async (test) => {
  const { ends, serve } = shell(test);
  await ends(step("pair"));
  const hub = await serve("tidings serve --anonymous-publish --subscriber-key-file public.pem");
  const published = await fetch(hub, { method: "POST", body: new URLSearchParams({ topic: "https://example.com/books/1", data: "hello", private: "on" }) });
  assert.equal(published.status, 200);
  const token = await ends("tidings token --subscribe '*' --key-file private.pem");
  assert.deepEqual(await read(hub, token.output.trim()), { status: 200, data: "hello" });
});

/** Each program: its snippet, what it needs, and how it is run in the folder of the key. */
const PROGRAMS = /** @type {const} */ ([
  { from: "Node", name: "node", file: "token.mjs", command: () => [process.execPath, "token.mjs"] },
  { from: "Python", name: "python", file: "token_for_books.py", command: () => [process.env.PYTHON ?? "python3", "token_for_books.py"] },
  { from: "PHP", name: "php", file: "token.php", needs: ["php"], command: () => ["php", "token.php"] },
  { from: "Java", name: "java", file: "src/main/java/Token.java", needs: ["mvn", "java"], command: () => ["sh", "-euc", step("mvn")] },
  { from: "Rust", name: "rust", file: "main.rs", command: () => [built("tokens.md", "rust", "tidings-hub", "make_token")] },
  { from: "the command line", name: "command", file: "token.sh", command: () => ["sh", "token.sh"] },
]);

test("each program of docs/tokens.md makes a token that reads a private event", async (test) => {
  const { place, ends, hub, path } = await closed(test);
  await ends(step("publish"), hub);
  for (const { from, name, file, command, ...program } of PROGRAMS) {
    const missing = "needs" in program && program.needs.find((needed) => !has(needed));
    await test.test(`a token made with ${from}`, { skip: missing && `there is no ${missing} here` }, async () => {
      mkdirSync(dirname(join(place, file)), { recursive: true });
      writeFileSync(join(place, file), step(name));
      if (name === "java") writeFileSync(join(place, "pom.xml"), step("pom.xml"));
      const [program, ...args] = command();
      assert.ok(program);
      const made = new Command(test, "env", ["-C", place, `PATH=${path}`, program, ...args]);
      await made.ended;
      // Debian's Maven resets the terminal's colours, also in a pipe.
      const token = stripVTControlCharacters(made.output).trim();
      assert.match(token, /^[\w-]+\.[\w-]+\.[\w-]+$/, made.output + made.errors);
      assert.deepEqual(await read(hub, token), { status: 200, data: '{"copies":3}' });
    });
  }
});

test("cargo finds the dependencies of docs/tokens.md", (test) => resolves(test, "tokens.md", "rust-dependencies"));
