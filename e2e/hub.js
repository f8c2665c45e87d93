// A real hub for a test: started on a free port, and stopped when the test ends.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { keptPort } from "./port.js";

const START_MS_MAX = 60_000;

/** The hub's command. */
export const binary = process.env.TIDINGS ?? fileURLToPath(new URL("../target/debug/tidings", import.meta.url));

/** A running hub: its address, its metrics, its end. */
export class Hub {
  /** @type {import("node:child_process").ChildProcess} */
  #child;

  /**
   * @param {import("node:child_process").ChildProcess} child
   * @param {string} origin
   */
  constructor(child, origin) {
    this.#child = child;
    this.origin = origin;
  }

  /**
   * Promise<void>) => void }} test at whose end the hub goes => @param {{ after: (end: () => Promise<void>) => void }}
   * test at whose end the hub is stopped => Promise<void>) => void }} test at whose end the hub goes
   * @param {object} [options]
   * @param {string} [options.listen] without it, a free port
   * @param {boolean} [options.returns] whether another hub will be started later at the same address
   * @param {string} [options.journal]
   * @param {string[]} [options.flags]
   * @returns {Promise<Hub>}
   */
  static async start(test, { returns = false, listen, journal = "memory", flags = [] } = {}) {
    listen ??= `127.0.0.1:${returns ? await keptPort() : 0}`;
    if (!existsSync(binary)) {
      throw new Error(`there is no hub at ${binary}: run \`cargo build\`, or name one in TIDINGS`);
    }
    const child = spawn(binary, ["serve", "--journal", journal, "--listen", listen, ...flags], { stdio: ["ignore", "pipe", "pipe"] });
    const hub = new Hub(child, await announced(child));
    test.after(() => hub.kill());
    return hub;
  }

  /** @param {string} path */
  url(path) {
    return new URL(path, this.origin).href;
  }

  get mercure() {
    return this.url("/.well-known/mercure");
  }

  /** Its address, to start another hub there. */
  get listen() {
    return new URL(this.origin).host;
  }

  /**
   * @param {Record<string, string>} fields of the Mercure form
   * @returns {Promise<string>} the id
   */
  async publish(fields) {
    const response = await fetch(this.mercure, { method: "POST", body: new URLSearchParams(fields) });
    const body = await response.text();
    if (response.status !== 200) throw new Error(`publishing was refused with ${response.status}: ${body}`);
    return body;
  }

  /** How many streams are open, by the hub's own count. */
  async subscribers() {
    return this.subscribersAt(this.url("/metrics"));
  }

  /** @param {string} metrics the URL of its metrics */
  async subscribersAt(metrics) {
    const text = await (await fetch(metrics)).text();
    let sum = 0;
    for (const [, value] of text.matchAll(/^tidings_subscribers(?:\{[^}]*\})? (\d+)/gm)) sum += Number(value);
    return sum;
  }

  /** @param {NodeJS.Signals} signal */
  signal(signal) {
    this.#child.kill(signal);
  }

  /** Ends it as a crash would. */
  async kill() {
    await this.#end("SIGKILL");
  }

  /** Ends it as an operator would: it drains. */
  async stop() {
    await this.#end("SIGTERM");
  }

  /** @param {NodeJS.Signals} signal */
  async #end(signal) {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const gone = once(this.#child, "exit");
    this.#child.kill(signal);
    await gone;
  }
}

/**
 * The address that the hub prints. Its output is read further, so that a full pipe can't stop it.
 *
 * @param {import("node:child_process").ChildProcess} child
 * @returns {Promise<string>}
 */
function announced(child) {
  /** @type {string[]} */
  const printed = [];
  return new Promise((resolve, reject) => {
    const fail = (/** @type {string} */ why) => {
      child.kill("SIGKILL");
      reject(new Error(`the hub ${why}; it printed:\n${printed.join("\n")}`));
    };
    const timer = setTimeout(() => fail(`named no address within ${START_MS_MAX} ms`), START_MS_MAX);
    child.once("error", (error) => fail(`could not be started (${error.message})`));
    child.once("exit", (code) => fail(`ended with ${code} before it named its address`));
    for (const output of [child.stdout, child.stderr]) {
      if (!output) continue;
      createInterface(output).on("line", (line) => {
        printed.push(line);
        if (printed.length > 200) printed.shift();
        const origin = line.match(/https?:\/\/(?:127\.0\.0\.1|localhost|\[::1\]):\d+/)?.[0];
        if (!origin) return;
        clearTimeout(timer);
        resolve(origin);
      });
    }
  });
}
