// The examples work as shown.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { test } from "node:test";
import { launch } from "../../e2e/chromium.js";
import { until } from "../../e2e/until.js";

test("the classic example ticks, the token is renewed, and the answer is complete", async (t) => {
  const program = fileURLToPath(new URL("../examples/server.js", import.meta.url));
  const child = spawn(process.execPath, [program], { env: { ...process.env, PORT: "0" }, stdio: ["ignore", "pipe", "inherit"] });
  t.after(() => child.kill());
  const [printed] = await once(child.stdout, "data");
  const origin = String(printed).trim();
  const browser = await launch();
  t.after(() => browser.close());
  const page = await browser.newPage();
  /** @type {string[]} */
  const logged = [];
  page.on("console", (message) => message.type() === "log" && logged.push(message.text()));

  await page.goto(origin);
  await page.getByRole("button", { name: "Open" }).click();
  await until("a tick", () => logged.some((line) => line.startsWith("message")));
  await page.getByRole("button", { name: "Close" }).click();
  assert.deepEqual([logged[0], logged.at(-1)], ["open 1", "closed 2"]);

  await page.goto(`${origin}/answer.html`);
  await page.getByRole("button", { name: "Ask" }).click();
  await until("the whole answer", async () => /What is new\?.*connection\.$/.test(await page.locator("#answer").innerText()));

  await page.goto(`${origin}/authorised.html`);
  const lines = () => page.locator("li").allTextContents();
  await until("another token", async () => (await lines()).filter((line) => line.startsWith("9 s")).length === 2);
  assert.ok(!(await lines()).some((line) => line.includes("closed")));
});
