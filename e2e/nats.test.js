// The snippets of docs/cluster.md: applications that publish by NATS, to a real server and hub.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { Command } from "./command.js";
import { Hub } from "./hub.js";
import { until } from "./until.js";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
const TOPIC = "https://example.com/books/1";
const SERVER = process.env.NATS_SERVER ?? join(ROOT, "target/tools/nats-server/bin/nats-server");

/**
 * A folder that is removed when the test ends.
 *
 * @param {import("node:test").TestContext} test
 * @param {string} parent
 */
function folder(test, parent = tmpdir()) {
  mkdirSync(parent, { recursive: true });
  const made = mkdtempSync(join(parent, "tidings-nats-"));
  test.after(() => rmSync(made, { recursive: true, force: true }));
  return made;
}

/**
 * A NATS server with JetStream, and its URL.
 *
 * @param {import("node:test").TestContext} test
 */
async function natsServer(test) {
  const place = folder(test);
  new Command(test, SERVER, ["-js", "-sd", place, "-a", "127.0.0.1", "-p", "-1", "--ports_file_dir", place]);
  return until("the server says its port", () => {
    const file = readdirSync(place).find((name) => name.endsWith(".ports"));
    const ports = file && readFileSync(join(place, file), "utf8");
    return ports ? /** @type {string} */ (JSON.parse(ports).nats[0]) : undefined;
  });
}

/** @type {{ name: string, from: string, program: string }[]} */
const APPLICATIONS = [
  { name: "python", from: "Python", program: process.env.PYTHON ?? "python3" },
  { name: "node", from: "Node", program: process.execPath },
];

test("subscribers of the hub receive events that applications publish over NATS", async (test) => {
  const url = await natsServer(test);
  const hub = await Hub.start(test, { journal: url });
  const query = new URLSearchParams({ topic: TOPIC });
  const response = await fetch(`${hub.mercure}?${query}`, { signal: AbortSignal.timeout(60_000) });
  const document = readFileSync(join(ROOT, "docs/cluster.md"), "utf8");
  // Below the folder in which the imports are found.
  const place = folder(test, fileURLToPath(new URL("node_modules/.docs", import.meta.url)));
  for (const { name, from, program } of APPLICATIONS) {
    const code = document.match(new RegExp(`<!-- run: ${name} -->\n\`\`\`\\w+\n([^]*?)\n\`\`\``))?.[1];
    assert.ok(code, `docs/cluster.md marks nothing as ${name}`);
    const file = join(place, name === "node" ? "publish.mjs" : "publish.py");
    writeFileSync(file, code);
    const ended = spawnSync(program, [file], { encoding: "utf8", timeout: 60_000, env: { ...process.env, NATS: url } });
    assert.equal(ended.status, 0, `${from}: ${ended.stdout}${ended.stderr}`);
    assert.match(ended.stdout, /^\d+\n$/);
  }
  await hub.publish({ topic: TOPIC, data: '{"from":"HTTP"}' });
  let text = "";
  const has = (/** @type {string} */ from) => text.includes(`data: {"from":"${from}"}\n`);
  assert.ok(response.body);
  for await (const piece of response.body.pipeThrough(new TextDecoderStream())) {
    text += piece;
    if (has("HTTP") && text.endsWith("\n\n")) break;
  }
  assert.ok(has("Python") && has("Node"), text);
  const ids = [...text.matchAll(/^id: (tidings:.*)$/gm)].map(([, id]) => id);
  assert.equal(new Set(ids).size, 3, text);
  // A stream can be resumed from the first one's id, as from any other.
  const again = await fetch(`${hub.mercure}?${query}`, { headers: { "Last-Event-ID": ids[0] ?? "" } });
  assert.equal(again.headers.get("last-event-id"), ids[0]);
  await again.body?.cancel();
});
