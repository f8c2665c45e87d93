// The marked snippets of the documentation: extracted, and run in folders and shells of their own.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { once } from "node:events";
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { delimiter, dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { Command } from "./command.js";
import { until } from "./until.js";

export const ROOT = fileURLToPath(new URL("..", import.meta.url));
/** Maven may have to fetch all of Spring first, Go to compile its own library. */
const RUN_MS_MAX = 15 * 60_000;

/**
 * The snippet that a document marks for running under this name.
 *
 * @param {string} document
 * @param {string} name
 */
export function snippet(document, name) {
  const text = readFileSync(join(ROOT, "docs", document), "utf8");
  const [, after] = text.split(`<!-- run: ${name} -->\n`);
  const code = after?.match(/^```\w+\n([^]*?)^```$/m)?.[1];
  assert.ok(code, `docs/${document} marks nothing as ${name}`);
  return code;
}

/**
 * A folder that is removed when the test ends.
 *
 * @param {import("node:test").TestContext} test
 * @param {string} parent
 */
export function folder(test, parent = tmpdir()) {
  mkdirSync(parent, { recursive: true });
  const made = mkdtempSync(join(parent, "tidings-docs-"));
  test.after(() => rmSync(made, { recursive: true, force: true }));
  return made;
}

/**
 * Serves a page on a free port, and returns its origin. A page that only a browser's driver makes up is none of this
 * machine, and Chromium keeps it from loopback.
 *
 * @param {import("node:test").TestContext} test
 * @param {string} html
 */
export async function page(test, html) {
  const server = createServer((_, response) => response.writeHead(200, { "Content-Type": "text/html" }).end(html));
  server.listen(0, "localhost");
  await once(server, "listening");
  test.after(() => server.close());
  const address = server.address();
  assert.ok(address && typeof address === "object");
  return `http://localhost:${address.port}`;
}

/** @param {string} program */
export function has(program) {
  return (process.env.PATH ?? "").split(delimiter).some((path) => existsSync(join(path, program)));
}

/**
 * Runs a program to its end.
 *
 * @param {string} program
 * @param {string[]} args
 * @param {import("node:child_process").SpawnSyncOptions} options
 */
export function run(program, args, options) {
  const ended = spawnSync(program, args, { encoding: "utf8", timeout: RUN_MS_MAX, ...options });
  assert.equal(ended.status, 0, `${program} ${args.join(" ")}: ${ended.error ?? ""}${ended.stdout}${ended.stderr}`);
  return String(ended.stdout).trim();
}

/**
 * Checks that cargo finds the documented dependencies of a program, with the documented features.
 *
 * @param {import("node:test").TestContext} test
 * @param {string} document
 * @param {string} name
 */
export function resolves(test, document, name) {
  const place = folder(test);
  mkdirSync(join(place, "src"));
  writeFileSync(join(place, "src/main.rs"), "fn main() {}\n");
  const dependencies = snippet(document, name).replaceAll("../tidings/", ROOT);
  writeFileSync(join(place, "Cargo.toml"), `[package]\nname = "program"\nedition = "2024"\n\n${dependencies}\n[workspace]\n`);
  // The versions that the tests in Rust use, which are already here.
  copyFileSync(join(ROOT, "Cargo.lock"), join(place, "Cargo.lock"));
  run("cargo", ["tree", "--offline", "--quiet", "--depth", "1"], { cwd: place });
}

/**
 * The program of a Rust snippet, built. It is an example of a crate: the snippet after a first comment.
 *
 * @param {string} document
 * @param {string} name
 * @param {string} crate
 * @param {string} example
 */
export function built(document, name, crate, example) {
  const file = `crates/${crate}/examples/${example}.rs`;
  const program = readFileSync(join(ROOT, file), "utf8");
  assert.ok(program.endsWith(`\n\n${snippet(document, name)}`), `${file} is no longer the snippet of docs/${document}`);
  // With the features of the tests in Rust, so that no dependency is compiled again.
  const features = ["--workspace", "--exclude", "tidings-embedded", "--all-features"];
  run("cargo", ["build", "--quiet", "--locked", ...features, "--example", example], { cwd: ROOT });
  const target = process.env.CARGO_TARGET_DIR ?? join(ROOT, "target");
  return join(target, "debug", "examples", example);
}

/**
 * A folder for the commands of a document, and functions that run them there.
 *
 * @param {import("node:test").TestContext} test
 * @param {string} [place]
 */
export function shell(test, place = folder(test)) {
  const binary = process.env.TIDINGS ?? join(ROOT, "target", "debug", "tidings");
  const path = `${dirname(resolve(binary))}${delimiter}${process.env.PATH}`;
  const settings = [`PATH=${path}`, "TIDINGS_LISTEN=localhost:0", "TIDINGS_JOURNAL=memory"];
  /** @type {Command | undefined} */
  let first;
  /**
   * Starts a snippet, with `hub` as its `$HUB`. A long-running command replaces the shell, so that ending the process
   * ends it.
   *
   * @param {string} code
   * @param {Record<string, string>} variables
   */
  const start = (code, hub = "", variables = {}) => {
    const alone = code.replace(/^(tidings serve|curl -N)/gm, "exec $1");
    const more = Object.entries(variables).map(([name, value]) => `${name}=${value}`);
    return new Command(test, "env", ["-C", place, ...settings, `HUB=${hub}`, ...more, "sh", "-euc", alone]);
  };
  /** Starts a hub with a snippet, and returns its URL. */
  const serve = async (/** @type {string} */ code) => {
    const command = start(code);
    first ??= command;
    // Without IPv6 it prints 127.0.0.1.
    const port = await until("the hub says where it is", () => command.errors.match(/http:\/\/(?:localhost|127\.0\.0\.1):(\d+)/)?.[1]);
    return `http://localhost:${port}/.well-known/mercure`;
  };
  /**
   * Runs a snippet to its end, and returns its output.
   *
   * @param {string} code
   * @param {Record<string, string>} variables
   */
  const ends = async (code, hub = "", variables = {}) => {
    const command = start(code, hub, variables);
    await command.ended;
    return { output: command.output, errors: command.errors };
  };
  /** The first hub that was started. */
  const server = () => {
    assert.ok(first, "a hub was started");
    return first;
  };
  return { place, path, start, serve, server, ends };
}
