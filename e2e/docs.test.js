// The snippets of docs/publish-from.md, docs/mercure.md and docs/moving-from-mercure.md, and those of docs/server.md in
// other languages than Rust, extracted and run.

import assert from "node:assert/strict";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { delimiter, join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { Command } from "./command.js";
import { Hub } from "./hub.js";
import { built, folder, has, ROOT, run, shell, snippet } from "./snippets.js";
import { until } from "./until.js";

const TOPIC = "https://example.com/books/1";

/**
 * The first event of the topic in the hub: its data and id.
 *
 * @param {Hub} hub
 */
async function published(hub) {
  const query = new URLSearchParams({ topic: TOPIC, lastEventID: "earliest" });
  const response = await fetch(`${hub.mercure}?${query}`, { signal: AbortSignal.timeout(60_000) });
  let text = "";
  assert.ok(response.body);
  for await (const piece of response.body.pipeThrough(new TextDecoderStream())) {
    text += piece;
    const event = text.match(/^data: (.*)\nid: (.*)\n\n/m);
    if (event) return { id: event[2], data: event[1] };
  }
  throw new Error(`the stream ended with ${text}`);
}

/** @type {{ name: string, from: string, needs?: string, file: string, command: (file: string) => [string, string[]] }[]} */
const PUBLISHERS = [
  { name: "sh", from: "curl", needs: "curl", file: "publish.sh", command: (file) => ["sh", ["-eu", file]] },
  { name: "python", from: "Python", file: "publish.py", command: (file) => [process.env.PYTHON ?? "python3", [file]] },
  { name: "php", from: "PHP", needs: "php", file: "publish.php", command: (file) => ["php", [file]] },
  { name: "go", from: "Go", needs: "go", file: "main.go", command: (file) => ["go", ["run", file]] },
  { name: "rust", from: "Rust", file: "publish.rs", command: () => [built("publish-from.md", "rust", "tidings-client", "publish"), []] },
];

for (const { name, from, needs, file, command } of PUBLISHERS) {
  const skip = needs !== undefined && !has(needs) && `there is no ${needs} here`;
  test(`the snippet in ${from} publishes`, { skip }, async (test) => {
    const hub = await Hub.start(test);
    const code = snippet("publish-from.md", name);
    const path = join(folder(test), file);
    writeFileSync(path, code);
    const [program, args] = command(path);
    const id = run(program, args, { env: { ...process.env, HUB: hub.mercure } });
    assert.deepEqual(await published(hub), { id, data: `{"from":"${from}"}` });
  });
}

/**
 * Starts a snippet for Express, and returns its URL.
 *
 * @param {import("node:test").TestContext} test
 * @param {string} code
 * @param {string} [hub]
 */
async function express(test, code, hub = "") {
  // Below the folder in which its imports are found.
  const path = join(folder(test, fileURLToPath(new URL("node_modules/.docs", import.meta.url))), "server.mjs");
  writeFileSync(path, code);
  const server = new Command(test, "env", [`HUB=${hub}`, "PORT=0", process.execPath, path]);
  await server.prints("\n");
  return server.output.trim();
}

/**
 * Posts a book to a service that publishes it.
 *
 * @param {Hub} hub
 * @param {string} url
 */
async function saveBook(hub, url) {
  const body = JSON.stringify({ from: "a form" });
  const headers = { "Content-Type": "application/json" };
  const saved = await fetch(`${url}/books/1`, { method: "POST", headers, body });
  assert.equal(saved.status, 200);
  assert.deepEqual(await published(hub), { id: await saved.text(), data: body });
}

/**
 * Reads two ticks of a clock.
 *
 * @param {string} url
 */
async function twoTicks(url) {
  const response = await fetch(`${url}/clock`, { signal: AbortSignal.timeout(60_000) });
  assert.match(response.headers.get("content-type") ?? "", /^text\/event-stream/);
  let text = "";
  assert.ok(response.body);
  for await (const piece of response.body.pipeThrough(new TextDecoderStream())) {
    text += piece;
    if ((text.match(/^data: ?\{"utc":"\d\d:\d\d:\d\d"\}\n\n/gm) ?? []).length >= 2) return;
  }
  assert.fail(`the clock ended with ${text}`);
}

test("the snippet for Express publishes", async (test) => {
  const hub = await Hub.start(test);
  await saveBook(hub, await express(test, snippet("publish-from.md", "express"), hub.mercure));
});

test("the clock in Express ticks", async (test) => {
  await twoTicks(await express(test, snippet("server.md", "express-clock")));
});

const POM = `<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <parent>
    <groupId>org.springframework.boot</groupId>
    <artifactId>spring-boot-starter-parent</artifactId>
    <version>3.5.0</version>
  </parent>
  <groupId>com.example</groupId>
  <artifactId>events</artifactId>
  <version>1</version>
  <dependencies>
    <dependency>
      <groupId>org.springframework.boot</groupId>
      <artifactId>spring-boot-starter-web</artifactId>
    </dependency>
  </dependencies>
</project>
`;

const APPLICATION = `package com.example;

@org.springframework.boot.autoconfigure.SpringBootApplication
public class Application {
    public static void main(String[] arguments) {
        org.springframework.boot.SpringApplication.run(Application.class, arguments);
    }
}
`;

const noMaven = !(has("mvn") && has("java")) && "there is no Maven here";

test("the snippets for Spring publish and tick", { skip: noMaven }, async (test) => {
  const hub = await Hub.start(test);
  const project = folder(test);
  const sources = join(project, "src/main/java/com/example");
  mkdirSync(sources, { recursive: true });
  writeFileSync(join(project, "pom.xml"), POM);
  writeFileSync(join(sources, "Application.java"), APPLICATION);
  const files = { "BookController.java": "publish-from.md", "ClockController.java": "server.md" };
  for (const [file, document] of Object.entries(files)) {
    writeFileSync(join(sources, file), snippet(document, file));
  }
  const classpath = ["dependency:build-classpath", "-Dmdep.outputFile=classpath.txt"];
  run("mvn", ["-q", "-B", "compile", ...classpath], { cwd: project });
  const classes = `target/classes${delimiter}${readFileSync(join(project, "classpath.txt"), "utf8").trim()}`;
  const java = ["-cp", classes, "com.example.Application", "--server.port=0", "--server.address=127.0.0.1"];
  const server = new Command(test, "env", ["-C", project, `HUB=${hub.mercure}`, "java", ...java]);
  const port = await until("Spring says its port", () => server.output.match(/started on port (\d+)/)?.[1], 300_000);
  await saveBook(hub, `http://127.0.0.1:${port}`);
  await twoTicks(`http://127.0.0.1:${port}`);
});

test("the first event of docs/mercure.md, and the URL of docs/publish-from.md, need no token", async (test) => {
  const { serve, ends } = shell(test);
  const hub = await serve(snippet("mercure.md", "first"));
  const local = "http://localhost:8081/.well-known/mercure";
  const { output, errors } = await ends(snippet("mercure.md", "first-event").replace(local, hub));
  assert.match(output, /^tidings:\S+$/, errors);
  const exported = snippet("publish-from.md", "url");
  assert.equal((await ends(`${exported}\necho "$HUB"`)).output.trim(), local);
});

test("private events in Mercure 1.0, as docs/mercure.md shows them", async (test) => {
  const { start, serve, ends } = shell(test);
  await ends(snippet("mercure.md", "key"));
  const hub = await serve(snippet("mercure.md", "serve-1.0"));
  const both = start(snippet("mercure.md", "both-1.0"), hub);
  await both.prints('data: {"copies":4}');
  assert.match(both.output, /^tidings:/);
});

test("the hub for Laravel starts with the command of docs/mercure.md", async (test) => {
  const secret = "MERCURE_JWT_SECRET='!ChangeThisMercureHubJWTSecretKey!'";
  const hub = await shell(test).serve(`${secret}\n${snippet("mercure.md", "serve-laravel")}`);
  const metadata = await fetch(new URL("/.well-known/oauth-protected-resource/.well-known/mercure", hub));
  assert.equal((await metadata.json()).mercure_subscriptions, true);
});

test("a hub that is configured by Mercure's environment names the variables that it ignores", async (test) => {
  const { output, errors } = await shell(test).ends(snippet("moving-from-mercure.md", "moving"));
  assert.equal(errors, "");
  assert.match(output, /MERCURE_EXTRA_DIRECTIVES is set but ignored/);
  assert.match(output, /publish {5}clients with a token/);
  assert.match(output, /may subscribe: https:\/\/app\.example\.com/);
});

test("docs/README.md lists every page once, and each page leads to its neighbours", () => {
  const read = (/** @type {string} */ page) => readFileSync(join(ROOT, "docs", page), "utf8");
  const pages = [...read("README.md").matchAll(/\]\(([\w-]+\.md)\)/g)].map(([, page = ""]) => page);
  const all = readdirSync(join(ROOT, "docs")).filter((name) => name.endsWith(".md") && name !== "README.md");
  assert.deepEqual([...pages].sort(), all.sort());
  const link = (/** @type {string | undefined} */ page, before = "", after = "") => {
    const title = page && read(page).match(/^# (.*)$/m)?.[1];
    return title ? [`[${before}${title}${after}](${page})`] : [];
  };
  for (const [index, page] of pages.entries()) {
    const [before, after] = [link(pages[index - 1], "← "), link(pages[index + 1], "", " →")];
    const last = read(page).trimEnd().split("\n").at(-1);
    assert.equal(last, [...before, "[All pages](README.md)", ...after].join(" · "), page);
  }
});
