// Third-party clients, each with the same task: read a stream, and resume from the last event id after a loss.

import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { EventSource } from "eventsource";
import { launch } from "./chromium.js";
import { Command } from "./command.js";

/**
 * @typedef {{ type: string, id: string, data: string }} Seen
 *
 * @typedef {object} Client
 * @property {string} name
 * @property {(test: import("node:test").TestContext, url: string) => Promise<() => Promise<Seen[]>>} open
 *   opens the stream, and returns a function that returns the events so far
 */

/** The types that the tests use: `EventSource` dispatches no others. */
const TYPES = ["message", "price", "tidings"];
const RETRY_MS = 200;

/** @type {Client} */
const curl = {
  name: "curl -N",
  // Like a shell script: runs curl again with the last id whenever it ends.
  async open(test, url) {
    let done = false;
    let before = "";
    let running = new Command(test, "curl", ["-sN", url]);
    const all = () => eventsOf(before + running.output);
    const again = async () => {
      while (!done) {
        await running.ended;
        if (done) return;
        // A part of an event at a cut is not an event.
        const whole = running.output.slice(0, running.output.lastIndexOf("\n\n") + 2);
        before += running.output.includes("\n\n") ? whole : "";
        running.output = "";
        await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
        if (done) return;
        const id = all().at(-1)?.id;
        running = new Command(test, "curl", ["-sN", ...(id ? ["-H", `Last-Event-ID: ${id}`] : []), url]);
      }
    };
    const ended = again();
    test.after(async () => {
      done = true;
      await running.end();
      await ended;
    });
    return async () => all();
  },
};

/** @type {Client} */
const node = {
  name: "the npm package eventsource",
  async open(test, url) {
    const source = new EventSource(url);
    test.after(() => source.close());
    /** @type {Seen[]} */
    const seen = [];
    for (const type of TYPES) {
      source.addEventListener(type, (event) => {
        seen.push({ type: event.type, id: event.lastEventId, data: event.data });
      });
    }
    return async () => [...seen];
  },
};

/** @type {Client} */
const python = {
  name: "the Python package httpx-sse",
  async open(test, url) {
    const interpreter = process.env.PYTHON;
    if (!interpreter || !existsSync(interpreter)) {
      throw new Error(`PYTHON must name a Python that has requirements.txt installed, and is ${interpreter ?? "not set"}`);
    }
    const script = fileURLToPath(new URL("httpx_sse_client.py", import.meta.url));
    const command = new Command(test, interpreter, [script, url]);
    return async () => {
      if (command.errors !== "") throw new Error(command.errors);
      return command.output
        .split("\n")
        .slice(0, -1)
        .map((line) => JSON.parse(line));
    };
  },
};

/** @type {Client} */
const browser = {
  name: "Chromium's EventSource",
  async open(test, url) {
    const chromium = await launch();
    test.after(() => chromium.close());
    const page = await chromium.newPage();
    // Of the same origin, and without a stream of its own.
    await page.goto(new URL("/healthz", url).href);
    const seen = await page.evaluateHandle(
      ([url, types]) => {
        const source = new EventSource(url);
        /** @type {Seen[]} */
        const seen = [];
        for (const type of types) {
          source.addEventListener(type, (event) => {
            seen.push({ type: event.type, id: event.lastEventId, data: event.data });
          });
        }
        return seen;
      },
      /** @type {[string, string[]]} */ ([url, TYPES]),
    );
    return () => seen.jsonValue();
  },
};

export const CLIENTS = [curl, node, python, browser];

/**
 * A slow and obvious reader for curl's output. Only line feeds: the hub writes no other
 * line breaks.
 *
 * @param {string} stream
 * @returns {Seen[]}
 */
function eventsOf(stream) {
  /** @type {Seen[]} */
  const events = [];
  let id = "";
  for (const block of stream.split("\n\n").slice(0, -1)) {
    let type = "message";
    const data = [];
    for (const line of block.split("\n")) {
      const [, name, value = ""] = line.match(/^([^:]*)(?:: ?(.*))?$/) ?? [];
      if (name === "id") id = value;
      if (name === "event") type = value;
      if (name === "data") data.push(value);
    }
    if (data.length > 0) events.push({ type, id, data: data.join("\n") });
  }
  return events;
}
