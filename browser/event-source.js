// The standard's `EventSource` (HTML 9.2), read with `fetch`: it can stand in for the browser's,
// in windows and workers, and takes headers besides.

import { readWithFetch } from "./connect.js";
import { DEFAULT_POLICY } from "./reconnect.js";
import { CLOSED, CONNECTING, OPEN, Subscription } from "./subscribe.js";
import { absolute } from "./url.js";

/** As the standard has it: only the reconnection time is waited, and every status but 200 is final. */
const POLICY = {
  ...DEFAULT_POLICY,
  // A stream that was open at all was worth something, so that nothing is added to the wait.
  healthyAfterMs: 0,
  silenceMaxMs: Infinity,
  answerMaxMs: Infinity,
  isPassing: () => false,
};

/**
 * @typedef {((this: FetchEventSource, event: any) => any) | null} Handler
 *
 * @typedef {object} FetchEventSourceInit
 * @property {boolean} [withCredentials] sends cookies to another origin too
 * @property {import("./subscribe.js").HeadersSource} [headers] ours
 * @property {typeof globalThis.fetch} [fetch] ours
 */

/**
 * What differs from the browser's: events have `isTrusted` false; to another origin the last
 * event id needs `Access-Control-Allow-Headers: Last-Event-ID`.
 */
export class FetchEventSource extends EventTarget {
  #subscription;
  /** @type {Record<string, Handler>} */
  #handlers = {};
  // One listener for all of them: it takes its place among the others when it is first added.
  #call = (/** @type {Event} */ event) => {
    const handler = this.#handlers[event.type];
    if (typeof handler === "function") handler.call(this, event);
  };

  /**
   * @param {string | URL} url
   * @param {FetchEventSourceInit} [init]
   * @throws {DOMException} `SyntaxError` if the URL is none
   * @throws {TypeError} without a URL
   */
  constructor(url, init = {}) {
    super();
    if (!arguments.length) throw new TypeError("no URL");
    const address = absolute(url);
    let origin = "";
    const error = () => this.dispatchEvent(new Event("error"));
    this.#subscription = new Subscription(
      readWithFetch,
      { ...init, url: address, method: "GET", body: null, lastEventId: "" },
      // No request of another scheme ever has an answer.
      /^(https?|blob|data):/.test(address) ? POLICY : { ...POLICY, once: true },
      {
        onOpen: (finalUrl) => {
          origin = new URL(finalUrl).origin;
          this.dispatchEvent(new Event("open"));
        },
        onEvent: ({ type, data, lastEventId }) => {
          this.dispatchEvent(new MessageEvent(type, { data, lastEventId, origin }));
        },
        onFailure: error,
        onEnd: error,
      },
    );
  }

  get url() {
    return this.#subscription.request.url;
  }

  get withCredentials() {
    return Boolean(this.#subscription.request.withCredentials);
  }

  /** @returns {number} 0 connecting, 1 open, 2 closed */
  get readyState() {
    return this.#subscription.readyState;
  }

  close() {
    this.#subscription.close();
  }

  get onopen() {
    return this.#handlers.open ?? null;
  }

  /** @param {Handler} handler */
  set onopen(handler) {
    this.#setHandler("open", handler);
  }

  get onmessage() {
    return this.#handlers.message ?? null;
  }

  /** @param {Handler} handler */
  set onmessage(handler) {
    this.#setHandler("message", handler);
  }

  get onerror() {
    return this.#handlers.error ?? null;
  }

  /** @param {Handler} handler */
  set onerror(handler) {
    this.#setHandler("error", handler);
  }

  /**
   * An event handler attribute (HTML 8.1.8.1): any object is kept, and one that can be called is.
   *
   * @param {string} type
   * @param {Handler} value
   */
  #setHandler(type, value) {
    const handler = Object(value) === value ? value : null;
    this.#handlers[type] = handler;
    if (handler) this.addEventListener(type, this.#call);
    else this.removeEventListener(type, this.#call);
  }

  // For types only: below they become what constants of Web IDL are.
  static CONNECTING = CONNECTING;
  static OPEN = OPEN;
  static CLOSED = CLOSED;
}

for (const [name, value] of Object.entries({ CONNECTING, OPEN, CLOSED })) {
  for (const target of [FetchEventSource, FetchEventSource.prototype]) {
    Object.defineProperty(target, name, { value, enumerable: true, writable: false, configurable: false });
  }
}
// Web IDL: what an interface offers can be enumerated.
for (const name of Object.getOwnPropertyNames(FetchEventSource.prototype)) {
  Object.defineProperty(FetchEventSource.prototype, name, { enumerable: name !== "constructor" });
}
// Where it stands in, it has the name of what it stands for.
Object.defineProperty(FetchEventSource, "name", { value: "EventSource", configurable: true });
Object.defineProperty(FetchEventSource.prototype, Symbol.toStringTag, { value: "EventSource", configurable: true });
