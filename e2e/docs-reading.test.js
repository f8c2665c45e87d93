// The README, docs/browser.md and docs/client.md: their commands, pages and programs read from a real hub.

import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import { join } from "node:path";
import { test } from "node:test";
import { launch } from "./chromium.js";
import { Command } from "./command.js";
import { Hub } from "./hub.js";
import { built, folder, page, resolves, shell, snippet } from "./snippets.js";
import { until } from "./until.js";

const GREETINGS = "https://example.com/greetings";

const step = (/** @type {string} */ name) => snippet("../README.md", name);
const at = (/** @type {string} */ code, /** @type {Hub} */ hub) => code.replaceAll("http://localhost:8081", hub.origin);

test("the commands of the README subscribe, publish and resume", async (test) => {
  const hub = await Hub.start(test);
  const { start, ends } = shell(test);
  const first = start(at(step("subscribe"), hub));
  await until("curl has subscribed", async () => (await hub.subscribers()) === 1);
  const id = (await ends(at(step("publish"), hub))).output;
  await first.prints(`data: Good tidings\nid: ${id}\n`);
  await hub.publish({ topic: GREETINGS, data: "missed" });
  await start(at(step("resume"), hub).replace("THE-LAST-ID", id)).prints("data: missed");
});

/**
 * Shows a page in a browser.
 *
 * @param {import("node:test").TestContext} test
 * @param {string} url
 */
async function shown(test, url) {
  const browser = await launch();
  test.after(() => browser.close());
  const opened = await browser.newPage();
  await opened.goto(url);
  return opened;
}

test("the first page of the README shows an event", async (test) => {
  const hub = await Hub.start(test);
  const opened = await shown(test, await page(test, at(step("page"), hub)));
  await until("the page has subscribed", async () => (await hub.subscribers()) === 1);
  await hub.publish({ topic: GREETINGS, data: "Good tidings" });
  await opened.getByText("Good tidings").waitFor();
});

test("the second page of the README shows the clock", async (test) => {
  const hub = await Hub.start(test);
  const opened = await shown(test, await page(test, at(step("package"), hub)));
  await opened.getByText(/\d\d:\d\d/).waitFor();
});

test("the page of docs/browser.md logs what its source receives", async (test) => {
  const hub = await Hub.start(test);
  const opened = await shown(test, hub.url("/healthz"));
  /** @type {string[]} */
  const logged = [];
  opened.on("console", (message) => message.type() === "log" && logged.push(message.text()));
  // The page is the hub's own.
  await opened.setContent(snippet("browser.md", "page"));
  await until("the page logs an event", () => logged.length >= 2);
  assert.equal(logged[0], "open 1");
});

test("the README shows the clock of docs/server.md", () => {
  assert.equal(step("clock"), snippet("server.md", "clock"));
});

test("the program of the README prints events, and logs when it loses the stream", async (test) => {
  const hub = await Hub.start(test, { returns: true });
  const url = `${hub.mercure}?topic=${encodeURIComponent(GREETINGS)}`;
  const reader = new Command(test, built("../README.md", "read", "tidings-client", "read"), [url]);
  await until("it says that the stream is open", () => reader.errors.includes("the stream is open"));
  await hub.publish({ topic: GREETINGS, data: "Good tidings" });
  await reader.prints("Good tidings\n");
  await hub.kill();
  await until("it says that the stream is lost", () => /WARN.*reconnecting in/.test(reader.errors));
});

test("the first program of docs/client.md reports a loss itself", async (test) => {
  const hub = await Hub.start(test);
  const url = `${hub.mercure}?topic=${encodeURIComponent(GREETINGS)}`;
  const reader = new Command(test, built("client.md", "watch", "tidings-client", "watch"), [url]);
  await until("it says that the stream is open", () => reader.errors.includes("open"));
  await hub.publish({ topic: GREETINGS, data: "Good tidings", type: "greeting" });
  await reader.prints("greeting Good tidings\n");
  await hub.kill();
  await until("it says that the stream is lost", () => reader.errors.includes("reconnecting in"));
});

test("the second program of docs/client.md prints an answer to its end", async (test) => {
  const server = createServer((request, response) => {
    response.writeHead(200, { "Content-Type": "text/event-stream" });
    response.end(request.headers.authorization === "Bearer my key" ? 'data: {"choices":[]}\n\ndata: [DONE]\n\n' : "");
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  test.after(() => server.close());
  const address = server.address();
  assert.ok(address && typeof address === "object");
  const program = built("client.md", "ask", "tidings-client", "ask");
  const asked = new Command(test, "env", [`URL=http://127.0.0.1:${address.port}/`, "KEY=my key", program]);
  await asked.ended;
  assert.equal(asked.output, '{"choices":[]}\n[DONE]\n', asked.errors);
});

for (const [document, name] of [["../README.md", "read-dependencies"], ["client.md", "dependencies"], ["publish-from.md", "rust-dependencies"]]) {
  test(`cargo finds the ${name} of ${document}`, (test) => resolves(test, String(document), String(name)));
}

test("a backup as docs/journal.md makes it is restored", async (test) => {
  const { place, ends } = shell(test);
  const [data, copy] = [join(place, "data"), join(folder(test), "copy")];
  const hub = await Hub.start(test, { journal: "disk", flags: ["--data-dir", data] });
  const id = await hub.publish({ topic: GREETINGS, data: "before" });
  await hub.publish({ topic: GREETINGS, data: "in the backup" });
  const made = (/** @type {string} */ name) => snippet("journal.md", name).replaceAll("/var/lib/tidings", data).replaceAll("/backup/tidings", copy);
  const backup = await ends(made("backup"));
  assert.equal(backup.output.trim(), join(copy, "journal.db"), backup.errors);
  await hub.publish({ topic: GREETINGS, data: "after" });
  await hub.stop();
  const restored = await Hub.start(test, { journal: "disk", flags: made("restore").trim().split(" ").slice(2) });
  const query = new URLSearchParams({ topic: GREETINGS, lastEventID: id });
  const reader = new Command(test, "curl", ["-sN", `${restored.mercure}?${query}`]);
  await reader.prints("data: in the backup");
  await restored.publish({ topic: GREETINGS, data: "new" });
  await reader.prints("data: new");
  assert.ok(!reader.output.includes("data: after"));
});
