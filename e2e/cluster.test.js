// The example of several hubs: the files of docs/cluster.md, and a subscriber that outlives its hub.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
const read = (/** @type {string} */ path) => readFileSync(ROOT + path, "utf8");

test("the example starts three hubs on three NATS servers, and a subscriber survives the end of its hub", () => {
  // A network that no other process uses.
  const { pid } = process;
  const net = `127.${1 + (Math.floor(pid / 250) % 250)}.${1 + (pid % 250)}`;
  const ended = spawnSync(`${ROOT}examples/cluster/run`, ["--once"], {
    env: { TIDINGS: `${ROOT}target/debug/tidings`, ...process.env, NET: net },
    encoding: "utf8",
    timeout: 300_000,
  });
  assert.equal(ended.status, 0, `${ended.stdout}${ended.stderr}`);
  assert.match(ended.stdout, /^three hubs on three NATS servers/);
  assert.match(ended.stdout, /is at node-[123], which is killed/);
  assert.match(ended.stdout, /20 events of 20, in order, none twice/);
});

test("the document shows the example's files unchanged, except for comments", () => {
  const lines = (/** @type {string} */ text) => {
    const bare = text.split("\n").map((line) => line.replace(/\s*#.*/, "").trimEnd());
    return bare.filter((line) => line !== "").join("\n");
  };
  const document = lines(read("docs/cluster.md").replaceAll(/^#.*$/gm, ""));
  for (const file of ["nats.conf", "tidings.toml"]) {
    assert.ok(document.includes(lines(read(`examples/cluster/${file}`))), file);
  }
  const backend = lines(read("examples/cluster/haproxy.cfg").replace(/[^]*(?=^backend)/m, ""));
  assert.ok(document.includes(backend), "haproxy.cfg");
});
