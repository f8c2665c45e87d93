// The size of the package in a page: minified by esbuild, then gzipped. And its dependencies: none.

import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "node:test";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

const root = fileURLToPath(new URL("../", import.meta.url));
const modules = readdirSync(root).filter((name) => name.endsWith(".js"));

/** What its types allow, and what they reject. */
const USE = `
  import EventSourceWrapper, { Decoder, FetchEventSource, type EventSourceWrapper as Named } from "tidings";
  import type { CloseEvent, CloseReason, DecodedEvent, ErrorEvent, Failure, HeadersSource, Options, Policy, ReceivedEvent } from "tidings";
  import { sharing } from "tidings/share.js";
  interface Events extends Record<string, unknown> { message: { text: string }; price: { amount: number } }
  const source = new EventSourceWrapper<Events>("/sse", { parse: JSON.parse, shared: "auto", headers: async () => ({ a: "b" }) });
  source.onMessage(function (event) { const text: string = event.data.text; const state: 0 | 1 | 2 = this.readyState; void [text, state] });
  source.onError(({ status, body, attempt, nextDelay, kind }) => { const delay: number | null = nextDelay; void [status, body, attempt, delay, kind === "refused"] });
  const end: () => void = source.on("price", ({ data, topic }) => { const amount: number = data.amount; const one: string | undefined = topic; void [amount, one] });
  source.on("close", ({ reason }) => { const why: "closed" | "ended" | "refused" | "gave-up" | "unsupported" = reason; void why });
  // @ts-expect-error: a price has no text
  source.on("price", ({ data }) => data.text);
  // @ts-expect-error: no such option
  new EventSourceWrapper("/sse", { sharde: true });
  for await (const { data } of source) { const one: { text: string } | { amount: number } | unknown = data; void one }
  const standard: EventSource["onmessage"] = null;
  const fetched = new FetchEventSource("/sse", { headers: { a: "b" } });
  fetched.onmessage = standard as any;
  new Decoder({ onEvent: ({ data }) => { const text: string = data; void text } }).push(new Uint8Array());
  const shared: Promise<{ tabs: number } | null> = sharing();
  const named: Named<Events> = source;
  // The root exports every type that callers name.
  const headers: HeadersSource = async () => ({ Authorization: "Bearer x" });
  const policy: Partial<Policy> = { backoffMaxMs: 1000, isPassing: (status) => status === 503 };
  const options: Options = { headers, reconnect: policy, topics: ["a"] };
  // @ts-expect-error: no such option
  const wrong: Options = { header: {} };
  const onError = (event: ErrorEvent): Failure["kind"] => event.kind;
  const onPrice = (event: ReceivedEvent<{ amount: number }, "price">): number => event.data.amount;
  // @ts-expect-error: an amount is a number
  const onWrong = (event: ReceivedEvent<{ amount: number }>): string => event.data.amount;
  const onClose = ({ reason }: CloseEvent): CloseReason => reason;
  source.onError((event) => void onError(event));
  source.on("price", (event) => void onPrice(event));
  source.on("close", (event) => void onClose(event));
  source.onmessage = (event: ReceivedEvent) => void event.topics;
  const decoded = (event: DecodedEvent): string | undefined => event.id;
  void [end, shared, named, options, wrong, onWrong, decoded];
`;

/**
 * @param {string} contents
 * @param {string[]} [external]
 */
async function bytes(contents, external = []) {
  const { outputFiles } = await build({
    stdin: { contents, resolveDir: root },
    bundle: true,
    minify: true,
    format: "esm",
    write: false,
    external,
  });
  return gzipSync(/** @type {any} */ (outputFiles[0]).contents, { level: 9 }).length;
}

test("all modules together have at most 12.5 kB", async (t) => {
  // Its three entry points, and with them every module.
  const size = await bytes(`export * from "./index.js"; export { share, sharing } from "./share.js"; import "./worker.js"`);
  t.diagnostic(`${size} bytes`);
  assert.ok(size > 5000 && size <= 12_500, `${size} bytes`);
});

test("the class without sharing has at most 8 kB", async (t) => {
  const size = await bytes(`export { EventSourceWrapper } from "./index.js"`, ["./share.js"]);
  t.diagnostic(`${size} bytes`);
  assert.ok(size > 2500 && size <= 8000, `${size} bytes`);
});

test("unused modules are not in a bundle", async (t) => {
  const all = await bytes(`export * from "./index.js"`);
  for (const name of ["Decoder", "FetchEventSource"]) {
    const size = await bytes(`export { ${name} } from "./index.js"`);
    t.diagnostic(`${name}: ${size} bytes of ${all}`);
    assert.ok(size < (name === "Decoder" ? 0.25 : 0.7) * all, `${name}: ${size} bytes of ${all}`);
  }
});

test("the npm package contains the modules, their types, the README and the licences", (t) => {
  const folder = mkdtempSync(join(tmpdir(), "tidings-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const packed = execFileSync("npm", ["pack", "--json", "--pack-destination", folder], { cwd: root, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
  const [{ filename, files }] = JSON.parse(packed.slice(packed.indexOf("[\n")));
  const names = files.map((/** @type {{ path: string }} */ { path }) => path).sort();
  const types = modules.map((name) => `types/${name.replace(/js$/, "d.ts")}`);
  assert.deepEqual(names, [...modules, ...types, "LICENSE-APACHE", "LICENSE-MIT", "README.md", "package.json"].sort());

  // As its users have it: installed, and seen by their own strict compiler.
  const project = join(folder, "project");
  mkdirSync(join(project, "node_modules", "tidings"), { recursive: true });
  execFileSync("tar", ["-xzf", join(folder, filename), "-C", join(project, "node_modules", "tidings"), "--strip-components=1"]);
  writeFileSync(join(project, "use.ts"), USE);
  writeFileSync(
    join(project, "tsconfig.json"),
    JSON.stringify({ compilerOptions: { strict: true, noEmit: true, target: "es2022", module: "nodenext", lib: ["es2023", "dom", "dom.iterable"], types: [] } }),
  );
  writeFileSync(join(project, "package.json"), `{ "type": "module" }`);
  const compiler = spawnSync(join(root, "node_modules", ".bin", "tsc"), ["--project", project], { encoding: "utf8" });
  assert.equal(compiler.status, 0, compiler.stdout);
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

test("the package can be imported where there is no window", async () => {
  const { default: EventSourceWrapper, FetchEventSource } = await import("../index.js");
  assert.equal(typeof EventSourceWrapper, "function");
  assert.throws(() => new FetchEventSource("/relative"), { name: "SyntaxError" });
});
