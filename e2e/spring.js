// A real Spring Boot server for a test: events by number, over as many lives of it as the test
// wants. It is built by `mvn package` in `spring/`.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { keptPort } from "./port.js";

const START_MS_MAX = 300_000;

const jar = fileURLToPath(new URL("spring/target/spring-events.jar", import.meta.url));

/** @typedef {{ count: number, working: number, asked: string[] }} Feed as the server tells it */

export class SpringServer {
  #child;

  /**
   * @param {import("node:child_process").ChildProcess} child
   * @param {number} port
   */
  constructor(child, port) {
    this.#child = child;
    this.port = port;
  }

  /**
   * @param {import("node:test").TestContext} test at whose end it is stopped
   * @param {object} [options]
   * @param {number} [options.count] how many events there are already
   * @param {number} [options.port] without it, a free one
   */
  static async start(test, { count = 0, port } = {}) {
    if (!existsSync(jar)) throw new Error(`there is no ${jar}: run \`mvn package\` in spring/`);
    port ??= await keptPort();
    const child = spawn(
      "java",
      // Options for a faster start.
      ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx256m", "-jar", jar].concat(
        ["--server.address=127.0.0.1", `--server.port=${port}`, `--count=${count}`],
        ["--server.shutdown=immediate", "--spring.main.banner-mode=off"],
      ),
      { stdio: ["ignore", "pipe", "inherit"] },
    );
    test.after(() => end(child, "SIGKILL"));
    return new SpringServer(child, await announced(child));
  }

  /** @param {string} path */
  url(path) {
    return `http://127.0.0.1:${this.port}${path}`;
  }

  /** @returns {Promise<Feed>} */
  async feed() {
    return (await fetch(this.url("/feed"))).json();
  }

  /** @param {number} by so many events */
  async grow(by) {
    const response = await fetch(this.url(`/feed?by=${by}`), { method: "POST" });
    if (!response.ok) throw new Error(`the server answers ${response.status}`);
  }

  /** @param {NodeJS.Signals} signal */
  async end(signal) {
    await end(this.#child, signal);
  }
}

/**
 * @param {import("node:child_process").ChildProcess} child
 * @param {NodeJS.Signals} signal
 */
async function end(child, signal) {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = once(child, "exit");
  child.kill(signal);
  await gone;
}

/**
 * The port that the server prints. Its log is read further, so that a full pipe can't stop it.
 *
 * @param {import("node:child_process").ChildProcess} child
 * @returns {Promise<number>}
 */
function announced(child) {
  /** @type {string[]} */
  const logged = [];
  return new Promise((resolve, reject) => {
    const fail = (/** @type {string} */ why) => {
      child.kill("SIGKILL");
      reject(new Error(`the Spring Boot server ${why}; it logged:\n${logged.join("\n")}`));
    };
    const timer = setTimeout(() => fail(`did not start within ${START_MS_MAX} ms`), START_MS_MAX);
    child.once("error", (error) => fail(`could not be started (${error.message})`));
    child.once("exit", (code) => fail(`ended with ${code} before it listened`));
    if (!child.stdout) return fail("has no output");
    createInterface(child.stdout).on("line", (line) => {
      logged.push(line);
      if (logged.length > 200) logged.shift();
      const port = line.match(/Tomcat started on port (\d+)/)?.[1];
      if (!port) return;
      clearTimeout(timer);
      resolve(Number(port));
    });
  });
}
