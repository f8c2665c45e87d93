// `/metrics` as Prometheus' own readers see it.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { Hub } from "./hub.js";

const READER = fileURLToPath(new URL("metrics_reader.py", import.meta.url));

/** @typedef {{ type: string, help: string, samples: Record<string, number> }} Family */

/**
 * @param {Hub} hub
 * @param {string} accept
 * @param {string} format
 * @returns {Promise<{ type: string, families: Record<string, Family> }>}
 */
async function read(hub, accept, format) {
  const response = await fetch(hub.url("/metrics"), { headers: { Accept: accept } });
  const input = await response.text();
  const ended = spawnSync(process.env.PYTHON ?? "python3", [READER, format], { input, encoding: "utf8" });
  assert.equal(ended.status, 0, `${ended.stderr}${input}`);
  return { type: response.headers.get("content-type") ?? "", families: JSON.parse(ended.stdout) };
}

test("Prometheus' parsers read both formats, with the same values", async (test) => {
  const hub = await Hub.start(test);
  await hub.publish({ topic: "a", data: "x" });
  // The header that Prometheus sends.
  const scrape =
    "application/openmetrics-text;version=1.0.0;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
  const open = await read(hub, scrape, "openmetrics");
  const classic = await read(hub, "text/plain;version=0.0.4;q=0.5,*/*;q=0.1", "classic");
  assert.equal(open.type, "application/openmetrics-text; version=1.0.0; charset=utf-8");
  assert.equal(classic.type, "text/plain; version=0.0.4; charset=utf-8");
  const samples = (/** @type {Record<string, Family>} */ families) => {
    return Object.fromEntries(Object.values(families).flatMap((family) => Object.entries(family.samples)));
  };
  assert.deepEqual(samples(classic.families), samples(open.families));
  for (const families of [open.families, classic.families]) {
    assert.equal(families["tidings_updates"]?.type, "counter");
    assert.equal(families["tidings_delivery_seconds"]?.type, "histogram");
    assert.equal(families["tidings_updates"]?.samples["tidings_updates_total{}"], 1);
    for (const [name, { type, help, samples }] of Object.entries(families)) {
      assert.notEqual(type, "unknown", name);
      assert.notEqual(help, "", name);
      assert.notDeepEqual(samples, {}, name);
    }
  }
});
