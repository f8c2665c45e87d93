// The event-stream clients that run on Node.js, each with the few lines of its readme. See ../README.md for what is
// read and what is printed.

import { createInterface } from "node:readline";
import { setTimeout as wait } from "node:timers/promises";
import { createSseStream } from "@azure/core-sse";
import { fetchEventSource as fortaine } from "@fortaine/fetch-event-source";
// @ts-expect-error It has no types.
import { fetchEventSource as sentool } from "@sentool/fetch-event-source";
import { fetchEventSource as waylaidwanderer } from "@waylaidwanderer/fetch-event-source";
import { EventSource as EventSource4 } from "eventsource";
import { createEventSource } from "eventsource-client";
import { EventSourceParserStream } from "eventsource-parser/stream";
// @ts-expect-error It has no types.
import EventSource2 from "eventsource2";
import { EventSource as EventSource3 } from "eventsource3";
import { EventSourcePlus } from "event-source-plus";
import { EventSource as ExtendedEventSource } from "extended-eventsource";
import { events as fetchEvents } from "fetch-event-stream";
// @ts-expect-error It has no types.
import { EventSource as LaunchDarkly } from "launchdarkly-eventsource";
import { parseServerSentEvents } from "parse-sse";
import * as undici from "undici";

/**
 * @typedef {{ type?: string | null, id?: string | null, data?: string }} Event
 * @typedef {(url: string, tell: (event: Event) => void) => unknown} Client
 */

/** The types that `EventSource` dispatches, for clients that need a list. */
const TYPES = ["message", "price", "tidings"];
/** How long a loop waits before it reconnects. */
const LOOP_MS = 250;

/**
 * Any class with the interface of browsers.
 *
 * @param {new (url: string, options?: any) => any} Class
 * @param {object} [options]
 * @returns {Client}
 */
const eventSource = (Class, options) => (url, tell) => {
  const source = new Class(url, options);
  // Without a listener, an "error" event ends the process in those that are Node's emitters.
  source.addEventListener("error", () => {});
  for (const type of TYPES) {
    source.addEventListener(type, (/** @type {any} */ event) => {
      tell({ type: event.type, id: event.lastEventId, data: event.data });
    });
  }
};

/**
 * A parser in the loop that its users write: it reconnects with the id of the last complete event.
 *
 * @param {(response: any) => AsyncIterable<any>} parse
 * @param {(url: string, init: any) => Promise<any>} [ask]
 * @returns {Client}
 */
const loop = (parse, ask = fetch) => async (url, tell) => {
  let lastEventId = "";
  for (;;) {
    try {
      const headers = { Accept: "text/event-stream", ...(lastEventId && { "Last-Event-ID": lastEventId }) };
      const response = await ask(url, { headers });
      for await (const event of parse(response)) {
        if (event.id) lastEventId = event.id;
        tell(event);
      }
    } catch {
      // The connection was lost, or refused.
    }
    await wait(LOOP_MS);
  }
};

/** @param {any} response */
const parsed = (response) => response.body.pipeThrough(new TextDecoderStream()).pipeThrough(new EventSourceParserStream());

/** @type {Record<string, Client>} */
const CLIENTS = {
  eventsource2: eventSource(EventSource2),
  eventsource3: eventSource(EventSource3),
  eventsource4: eventSource(EventSource4),
  "eventsource4 over undici": eventSource(EventSource4, { fetch: undici.fetch }),
  "undici EventSource": eventSource(undici.EventSource),
  "extended-eventsource": eventSource(/** @type {any} */ (ExtendedEventSource)),
  // Longer than the heartbeat. The default is the 5 s that Node.js allows idle sockets.
  "launchdarkly-eventsource": eventSource(LaunchDarkly, { readTimeoutMillis: 60_000 }),
  "eventsource-client": (url, tell) => {
    createEventSource({ url, onMessage: (event) => tell({ type: event.event, id: event.id, data: event.data }) });
  },
  "event-source-plus": (url, tell) => {
    new EventSourcePlus(url).listen({ onMessage: (event) => tell({ type: event.event, id: event.id, data: event.data }) });
  },
  "fortaine fetch-event-source": (url, tell) =>
    fortaine(url, { fetch, onmessage: (event) => tell({ type: event.event, id: event.id, data: event.data }) }),
  "waylaidwanderer fetch-event-source": (url, tell) =>
    waylaidwanderer(url, { fetch, onmessage: (event) => tell({ type: event.event, id: event.id, data: event.data }) }),
  "sentool fetch-event-source": async (url, tell) => {
    let lastEventId = "";
    for (;;) {
      await new Promise((resolve) => {
        const headers = lastEventId ? { "Last-Event-ID": lastEventId } : {};
        const onmessage = (/** @type {any} */ event) => {
          if (event.id) lastEventId = event.id;
          tell({ type: event.event, id: event.id, data: event.data });
        };
        const options = { headers, parseJson: false, onmessage, onerror: resolve, done: resolve };
        sentool(url, options).catch(resolve);
      });
      await wait(LOOP_MS);
    }
  },
  "eventsource-parser": loop(async function* (response) {
    for await (const { event, id, data } of parsed(response)) yield { type: event, id, data };
  }),
  "eventsource-parser over undici": loop(async function* (response) {
    for await (const { event, id, data } of parsed(response)) yield { type: event, id, data };
  }, undici.fetch),
  "fetch-event-stream": loop(async function* (response) {
    for await (const { event, id, data } of fetchEvents(response)) {
      yield { type: event, id: id === undefined ? undefined : String(id), data };
    }
  }),
  "@azure/core-sse": loop(async function* (response) {
    for await (const { event, id, data } of /** @type {any} */ (createSseStream(response.body))) yield { type: event, id, data };
  }),
  "parse-sse": loop(async function* (response) {
    for await (const event of /** @type {any} */ (parseServerSentEvents(response))) {
      yield { type: event.type, id: event.lastEventId, data: event.data };
    }
  }),
};

/** @param {object} line */
const print = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);

// One client's fault must not end the others.
process.on("uncaughtException", (error) => print({ error: String(error) }));
process.on("unhandledRejection", (error) => print({ error: String(error) }));

createInterface(process.stdin)
  .on("line", (line) => {
    const { stream, client, url } = JSON.parse(line);
    const open = CLIENTS[client];
    if (!open) return print({ stream, error: `there is no client ${client} here` });
    Promise.resolve(open(url, ({ type, id, data }) => print({ stream, type: type || "message", id: id ?? null, data: data ?? null }))).then(
      () => {},
      (error) => print({ stream, error: String(error) }),
    );
  })
  .on("close", () => process.exit());
