// The clients that run in browsers: their page, and the events that it reports.

import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { extname } from "node:path";
import { fileURLToPath } from "node:url";
import { launch } from "../../browser/test/browsers.js";
import { Stream } from "./readers.js";

const ROOT = fileURLToPath(new URL("../", import.meta.url));
/** @type {Record<string, string>} */
const TYPES = { ".html": "text/html", ".js": "text/javascript" };
const SHOWN = ["/zoo/page/", "/node_modules/"];

/**
 * Serves the page and its scripts.
 *
 * @param {import("node:test").TestContext} test at whose end it is stopped
 * @returns {Promise<string>} its origin
 */
export async function servePages(test) {
  const server = createServer(async ({ url = "/" }, response) => {
    const { pathname } = new URL(url, "http://localhost");
    // Imports without an extension, as TypeScript writes them.
    const name = extname(pathname) ? pathname : `${pathname}.js`;
    const shown = SHOWN.some((folder) => name.startsWith(folder));
    const body = shown ? await readFile(ROOT + name).catch(() => undefined) : undefined;
    response.writeHead(body ? 200 : 404, { "Content-Type": TYPES[extname(name)] ?? "text/plain" });
    response.end(body);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  test.after(() => {
    server.close();
    server.closeAllConnections();
  });
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("the pages have no port");
  return `http://127.0.0.1:${address.port}`;
}

/** A page that reads any number of streams. */
export class PageReader {
  #page;
  /** @type {Map<string, Stream>} */
  #streams = new Map();

  /** @param {import("../../browser/test/browsers.js").Page} page */
  constructor(page) {
    this.#page = page;
  }

  /**
   * @param {import("node:test").TestContext} test at whose end the browser is closed
   * @param {import("../../browser/test/browsers.js").BrowserName} name
   * @param {string} origin of the pages
   */
  static async start(test, name, origin) {
    const browser = await launch(name);
    test.after(() => browser.close());
    const context = await browser.newContext();
    const page = await context.newPage();
    const reader = new PageReader(page);
    page.on("console", (message) => reader.#hear(message.text()));
    page.on("pageerror", (error) => reader.#streams.forEach((stream) => stream.fail(String(error))));
    await page.goto(`${origin}/zoo/page/index.html`);
    await page.waitForFunction("window.openStream !== undefined");
    return reader;
  }

  /** @param {string} text */
  #hear(text) {
    // Browsers print other messages too.
    if (!text.startsWith('{"stream":')) return;
    const { stream, error, ...event } = JSON.parse(text);
    if (error) this.#streams.get(stream)?.fail(error);
    else this.#streams.get(stream)?.events.push(event);
  }

  /**
   * @param {string} name of the stream
   * @param {string} client
   * @param {string} url
   */
  open(name, client, url) {
    const stream = new Stream();
    this.#streams.set(name, stream);
    // Browsers open six connections to one host: to each of its names, that is.
    const own = new URL(url);
    own.hostname = `zoo-${this.#streams.size}.localhost`;
    const words = [name, client, own.href].map((word) => JSON.stringify(word)).join(", ");
    this.#page.evaluate(`window.openStream(${words})`).catch((error) => stream.fail(String(error)));
    return stream;
  }
}
