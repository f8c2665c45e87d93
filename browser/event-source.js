// The standard's `EventSource` (HTML 9.2), implemented with `fetch`. It can replace the browser's class
// in windows and workers, and also accepts headers.

import { readWithFetch } from "./connect.js";
import { describeInterface, Handlers } from "./interface.js";
import { DEFAULT_POLICY } from "./reconnect.js";
import { CLOSED, CONNECTING, OPEN, Subscription } from "./subscribe.js";
import { absolute } from "./url.js";

/** The standard's policy: it waits for the reconnection time only, and every status except 200 is final. */
const POLICY = {
  ...DEFAULT_POLICY,
  // Every stream that was open counts as healthy, so nothing is added to the wait.
  healthyAfterMs: 0,
  silenceMaxMs: Infinity,
  answerMaxMs: Infinity,
  isPassing: () => false,
};

/**
 * @typedef {import("./interface.js").Handler} Handler
 *
 * @typedef {object} FetchEventSourceInit
 * @property {boolean} [withCredentials] also sends cookies to another origin
 * @property {import("./subscribe.js").HeadersSource} [headers] request headers, an extension
 * @property {typeof globalThis.fetch} [fetch] used instead of `globalThis.fetch`, an extension
 */

/**
 * The standard's `EventSource` with `fetch`. Differences from the browser's class: `isTrusted` of events
 * is false. Another origin must allow the last event ID (`Access-Control-Allow-Headers:
 * Last-Event-ID`); if it does not, the ID is sent in the query. After `window.stop()` it reconnects.
 */
export class FetchEventSource extends EventTarget {
  #subscription;
  #handlers = new Handlers(this);

  /**
   * @param {string | URL} url
   * @param {FetchEventSourceInit} [init]
   * @throws {DOMException} `SyntaxError` if the URL is invalid
   * @throws {TypeError} without a URL
   */
  constructor(url, init = {}) {
    super();
    if (!arguments.length) throw new TypeError("an EventSource needs a URL");
    const address = absolute(url);
    let origin = "";
    const error = () => this.dispatchEvent(new Event("error"));
    this.#subscription = new Subscription(
      readWithFetch,
      { ...init, url: address, method: "GET", body: null, lastEventId: "" },
      POLICY,
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
        onTrouble: ({ message }) => console.warn(message),
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
    return this.#handlers.get("open");
  }

  /** @param {Handler} handler */
  set onopen(handler) {
    this.#handlers.set("open", handler);
  }

  get onmessage() {
    return this.#handlers.get("message");
  }

  /** @param {Handler} handler */
  set onmessage(handler) {
    this.#handlers.set("message", handler);
  }

  get onerror() {
    return this.#handlers.get("error");
  }

  /** @param {Handler} handler */
  set onerror(handler) {
    this.#handlers.set("error", handler);
  }

  // For types only: `describeInterface` defines them as Web IDL constants.
  static CONNECTING = CONNECTING;
  static OPEN = OPEN;
  static CLOSED = CLOSED;
}

describeInterface(FetchEventSource, ["url", "withCredentials", "readyState", "close", "onopen", "onmessage", "onerror"]);
