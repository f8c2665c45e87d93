// The checks of docs/troubleshooting.md, and the measurements that other pages describe, against a real hub.

import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { Hub } from "./hub.js";
import { shell, snippet } from "./snippets.js";

const step = (/** @type {string} */ name) => snippet("troubleshooting.md", name);
const TOPIC = "https://example.com/books/1";

test("the checks of docs/troubleshooting.md show what it says", async (test) => {
  const { place, start, ends } = shell(test);
  const state = { XDG_STATE_HOME: join(place, "state") };
  const open = ["--anonymous-publish", "--anonymous-subscribe", "--cors-origin", "https://app.example.com"];
  const hub = await Hub.start(test, { journal: "disk", flags: ["--data-dir", join(place, "state", "tidings"), ...open] });
  await hub.publish({ topic: TOPIC, data: "hello" });
  const at = (/** @type {string} */ name) => step(name).replaceAll("http://localhost:8081", hub.origin);

  assert.equal((await ends(`${step("url")}\necho "$HUB"`)).output.trim(), "http://localhost:8081/.well-known/mercure");
  const inspected = await ends(at("inspect").replace("5s", "1s"), hub.mercure);
  assert.match(inspected.output, /^status 200 OK/, inspected.errors);
  const everything = start(at("everything"), hub.mercure);
  await everything.prints("retry: ");
  await hub.publish({ topic: TOPIC, data: "again" });
  await everything.prints("data: again");
  const reconnects = start(at("reconnects"), hub.mercure);
  await reconnects.prints("HTTP/1.1 200");
  const cors = start(at("cors"), hub.mercure);
  await cors.prints("access-control-allow-origin: https://app.example.com");
  assert.match((await ends(at("ready"))).output, /^HTTP\/1.1 200/);
  const earliest = await ends(at("earliest").replace("--max-time 2", "--max-time 2 || true"), hub.mercure, state);
  assert.match(earliest.output, /data: hello/);
  assert.match(earliest.output, /updates/, earliest.errors);
  assert.match((await ends(at("turned-away"))).output, /limit="address"\} 0/);
});

test("the check of a token in docs/troubleshooting.md shows why a hub refuses it", async (test) => {
  const { place, ends } = shell(test);
  writeFileSync(join(place, "hub.toml"), snippet("tokens.md", "config"));
  writeFileSync(join(place, "hub.key"), "k".repeat(32), { mode: 0o600 });
  const { output: token } = await ends(`tidings token --subscribe '*' --key ${"o".repeat(32)}`);
  const { output, errors } = await ends(step("token"), "", { TOKEN: token.trim() });
  assert.match(output + errors, /signature/);
});

test("the measurements of docs/operating.md and docs/comparison.md lose nothing", async (test) => {
  const hub = await Hub.start(test);
  const small = (/** @type {string} */ code) => code.replaceAll("--subscribers 5000 --updates 600", "--subscribers 20 --updates 20").replaceAll("https://hub.example.com", hub.origin);
  const { ends } = shell(test);
  for (const code of [snippet("comparison.md", "bench"), snippet("operating.md", "bench")]) {
    const { output, errors } = await ends(small(code), hub.mercure);
    assert.match(output, /^lost +0$/m, errors);
  }
});
