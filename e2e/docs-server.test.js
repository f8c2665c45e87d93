// docs/server.md: its programs in Rust, started and used with its commands.

import assert from "node:assert/strict";
import { test } from "node:test";
import { launch } from "./chromium.js";
import { Command } from "./command.js";
import { built, resolves, shell, snippet } from "./snippets.js";

const step = (/** @type {string} */ name) => snippet("server.md", name);

/**
 * Starts a program of the page on a free port. Returns its origin.
 *
 * @param {import("node:test").TestContext} test
 * @param {string} name
 * @param {string} crate
 */
async function started(test, name, crate) {
  const program = new Command(test, built("server.md", name, crate, name), ["127.0.0.1:0"]);
  await program.prints("\n");
  return new URL(program.output.trim()).origin;
}

/** The commands of the page, for a program at this origin. */
const at = (/** @type {string} */ origin, /** @type {string} */ name) => step(name).replaceAll("http://127.0.0.1:3000", origin);

test("the clock of docs/server.md ticks", async (test) => {
  const origin = await started(test, "clock", "tidings-server");
  await shell(test).start(at(origin, "clock-read")).prints('data: {"utc":"');
});

test("a book that is saved in the service of docs/server.md appears on its page", async (test) => {
  const origin = await started(test, "books", "tidings-hub");
  const browser = await launch();
  test.after(() => browser.close());
  const page = await browser.newPage();
  const opened = page.waitForResponse((response) => response.url().includes("mercure") && response.status() === 200);
  await page.goto(origin);
  await opened;
  assert.match((await shell(test).ends(at(origin, "books-save"))).output, /^tidings:/);
  await page.getByText("Good tidings").waitFor();
});

test("the login of docs/server.md decides what each request may do", async (test) => {
  const origin = await started(test, "login", "tidings-hub");
  const commands = shell(test).start(at(origin, "login-try"));
  await commands.prints("data: Hello");
  assert.match(commands.output, /^HTTP\/1.1 403/);
});

for (const name of ["clock-dependencies", "books-dependencies"]) {
  test(`cargo finds the ${name} of docs/server.md`, (test) => resolves(test, "server.md", name));
}
