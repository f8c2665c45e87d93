// `tidings tail` on servers that we did not write.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, existsSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { Command } from "./command.js";
import { ExpressServer, Feed } from "./express.js";
import { until } from "./until.js";

const binary = process.env.TIDINGS ?? fileURLToPath(new URL("../target/debug/tidings", import.meta.url));

/**
 * @param {import("node:test").TestContext} test
 * @param {string[]} args
 */
const tail = (test, ...args) => new Command(test, binary, ["tail", ...args]);

/**
 * @param {string} output lines of JSON
 * @returns {{ type: string, id: string, data: string }[]}
 */
const lines = (output) =>
  output
    .split("\n")
    .slice(0, -1)
    .map((line) => JSON.parse(line));

/** @param {number} count */
const numbers = (count) => Array.from({ length: count }, (_, index) => index + 1);

for (const manner of /** @type {const} */ (["plain", "better-sse"])) {
  describe(`Express, ${manner}`, () => {
    test("each event is read once and in order, through restarts, and the work stops with us", async (t) => {
      const feed = new Feed();
      let server = await ExpressServer.start(t, feed, { manner });
      const url = server.url("/events");
      const reader = tail(t, url, "--json", "--retry", "100ms");
      for (let life = 0; life < 4; life += 1) {
        for (let step = 0; step < 5; step += 1) {
          feed.count += 10;
          await until("all of it", () => lines(reader.output).length === feed.count);
        }
        const { port } = server;
        await server.kill();
        feed.count += 10;
        server = await ExpressServer.start(t, feed, { manner, port });
      }
      await until("the last of it", () => lines(reader.output).length === feed.count);
      const seen = lines(reader.output);
      assert.deepEqual(seen.map(({ id }) => Number(id)), numbers(feed.count));
      assert.deepEqual(seen.map(({ data }) => JSON.parse(data).number), numbers(feed.count));
      assert.ok(seen.every(({ type, data }) => type === "count" && JSON.parse(data).text === "☂"));
      assert.equal(feed.asked[0], undefined);
      assert.ok(feed.asked.length >= 5 && feed.asked.slice(1).every((id) => id !== undefined));
      assert.match(reader.errors, /trying again in/);

      assert.ok(feed.working > 0);
      await reader.end();
      await until("the server's work has stopped", () => feed.working === 0);
    });
  });
}

test("a kill at any moment loses nothing and repeats nothing, where the output is a file", async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "tidings-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const [place, output] = [join(folder, "place"), join(folder, "output")];
  const feed = new Feed();
  const server = await ExpressServer.start(t, feed, { manner: "plain" });
  const grow = setInterval(() => (feed.count += 20), 5);
  t.after(() => clearInterval(grow));
  const written = () => (existsSync(output) ? readFileSync(output, "utf8") : "");
  for (let kill = 0; kill < 30; kill += 1) {
    const before = written().length;
    const file = openSync(output, "a");
    const args = ["tail", server.url("/events"), "--json", "--resume-file", place];
    const child = spawn(binary, args, { stdio: ["ignore", file, "ignore"] });
    closeSync(file);
    const gone = once(child, "exit");
    t.after(() => child.kill("SIGKILL"));
    await until("more than before", () => written().length > before);
    child.kill("SIGKILL");
    await gone;
  }
  const seen = lines(`${written()}`.replace(/[^\n]*$/, ""));
  assert.ok(seen.length > 100);
  assert.deepEqual(seen.map(({ id }) => Number(id)), numbers(seen.length));
});

test("only what the reader acknowledges is kept, where it is asked for", async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "tidings-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const feed = new Feed();
  feed.count = 9;
  const server = await ExpressServer.start(t, feed, { manner: "plain" });
  const kept = () => {
    const path = join(folder, "place");
    return existsSync(path) ? JSON.parse(readFileSync(path, "utf8")).last_event_id : undefined;
  };
  /**
   * @param {number} first that is expected
   * @param {string[]} words
   */
  const read = async (first, words) => {
    const args = ["tail", server.url("/events"), "--json", "--ack", "--resume-file", join(folder, "place")];
    const child = spawn(binary, args, { stdio: ["pipe", "pipe", "ignore"] });
    const gone = once(child, "exit");
    t.after(() => child.kill("SIGKILL"));
    let output = "";
    child.stdout.setEncoding("utf8").on("data", (text) => (output += text));
    await until("all of it", () => lines(output).length === 10 - first);
    assert.equal(lines(output)[0]?.id, String(first));
    child.stdin.write(words.map((word) => `${word}\n`).join(""));
    return async (/** @type {string} */ id) => {
      await until("it is kept", () => kept() === id);
      child.kill("SIGKILL");
      await gone;
    };
  };
  await (await read(1, ["2", ""]))("3");
  await (await read(4, ["", "5", ""]))("6");
  await (await read(7, ["9"]))("9");
});

test("an answer to a POST is whole, or it has failed, and it is asked for once", async (t) => {
  const server = await ExpressServer.start(t, new Feed(), { manner: "plain" });
  for (const whole of [true, false]) {
    const body = JSON.stringify({ words: ["good", "tidings"], whole });
    const args = ["tail", server.url("/answer"), "--post", body, "--until", "[DONE]", "--data-only"];
    const child = spawn(binary, args, { stdio: ["ignore", "pipe", "pipe"] });
    let output = "";
    child.stdout.setEncoding("utf8").on("data", (text) => (output += text));
    const [code] = await once(child, "close");
    assert.equal(code, whole ? 0 : 1);
    assert.equal(output, `good\ntidings\n${whole ? "[DONE]\n" : ""}`);
  }
});
