// The programs of the clients, and the events that they report.

import { spawn } from "node:child_process";
import { createInterface } from "node:readline";

/** @typedef {{ type: string, id: string | null, data: string | null }} Seen */

const ERRORS_MAX = 20;

/** One stream that one client reads. */
export class Stream {
  /** @type {Seen[]} */
  events = [];
  /** @type {string[]} */
  errors = [];

  /** @param {string | undefined} error */
  fail(error) {
    if (error && this.errors.length < ERRORS_MAX) this.errors.push(error);
  }
}

/**
 * A program that reads any number of streams: a line of JSON for each on its standard input, a line
 * for each event on its standard output.
 */
export class Reader {
  #child;
  /** @type {Map<string, Stream>} */
  #streams = new Map();

  /**
   * @param {import("node:test").TestContext} test at whose end it is stopped
   * @param {string[]} command
   */
  constructor(test, [program = "", ...args]) {
    this.#child = spawn(program, args, { stdio: ["pipe", "pipe", "pipe"] });
    const tellAll = (/** @type {string} */ error) => this.#streams.forEach((stream) => stream.fail(error));
    this.#child.on("error", (error) => tellAll(`${program}: ${error.message}`));
    this.#child.on("exit", (code, signal) => tellAll(`${program} ended with ${code ?? signal}`));
    this.#child.stdin.on("error", () => {});
    createInterface(this.#child.stderr).on("line", (line) => process.env.TIDINGS_ZOO_VERBOSE && console.error(`${program}: ${line}`));
    createInterface(this.#child.stdout).on("line", (line) => {
      const { stream, error, ...event } = JSON.parse(line);
      if (error && process.env.TIDINGS_ZOO_VERBOSE) console.error(`${stream}: ${error}`);
      if (error && stream === undefined) tellAll(error);
      else if (error) this.#streams.get(stream)?.fail(error);
      else this.#streams.get(stream)?.events.push(event);
    });
    test.after(() => {
      this.#child.kill("SIGKILL");
    });
  }

  /**
   * @param {string} name of the stream
   * @param {string} client
   * @param {string} url
   */
  open(name, client, url) {
    const stream = new Stream();
    this.#streams.set(name, stream);
    this.#child.stdin.write(`${JSON.stringify({ stream: name, client, url })}\n`);
    return stream;
  }
}
