// The event-stream clients that run in browsers, each with the few lines of its readme.
// @ts-nocheck Its imports are the URLs of the server in pages.js.

import { fetchEventSource } from "/node_modules/@microsoft/fetch-event-source/lib/esm/index.js";
import { SSE } from "/node_modules/sse.js/lib/sse.js";

/**
 * @typedef {{ type?: string | null, id?: string | null, data: string }} Event
 * @typedef {(url: string, tell: (event: Event) => void) => unknown} Client
 */

/** The types that `EventSource` dispatches, for clients that need a list. */
const TYPES = ["message", "price", "tidings"];

/**
 * @param {any} source with the interface of `EventSource`
 * @param {(event: Event) => void} tell
 */
function listen(source, tell) {
  for (const type of TYPES) {
    source.addEventListener(type, (/** @type {any} */ event) => {
      tell({ type: event.type, id: event.lastEventId, data: event.data });
    });
  }
}

/** @type {Record<string, Client>} */
const CLIENTS = {
  "EventSource of Chromium": (url, tell) => listen(new EventSource(url), tell),
  "EventSource of Firefox": (url, tell) => listen(new EventSource(url), tell),
  "event-source-polyfill": (url, tell) => listen(new window.EventSourcePolyfill(url), tell),
  "event-source-polyfill, named": (url, tell) =>
    listen(new window.EventSourcePolyfill(url, { lastEventIdQueryParameterName: "lastEventID" }), tell),
  "reconnecting-eventsource": (url, tell) => listen(new window.ReconnectingEventSource(url), tell),
  "sse.js": (url, tell) => {
    const source = new SSE(url, { autoReconnect: true, useLastEventId: true, reconnectDelay: 1000 });
    listen(source, tell);
  },
  "fetch-event-source": (url, tell) =>
    fetchEventSource(url, { onmessage: ({ event, id, data }) => tell({ type: event, id, data }) }),
  "fetch-event-source, onclose": (url, tell) =>
    fetchEventSource(url, {
      onmessage: ({ event, id, data }) => tell({ type: event, id, data }),
      // As its readme has it: a clean end is one more reason to ask again.
      onclose() {
        throw new Error("the stream ended");
      },
    }),
  htmx: (url, tell) => {
    const source = document.createElement("div");
    source.setAttribute("hx-ext", "sse");
    source.setAttribute("sse-connect", url);
    const target = document.createElement("div");
    target.setAttribute("sse-swap", TYPES.join(","));
    source.append(target);
    target.addEventListener("htmx:sseMessage", (/** @type {any} */ { detail }) => {
      tell({ type: detail.type, id: detail.lastEventId, data: detail.data });
    });
    document.body.append(source);
    window.htmx.process(source);
  },
};

/** @param {object} line */
const print = (line) => console.log(JSON.stringify(line));

window.openStream = (/** @type {string} */ stream, /** @type {string} */ client, /** @type {string} */ url) => {
  const open = CLIENTS[client];
  if (!open) return print({ stream, error: `there is no client ${client} here` });
  Promise.resolve(open(url, ({ type, id, data }) => print({ stream, type: type || "message", id: id ?? null, data: data ?? null }))).catch((error) =>
    print({ stream, error: String(error) }),
  );
};
