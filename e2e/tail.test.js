// `tidings tail` on servers that we did not write.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, existsSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { Command } from "./command.js";
import { ExpressServer, Feed } from "./express.js";
import { SpringServer } from "./spring.js";
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

/**
 * A server with a history, over all its lives.
 *
 * @typedef {object} Source
 * @property {string} url of its events
 * @property {(by: number) => Promise<void>} grow
 * @property {(meanwhile: number) => Promise<void>} restart with so many events meanwhile
 * @property {() => Promise<(string | undefined)[]>} asked the `Last-Event-ID` of each request
 * @property {() => Promise<number>} working streams that are being worked for
 */

/**
 * @param {import("node:test").TestContext} test
 * @param {"plain" | "better-sse"} manner
 * @returns {Promise<Source>}
 */
async function expressSource(test, manner) {
  const feed = new Feed();
  let server = await ExpressServer.start(test, feed, { manner });
  const grow = async (/** @type {number} */ by) => {
    feed.count += by;
  };
  return {
    url: server.url("/events"),
    grow,
    restart: async (meanwhile) => {
      const { port } = server;
      await server.kill();
      await grow(meanwhile);
      server = await ExpressServer.start(test, feed, { manner, port });
    },
    asked: async () => feed.asked,
    working: async () => feed.working,
  };
}

/**
 * @param {import("node:test").TestContext} test
 * @returns {Promise<Source>}
 */
async function springSource(test) {
  let server = await SpringServer.start(test);
  /** @type {string[]} */
  const askedBefore = [];
  let lives = 1;
  return {
    url: server.url("/events"),
    grow: (by) => server.grow(by),
    restart: async (meanwhile) => {
      const { count, asked } = await server.feed();
      askedBefore.push(...asked);
      await server.end(lives % 2 ? "SIGKILL" : "SIGTERM");
      lives += 1;
      server = await SpringServer.start(test, { port: server.port, count: count + meanwhile });
    },
    asked: async () => [...askedBefore, ...(await server.feed()).asked].map((id) => id || undefined),
    working: async () => (await server.feed()).working,
  };
}

const sources = {
  "Express, plain": { start: (/** @type {import("node:test").TestContext} */ t) => expressSource(t, "plain"), lives: 5 },
  "Express, better-sse": {
    start: (/** @type {import("node:test").TestContext} */ t) => expressSource(t, "better-sse"),
    lives: 5,
  },
  "Spring Boot": { start: springSource, lives: 3 },
};

for (const [name, { start, lives }] of Object.entries(sources)) {
  test(`${name}: each event is read once and in order, through restarts, and the server stops its work when tail ends`, async (t) => {
    const source = await start(t);
    const reader = tail(t, source.url, "--json", "--retry", "100ms");
    let count = 0;
    for (let life = 1; life <= lives; life += 1) {
      for (let step = 0; step < 5; step += 1) {
        await source.grow(10);
        count += 10;
        await until("all of it", () => lines(reader.output).length === count);
      }
      if (life === lives) break;
      await source.restart(10);
      count += 10;
      // If a server takes long to restart, its client waits longer, up to 30 s.
      await until("what came meanwhile", () => lines(reader.output).length === count);
    }
    const seen = lines(reader.output);
    assert.deepEqual(seen.map(({ id }) => Number(id)), numbers(count));
    assert.deepEqual(seen.map(({ data }) => JSON.parse(data).number), numbers(count));
    assert.ok(seen.every(({ type, data }) => type === "count" && JSON.parse(data).text === "☂"));
    const asked = await source.asked();
    assert.equal(asked[0], undefined);
    assert.ok(asked.length >= lives && asked.slice(1).every((id) => id !== undefined));
    assert.match(reader.errors, /reconnecting in/);

    assert.equal(await source.working(), 1);
    await reader.end();
    await until("the server's work has stopped", async () => (await source.working()) === 0);
  });
}

test("a kill at any moment loses nothing and repeats nothing if the output is a file", async (t) => {
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

test("with --ack, only acknowledged positions are stored", async (t) => {
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

test("an answer to a POST is complete or a failure, and the POST is sent once", async (t) => {
  const servers = [await ExpressServer.start(t, new Feed(), { manner: "plain" }), await SpringServer.start(t)];
  for (const server of servers) {
    for (const whole of [true, false]) {
      const body = JSON.stringify({ words: ["good", "tidings"], whole });
      const args = ["tail", server.url("/answer"), "--post", body, "--until", "[DONE]", "--data-only"];
      const child = spawn(binary, args, { stdio: ["ignore", "pipe", "pipe"] });
      let output = "";
      let errors = "";
      child.stdout.setEncoding("utf8").on("data", (text) => (output += text));
      child.stderr.setEncoding("utf8").on("data", (text) => (errors += text));
      const [code] = await once(child, "close");
      assert.equal(code, whole ? 0 : 1, errors);
      assert.equal(output, `good\ntidings\n${whole ? "[DONE]\n" : ""}`);
    }
  }
});
