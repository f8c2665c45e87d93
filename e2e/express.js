// A real Express server for a test: events by number, over as many lives of it as the test wants.

import { once } from "node:events";
import { createServer } from "node:http";
import { createSession } from "better-sse";
import express from "express";
import { keptPort } from "./port.js";

/** The record of events, over all restarts of the server. */
export class Feed {
  /** How many events there are; the id of each is its number. */
  count = 0;
  /** @type {(string | undefined)[]} the `Last-Event-ID` of each request */
  asked = [];
  /** Streams that are being worked for. */
  working = 0;
}

/** One life of the server. */
export class ExpressServer {
  #server;

  /** @param {import("node:http").Server} server */
  constructor(server) {
    this.#server = server;
  }

  /**
   * @param {import("node:test").TestContext} test at whose end it is stopped
   * @param {Feed} feed
   * @param {object} options
   * @param {"plain" | "better-sse"} options.manner
   * @param {number} [options.port] without it, a free one
   */
  static async start(test, feed, { manner, port }) {
    const app = express();
    app.get("/events", manner === "plain" ? plain(feed) : better(feed));
    app.post("/answer", express.json(), (request, response) => {
      response.type("text/event-stream");
      for (const word of request.body.words) response.write(`data: ${word}\n\n`);
      response.end(request.body.whole ? "data: [DONE]\n\n" : "");
    });
    const server = createServer(app);
    server.listen(port ?? (await keptPort()), "127.0.0.1");
    await once(server, "listening");
    const started = new ExpressServer(server);
    test.after(() => started.kill());
    return started;
  }

  get port() {
    return /** @type {import("node:net").AddressInfo} */ (this.#server.address()).port;
  }

  /** @param {string} path */
  url(path) {
    return `http://127.0.0.1:${this.port}${path}`;
  }

  /** Ends it at once, its connections included. */
  async kill() {
    if (!this.#server.listening) return;
    const gone = once(this.#server, "close");
    this.#server.close();
    this.#server.closeAllConnections();
    await gone;
  }
}

/**
 * @param {Feed} feed
 * @param {string | undefined} lastEventId
 * @param {(number: number) => void} send
 */
function work(feed, lastEventId, send) {
  feed.asked.push(lastEventId);
  feed.working += 1;
  let next = Number(lastEventId ?? 0) + 1;
  const timer = setInterval(() => {
    for (; next <= feed.count; next += 1) send(next);
  }, 5);
  return () => {
    clearInterval(timer);
    feed.working -= 1;
  };
}

/**
 * As it is written by hand, with events that are cut in two.
 *
 * @param {Feed} feed
 * @returns {import("express").RequestHandler}
 */
function plain(feed) {
  return (request, response) => {
    response.set({ "Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-cache" });
    response.write("retry: 100\n\n");
    const stop = work(feed, request.get("Last-Event-ID"), (number) => {
      response.write(`id: ${number}\r\nevent: count\r\nda`);
      response.write(`ta: {"number":${number},\r\ndata: "text":"☂"}\r\n\r\n`);
    });
    response.on("close", stop);
  };
}

/**
 * @param {Feed} feed
 * @returns {import("express").RequestHandler}
 */
function better(feed) {
  return async (request, response) => {
    const session = await createSession(request, response, { retry: 100 });
    const stop = work(feed, session.lastId || undefined, (number) => {
      session.push({ number, text: "☂" }, "count", String(number));
    });
    session.on("disconnected", stop);
  };
}
