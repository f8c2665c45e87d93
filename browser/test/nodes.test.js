// The package in Node.js itself, in each version that `engines` names: the files of tests that need
// no browser, and a program against a real hub.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { after, before, describe, test } from "node:test";
import { Command } from "../../e2e/command.js";
import { Hub } from "../../e2e/hub.js";

const VERSIONS = [20, 22, 24];
const FILES = ["decode.test.js", "node.test.js", "reconnect.test.js"];
/** Far above the time that they need: the machine may be busy. */
const LIMIT_MS = 300_000;

/** The output of a program. */
const SCENARIOS = {
  topics: ["open", "of a", "of b", "closed"],
  "shared: false": ["open", "1", "closed"],
  "shared: auto": ["open", "1", "closed"],
  "shared: true": ["open", "1", "closed"],
  "a URL": ["open", "1", "closed"],
  "several shared": ["closed", "closed", "closed"],
  "closed before it opens": ["closed"],
  "closed while it joins": ["closed"],
  abort: ["open", "closed"],
  "abort, shared": ["open", "closed"],
  "no stream": [["not-a-stream", 200], "refused"],
  "a refusal": [["refused", 404], "refused"],
  "a refusal, shared": [["refused", 404], "refused"],
  "an unreachable server": [["unreachable", 0], "gave-up"],
  "a relative URL": "SyntaxError",
  iterator: ["1", "2", "3", 2],
  FetchEventSource: ["1", true, 2],
};

/** @param {string} name */
const path = (name) => fileURLToPath(new URL(name, import.meta.url));

/**
 * @param {number} version
 * @returns {string} the program
 */
function nodeOf(version) {
  const variable = `NODE_${version}`;
  const program = process.env[variable] ?? "";
  if (!existsSync(program)) {
    throw new Error(`${variable} must name a Node.js ${version}, and is ${program || "not set"}: run \`cargo xtask setup packages\``);
  }
  return program;
}

for (const version of VERSIONS) {
  describe(`in Node.js ${version}`, () => {
    /** @type {Hub} */
    let hub;
    let end = async () => {};
    before(async () => {
      hub = await Hub.start({ after: (ending) => void (end = ending) });
    });
    after(() => end());

    test("the tests that need no browser pass", () => {
      const node = nodeOf(version);
      // A test runner that is started by one would report to that one.
      const env = { ...process.env, NODE_TEST_CONTEXT: undefined };
      const ended = spawnSync(node, ["--test", "--test-reporter=tap", ...FILES.map((name) => path(name))], { env, encoding: "utf8", timeout: LIMIT_MS });
      const failures = ended.stdout.match(/^not ok[^]*?^  \.\.\.$/gm)?.join("\n");
      assert.equal(ended.status, 0, `${ended.error ?? ""}${failures ?? ended.stdout}${ended.stderr}`);
      assert.match(ended.stdout, new RegExp(`^# pass [1-9]\\d+$`, "m"));
    });

    for (const [name, expected] of Object.entries(SCENARIOS)) {
      test(`a program: ${name}`, async (t) => {
        const program = new Command(t, nodeOf(version), [path("node-program.js"), name, hub.origin]);
        const code = await Promise.race([program.ended, new Promise((resolve) => setTimeout(resolve, LIMIT_MS, "late").unref())]);
        assert.notEqual(code, "late", "it does not end by itself");
        assert.ok(program.output, program.errors);
        assert.deepEqual(JSON.parse(program.output), expected);
        assert.deepEqual(code, [0, null], program.errors);
      });
    }
  });
}
