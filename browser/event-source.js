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
  classify: () => /** @type {const} */ ("final"),
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
  #url;
  #withCredentials;
  #subscription;
  /** @type {Map<string, { handler: Handler, listener: (event: Event) => void }>} */
  #handlers = new Map();

  /**
   * @param {string | URL} url
   * @param {FetchEventSourceInit} [init]
   * @throws {DOMException} `SyntaxError` if the URL is none
   */
  constructor(url, init = {}) {
    super();
    this.#url = absolute(url);
    // Anything that can be converted is taken, also nothing, as a dictionary of Web IDL.
    const { withCredentials, headers, fetch } = init ?? {};
    this.#withCredentials = Boolean(withCredentials);
    let origin = "";
    this.#subscription = new Subscription(
      readWithFetch,
      {
        url: this.#url,
        withCredentials: this.#withCredentials,
        ...(headers && { headers }),
        ...(fetch && { fetch }),
      },
      // No request of another scheme ever has an answer.
      /^(https?|blob|data):/.test(this.#url) ? POLICY : { ...POLICY, once: true },
      {
        onOpen: (finalUrl) => {
          origin = new URL(finalUrl).origin;
          this.dispatchEvent(new Event("open"));
        },
        onEvent: ({ type, data, lastEventId }) => {
          this.dispatchEvent(new MessageEvent(type, { data, lastEventId, origin }));
        },
        onFailure: () => this.dispatchEvent(new Event("error")),
        onEnd: () => this.dispatchEvent(new Event("error")),
      },
    );
  }

  get url() {
    return this.#url;
  }

  get withCredentials() {
    return this.#withCredentials;
  }

  /** @returns {number} 0 connecting, 1 open, 2 closed */
  get readyState() {
    return this.#subscription.readyState;
  }

  close() {
    this.#subscription.close();
  }

  get onopen() {
    return this.#handler("open");
  }

  /** @param {Handler} handler */
  set onopen(handler) {
    this.#setHandler("open", handler);
  }

  get onmessage() {
    return this.#handler("message");
  }

  /** @param {Handler} handler */
  set onmessage(handler) {
    this.#setHandler("message", handler);
  }

  get onerror() {
    return this.#handler("error");
  }

  /** @param {Handler} handler */
  set onerror(handler) {
    this.#setHandler("error", handler);
  }

  /**
   * @param {string} type
   * @returns {Handler}
   */
  #handler(type) {
    return this.#handlers.get(type)?.handler ?? null;
  }

  /**
   * An event handler attribute (HTML 8.1.8.1): it takes its place among the listeners when it is
   * first set, and keeps it until it is set to nothing.
   *
   * @param {string} type
   * @param {unknown} value
   */
  #setHandler(type, value) {
    const there = this.#handlers.get(type);
    const callable = typeof value === "function" || (typeof value === "object" && value !== null);
    if (!callable) {
      if (there) this.removeEventListener(type, there.listener);
      this.#handlers.delete(type);
      return;
    }
    const handler = /** @type {Handler} */ (value);
    if (there) {
      there.handler = handler;
      return;
    }
    const entry = {
      handler,
      listener: (/** @type {Event} */ event) => {
        if (typeof entry.handler === "function") entry.handler.call(this, event);
      },
    };
    this.#handlers.set(type, entry);
    this.addEventListener(type, entry.listener);
  }

  // For types only: below they become what constants of Web IDL are.
  static CONNECTING = CONNECTING;
  static OPEN = OPEN;
  static CLOSED = CLOSED;

  get CONNECTING() {
    return CONNECTING;
  }

  get OPEN() {
    return OPEN;
  }

  get CLOSED() {
    return CLOSED;
  }
}

for (const [name, value] of Object.entries({ CONNECTING, OPEN, CLOSED })) {
  for (const target of [FetchEventSource, FetchEventSource.prototype]) {
    Object.defineProperty(target, name, { value, enumerable: true, writable: false, configurable: false });
  }
}
// Web IDL: what an interface offers can be enumerated.
for (const name of ["url", "withCredentials", "readyState", "onopen", "onmessage", "onerror", "close"]) {
  Object.defineProperty(FetchEventSource.prototype, name, { enumerable: true });
}
Object.defineProperty(FetchEventSource.prototype, Symbol.toStringTag, { value: "EventSource", configurable: true });
