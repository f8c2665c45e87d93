// What the package costs a page: minified by esbuild, then gzipped. And what it needs: nothing.

import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { test } from "node:test";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

const folder = fileURLToPath(new URL("../", import.meta.url));
const modules = readdirSync(folder).filter((name) => name.endsWith(".js"));

/**
 * @param {string} contents
 * @param {string[]} [external]
 */
async function bytes(contents, external = []) {
  const { outputFiles } = await build({
    stdin: { contents, resolveDir: folder },
    bundle: true,
    minify: true,
    format: "esm",
    write: false,
    external,
  });
  return gzipSync(/** @type {any} */ (outputFiles[0]).contents, { level: 9 }).length;
}

test("all modules together have at most 9 kB", async (t) => {
  // Its three entry points, and with them every module.
  const size = await bytes(`export * from "./index.js"; export { share, sharing } from "./share.js"; import "./worker.js"`);
  t.diagnostic(`${size} bytes`);
  assert.ok(size > 5000 && size <= 9000, `${size} bytes`);
});

test("the class without sharing has at most 5 kB", async (t) => {
  const size = await bytes(`export { EventSourceWrapper } from "./index.js"`, ["./share.js"]);
  t.diagnostic(`${size} bytes`);
  assert.ok(size > 2500 && size <= 5000, `${size} bytes`);
});

test("the package has no dependency at run time, and its modules name only each other", () => {
  const manifest = JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8"));
  assert.equal(manifest.dependencies, undefined);
  for (const name of modules) {
    const text = readFileSync(new URL(`../${name}`, import.meta.url), "utf8");
    for (const [, from] of text.matchAll(/(?:from |import\()"([^"]+)"/g)) {
      assert.ok(modules.includes(String(from).replace("./", "")), `${name} imports ${from}`);
    }
  }
});

test("the hub serves every module", () => {
  const list = readFileSync(new URL("../../crates/tidings-hub/src/http/browser.rs", import.meta.url), "utf8");
  for (const name of modules) assert.ok(list.includes(`"${name}"`), name);
});

test("it can be imported where there is no window", async () => {
  const { default: EventSourceWrapper, FetchEventSource } = await import("../index.js");
  assert.equal(typeof EventSourceWrapper, "function");
  assert.throws(() => new FetchEventSource("/relative"), { name: "SyntaxError" });
});
