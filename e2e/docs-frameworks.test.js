// docs/frameworks.md and docs/moving-from-pusher-and-socket-io.md: components that are built and shown in a browser, and
// code for Node.

import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath, pathToFileURL } from "node:url";
import { svelte } from "@sveltejs/vite-plugin-svelte";
import vue from "@vitejs/plugin-vue";
import { build, preview } from "vite";
import { launch } from "./chromium.js";
import { Hub } from "./hub.js";
import { folder, page, run, snippet } from "./snippets.js";
import { until } from "./until.js";

/** Packages of npm are found below this folder. */
const BESIDE_PACKAGES = fileURLToPath(new URL("node_modules/.docs", import.meta.url));
const TOPIC = "https://example.com/books/1";

const step = (/** @type {string} */ name) => snippet("frameworks.md", name);

/** Programs that show the components, as the templates of the frameworks have them. */
const PROGRAMS = {
  react: `import { createRoot } from "react-dom/client"
    import { StrictMode } from "react"
    import Books from "./Books.jsx"
    createRoot(document.body.firstElementChild).render(<StrictMode><Books /></StrictMode>)`,
  vue: `import { createApp } from "vue"
    import Books from "./Books.vue"
    createApp(Books).mount(document.body.firstElementChild)`,
  svelte: `import { mount } from "svelte"
    import Books from "./Books.svelte"
    mount(Books, { target: document.body.firstElementChild })`,
};

test("the components of docs/frameworks.md show events, newest first", async (test) => {
  const hub = await Hub.start(test);
  const root = folder(test, BESIDE_PACKAGES);
  for (const file of ["useEvents.js", "Books.jsx", "Books.vue", "Books.svelte"]) writeFileSync(join(root, file), step(file));
  for (const [name, program] of Object.entries(PROGRAMS)) {
    writeFileSync(join(root, `${name}.jsx`), program);
    writeFileSync(join(root, `${name}.html`), `<!doctype html><body><div></div><script type="module" src="/${name}.jsx"></script>`);
  }
  writeFileSync(join(root, "vite.config.mjs"), step("vite").replace("http://localhost:8081", hub.origin));
  const { default: documented } = await import(pathToFileURL(join(root, "vite.config.mjs")).href);
  /** @type {import("vite").InlineConfig} */
  const config = { ...documented, root, configFile: false, logLevel: "warn", preview: { port: 0, host: "127.0.0.1" } };
  const input = Object.keys(PROGRAMS).map((name) => join(root, `${name}.html`));
  // React's template compiles JSX so.
  await build({ ...config, plugins: [vue(), svelte({ configFile: false })], esbuild: { jsx: "automatic" }, build: { rollupOptions: { input } } });
  const server = await preview(config);
  test.after(() => server.close());
  const browser = await launch();
  test.after(() => browser.close());
  for (const name of Object.keys(PROGRAMS)) {
    await test.test(name, async () => {
      const opened = await browser.newPage();
      await opened.goto(new URL(`${name}.html`, server.resolvedUrls?.local[0]).href);
      await until("the component has subscribed", async () => (await hub.subscribers()) === 1);
      for (const data of ["one", "two"]) await hub.publish({ topic: TOPIC, data });
      await until("both events are shown", async () => (await opened.locator("li").allTextContents()).join() === "two,one");
      await opened.close();
      await until("the component has closed its source", async () => (await hub.subscribers()) === 0);
    });
  }
});

test("the route handler for Next publishes, and its configuration leads to the hub", async (test) => {
  const hub = await Hub.start(test);
  const place = folder(test);
  for (const file of ["route.js", "next.config.mjs"]) writeFileSync(join(place, file.replace(/\.js$/, ".mjs")), step(file));
  process.env.HUB = hub.mercure;
  test.after(() => delete process.env.HUB);
  const { POST } = await import(pathToFileURL(join(place, "route.mjs")).href);
  const request = new Request("http://localhost/api/books/1", { method: "POST", body: "a book" });
  /** @type {Response} */
  const answer = await POST(request, { params: Promise.resolve({ id: "1" }) });
  assert.equal(answer.status, 200);
  assert.match(await answer.text(), /^tidings:/);
  const { default: next } = await import(pathToFileURL(join(place, "next.config.mjs")).href);
  const [{ source, destination }] = await next.rewrites();
  assert.deepEqual([source, destination], [new URL(hub.mercure).pathname, hub.mercure]);
});

test("the two programs of docs/moving-from-pusher-and-socket-io.md exchange an event", async (test) => {
  const moving = (/** @type {string} */ name) => snippet("moving-from-pusher-and-socket-io.md", name);
  const hub = await Hub.start(test);
  const origin = await page(test, moving("subscribe").replace("http://localhost:8081", hub.origin));
  const browser = await launch();
  test.after(() => browser.close());
  const opened = await browser.newPage();
  await opened.goto(origin);
  await until("the page has subscribed", async () => (await hub.subscribers()) === 1);
  const file = join(folder(test), "publish.mjs");
  writeFileSync(file, moving("publish"));
  const id = run(process.execPath, [file], { env: { ...process.env, HUB: hub.mercure, TOKEN: "" } });
  assert.match(id, /^tidings:/);
  await opened.getByText("book 1: 19.5").waitFor();
});
