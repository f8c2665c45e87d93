// A server with all the faults that streams meet, and the package's files.

import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { keptPort } from "../../e2e/port.js";

const files = new URL("../", import.meta.url);

/**
 * @typedef {import("node:http").IncomingMessage} Request
 * @typedef {import("node:http").ServerResponse} Response
 * @typedef {(request: Request, response: Response, url: URL, seen: number) => void} Route
 */

export class Server {
  /** @type {Map<string, Route>} */
  routes = new Map();
  /** @type {{ url: string, method: string, headers: import("node:http").IncomingHttpHeaders, body: string }[]} */
  requests = [];
  /** @type {Set<import("node:net").Socket>} */
  #sockets = new Set();
  #server;
  #port = 0;

  constructor() {
    this.#server = createServer((request, response) => this.#answer(request, response));
    this.#server.on("connection", (socket) => {
      this.#sockets.add(socket);
      socket.on("close", () => this.#sockets.delete(socket));
    });
  }

  /** @param {import("node:test").TestContext} test at whose end it is stopped */
  static async start(test) {
    const server = new Server();
    await server.up();
    test.after(() => server.down());
    return server;
  }

  get origin() {
    return `http://localhost:${this.#port}`;
  }

  /** @param {string} path */
  seen(path) {
    return this.requests.filter(({ url }) => new URL(url, this.origin).pathname === path);
  }

  async up() {
    this.#port ||= await keptPort("localhost");
    this.#server.listen(this.#port, "localhost");
    await once(this.#server, "listening");
  }

  /** Refuses connections, and ends the open ones. */
  async down() {
    if (!this.#server.listening) return;
    const closed = once(this.#server, "close");
    this.#server.close();
    this.cut();
    await closed;
  }

  cut() {
    for (const socket of this.#sockets) socket.destroy();
  }

  /** @type {(request: Request, response: Response) => Promise<void>} */
  async #answer(request, response) {
    const url = new URL(request.url ?? "/", this.origin);
    let body = "";
    for await (const chunk of request) body += chunk;
    this.requests.push({ url: url.href, method: request.method ?? "", headers: request.headers, body });
    const route = this.routes.get(url.pathname);
    if (route) return route(request, response, url, this.seen(url.pathname).length);
    if (url.pathname === "/") return void response.setHeader("Content-Type", "text/html").end("<!doctype html><title>Test</title>");
    await sendModule(response, url);
  }
}

/**
 * A file of the package, as a hub serves it.
 *
 * @param {Response} response
 * @param {URL} url
 */
export async function sendModule(response, url) {
  const name = url.pathname.match(/^\/tidings\/browser\/([\w-]+\.js)$/)?.[1];
  const text = name && (await readFile(new URL(name, files)).catch(() => null));
  if (!text) return void response.writeHead(404).end("nothing is here");
  response.setHeader("Content-Type", "text/javascript").setHeader("Cache-Control", "no-cache").end(text);
}

/**
 * @param {Response} response
 * @param {string} [text]
 */
export function stream(response, text = "") {
  response.writeHead(200, { "Content-Type": "text/event-stream", "Cache-Control": "no-cache" });
  response.write(text === "" ? ":\n" : text);
  return response;
}
