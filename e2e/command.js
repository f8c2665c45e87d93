// A child process whose output a test waits for. It is ended with the test.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { until } from "./until.js";

const OUTPUT_CHARACTERS_MAX = 1_000_000;

export class Command {
  output = "";
  errors = "";
  #child;
  #name;
  /** @type {Promise<unknown>} */
  ended;

  /**
   * @param {import("node:test").TestContext} test
   * @param {string} program
   * @param {string[]} args
   */
  constructor(test, program, args) {
    this.#name = program;
    this.#child = spawn(program, args, { stdio: ["ignore", "pipe", "pipe"] });
    this.#child.stdout.setEncoding("utf8").on("data", (text) => {
      this.output = (this.output + text).slice(-OUTPUT_CHARACTERS_MAX);
    });
    this.#child.stderr.setEncoding("utf8").on("data", (text) => {
      this.errors = (this.errors + text).slice(-OUTPUT_CHARACTERS_MAX);
    });
    this.#child.on("error", (error) => {
      this.errors += String(error);
    });
    this.ended = once(this.#child, "close").catch(() => {});
    test.after(() => this.end());
  }

  /** @param {string} text */
  async prints(text) {
    await until(`${this.#name} prints ${JSON.stringify(text)}`, () => this.output.includes(text)).catch((error) => {
      throw new Error(`${error.message}; it printed ${JSON.stringify(this.output)} and ${JSON.stringify(this.errors)}`);
    });
  }

  /** The id of the process, which is that of a program that replaced the shell. */
  get pid() {
    return this.#child.pid;
  }

  async end() {
    this.#child.kill("SIGKILL");
    await this.ended;
  }
}
