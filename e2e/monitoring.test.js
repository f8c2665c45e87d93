// The alert rules and the dashboard: valid, about metrics that exist, and explained.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { Hub } from "./hub.js";

const root = new URL("..", import.meta.url);
const read = (/** @type {string} */ path) => readFileSync(new URL(path, root), "utf8");
const RULES = "examples/prometheus/alerts.yml";
const DASHBOARD = "examples/grafana/tidings.json";

/** @param {string[]} args */
function promtool(...args) {
  const program = process.env.PROMTOOL ?? "promtool";
  try {
    return execFileSync(program, args, { cwd: fileURLToPath(new URL("examples/prometheus", root)), encoding: "utf8", stdio: "pipe" });
  } catch (error) {
    const { code, stdout = "", stderr = "" } = /** @type {any} */ (error);
    if (code === "ENOENT") throw new Error(`there is no ${program}: install Debian's prometheus, or name promtool in PROMTOOL`);
    throw new Error(`promtool ${args.join(" ")}: ${stdout}${stderr}`);
  }
}

/** The names of the alerts. */
const alerts = () => [...read(RULES).matchAll(/^\s*- alert: (\S+)$/gm)].map(([, name = ""]) => name);

/**
 * The metrics that a text names, with their labels and values in braces.
 *
 * @param {string} text
 */
const named = (text) => new Set(text.match(/\btidings_[a-z_]+/g));

test("promtool accepts the rules", () => {
  assert.match(promtool("check", "rules", "alerts.yml"), new RegExp(`${alerts().length} rules found`));
});

test("each alert fires on what it is for, and none on a healthy hub", () => {
  assert.match(promtool("test", "rules", "alerts.test.yml"), /SUCCESS/);
  const tests = read("examples/prometheus/alerts.test.yml");
  for (const alert of alerts()) {
    assert.ok(tests.includes(`alertname: ${alert}, exp_alerts: []`), `${alert} is not tested on a healthy hub`);
    assert.ok(tests.includes(`ALERTS{alertname="${alert}",alertstate="firing"`), `no test lets ${alert} fire`);
  }
});

test("every metric and label of the rules and the dashboard is in the hub's answer", async (t) => {
  const hub = await Hub.start(t);
  const text = await (await fetch(hub.url("/metrics"))).text();
  const samples = text.split("\n").filter((line) => line.startsWith("tidings_"));
  const present = new Set(samples.map((line) => line.match(/^[a-z_]+/)?.[0] ?? ""));
  for (const path of [RULES, "examples/prometheus/alerts.test.yml", DASHBOARD]) {
    const names = named(read(path));
    assert.ok(names.size > 10, path);
    for (const name of names) assert.ok(present.has(name), `${path} names ${name}, which the hub does not have`);
  }
  // Values of labels are words of the hub's own.
  for (const [, name = "", label = "", values = ""] of read(RULES).matchAll(/(tidings_[a-z_]+)\{([a-z]+)=~?"([^"]+)"\}/g)) {
    for (const value of values.split("|")) {
      const has = samples.some((line) => line.startsWith(`${name}{`) && line.includes(`${label}="${value}"`));
      assert.ok(has, `the hub has no ${name}{${label}="${value}"}`);
    }
  }
  for (const name of present) {
    const isPart = /_(sum|count)$/.test(name);
    assert.ok(isPart || named(read(DASHBOARD)).has(name), `the dashboard does not show ${name}`);
  }
});

test("each alert links to a section that says what to do", () => {
  const rules = read(RULES);
  const operating = read("docs/operating.md");
  for (const alert of alerts()) {
    const anchor = `docs/operating.md#${alert.toLowerCase()}`;
    const block = rules.split(`alert: ${alert}\n`)[1]?.split("- alert:")[0] ?? "";
    assert.ok(block.includes(`runbook: ${anchor}\n`), `${alert} does not link to ${anchor}`);
    const section = operating.split(`\n### ${alert}\n`)[1]?.split(/\n##/)[0] ?? "";
    assert.ok(section.trim().length > 100, `docs/operating.md says too little about ${alert}`);
  }
});

test("the dashboard is JSON with panels that do not overlap", () => {
  const { panels, title } = JSON.parse(read(DASHBOARD));
  assert.equal(title, "Tidings");
  const taken = new Set();
  for (const { id, gridPos } of panels) {
    for (let x = gridPos.x; x < gridPos.x + gridPos.w; x += 1) {
      for (let y = gridPos.y; y < gridPos.y + gridPos.h; y += 1) {
        assert.ok(x < 24 && !taken.has(`${x} ${y}`), `panel ${id} at ${x} ${y}`);
        taken.add(`${x} ${y}`);
      }
    }
  }
  assert.equal(new Set(panels.map((/** @type {any} */ one) => one.id)).size, panels.length);
  assert.deepEqual(readdirSync(new URL("examples/grafana", root)).sort(), ["README.md", "tidings.json"]);
});
