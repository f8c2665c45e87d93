// A stream on this page: a source of the browser package, and its state as a sentence.

import EventSourceWrapper from "../browser/index.js";
import { NOTICE_TYPE, readNotice } from "./notices.js";
import { HUB_URL } from "./publish.js";
import { hasToken, headersTo } from "./token.js";

export const CONNECTING = 0;
export const OPEN = 1;
export const CLOSED = 2;

// How long browsers wait without a `retry`. They do not expose this time, so until it has been
// measured, assume three seconds, which the hub's `retry` also asks for.
const BROWSER_RETRY_MS = 3_000;
// A connection that takes this long is most probably waiting for another to end.
const ANSWER_EXPECTED_MS = 5_000;
// A person is watching the page, so it retries sooner than a program would.
const RECONNECT = { reconnectionMs: 1_000 };
const BODY_CHARACTERS_SHOWN = 2_000;

const WORDS_OF_LIMIT =
  "No answer yet. Over HTTP/1.1 a browser opens at most six connections to a host, over all its tabs. " +
  "Close a stream in another tab.";

/**
 * @typedef {object} Status
 * @property {0 | 1 | 2} readyState
 * @property {string} words the state, as a sentence
 * @property {number | null} retryAt when it is tried again, by `performance.now()`
 */

export class Stream {
  /** @type {0 | 1 | 2} */
  readyState = CLOSED;
  lastEventId = "";

  /** @type {(status: Status) => void} */
  #onStatus;
  /** @type {(event: MessageEvent<string>) => void} */
  #onEvent;
  /** @type {URL | null} */
  #url = null;
  /** @type {EventSourceWrapper | null} */
  #source = null;
  #types = new Set(["message", NOTICE_TYPE]);
  /** @type {(() => void)[]} what ends the listening for each type */
  #listening = [];
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  /** @type {number | null} */
  #retryAt = null;
  #browserRetryMs = BROWSER_RETRY_MS;
  /** @type {number | null} when a hub that goes asks to be tried again */
  #drainMs = null;
  /** @type {number | null} */
  #failedAt = null;

  /**
   * @param {object} callbacks
   * @param {(status: Status) => void} callbacks.onStatus
   * @param {(event: MessageEvent<string>) => void} callbacks.onEvent
   */
  constructor({ onStatus, onEvent }) {
    this.#onStatus = onStatus;
    this.#onEvent = onEvent;
  }

  /**
   * Opens the stream at `url`. If that one is open or about to be, it stays the one connection;
   * if the page is waiting to try again, it tries at once; another URL takes its place.
   *
   * @param {URL} url
   * @param {string} [lastEventId] where to go on from; without one, from now
   */
  open(url, lastEventId = "") {
    const same = this.#url?.href === url.href;
    if (same && this.readyState === OPEN) {
      this.#say(OPEN, "Already open. The page keeps its connection.");
      return;
    }
    if (same && this.readyState === CONNECTING) {
      if (this.#retryAt !== null) this.#connect("Reconnecting now.");
      return;
    }
    this.#url = url;
    this.lastEventId = lastEventId;
    this.#drainMs = null;
    this.#connect("Connecting.");
  }

  close() {
    if (this.readyState === CLOSED) return;
    this.#end("Closed by you.");
  }

  /**
   * Asks for events of these types besides the usual ones: `EventSource` hands over no others.
   *
   * @param {Iterable<string>} types
   * @returns {string[]} all that are asked for
   */
  listen(types) {
    this.#types = new Set(["message", NOTICE_TYPE, ...types]);
    this.#listen();
    return [...this.#types];
  }

  #listen() {
    for (const end of this.#listening) end();
    const source = this.#source;
    // A published event may have the type of an event of the stream itself.
    const name = (/** @type {string} */ type) => (/^(open|error|close)$/.test(type) ? `event:${type}` : type);
    this.#listening = source ? [...this.#types].map((type) => source.on(name(type), this.#receive)) : [];
  }

  /** @param {string} words */
  #connect(words) {
    this.#drop();
    if (this.#url === null) return;
    this.#failedAt = null;
    this.#browserRetryMs = BROWSER_RETRY_MS;
    const options = { lastEventId: this.lastEventId, reconnect: RECONNECT };
    // The browser's own `EventSource` cannot send a token.
    const isHubs = this.#url.origin === HUB_URL.origin && this.#url.pathname === HUB_URL.pathname;
    const headers = isHubs && hasToken("subscribe") ? { headers: async () => headersTo("subscribe") } : {};
    const source = new EventSourceWrapper(this.#url, { ...options, ...headers });
    this.#source = source;
    this.#listen();
    source.onOpen(() => {
      clearTimeout(this.#timer);
      this.#failedAt = null;
      this.#drainMs = null;
      this.#browserRetryMs = BROWSER_RETRY_MS;
      this.#say(OPEN, "Open. Events show as they arrive.");
    });
    source.onError((event) => this.#failed(event));
    this.#timer = setTimeout(() => this.#say(CONNECTING, WORDS_OF_LIMIT), ANSWER_EXPECTED_MS);
    this.#say(CONNECTING, words);
  }

  #receive = (/** @type {MessageEvent<string>} */ event) => {
    this.lastEventId = event.lastEventId;
    if (event.type === NOTICE_TYPE) this.#drainMs = readNotice(event.data).retryMs ?? this.#drainMs;
    this.#onEvent(event);
  };

  /** @param {import("../../../browser/wrapper.js").ErrorEvent} event */
  #failed(event) {
    clearTimeout(this.#timer);
    const words = wordsOf(event);
    if (this.#source?.readyState === CLOSED) {
      this.#end(`${words} It would be refused again, so the page doesn't try.`);
      return;
    }
    const now = performance.now();
    if (event.nextDelay !== null) {
      this.#say(CONNECTING, words, now + event.nextDelay);
      return;
    }
    // The time between two failures is the browser's wait; it is exact if refusals are quick.
    if (this.#failedAt !== null) this.#browserRetryMs = now - this.#failedAt;
    else if (this.#drainMs !== null) this.#browserRetryMs = this.#drainMs;
    this.#failedAt = now;
    this.#say(CONNECTING, words, now + this.#browserRetryMs);
  }

  /** @param {string} words */
  #end(words) {
    this.#drop();
    this.#url = null;
    this.#say(CLOSED, words);
  }

  #drop() {
    clearTimeout(this.#timer);
    this.#source?.onError(null);
    this.#source?.close();
    this.#source = null;
  }

  /**
   * @param {0 | 1 | 2} readyState
   * @param {string} words
   * @param {number | null} [retryAt]
   */
  #say(readyState, words, retryAt = null) {
    this.readyState = readyState;
    this.#retryAt = retryAt;
    this.#onStatus({ readyState, words, retryAt });
  }
}

/** @param {import("../../../browser/wrapper.js").ErrorEvent} event */
function wordsOf({ kind, status, body, message }) {
  if (kind === "not-a-stream") return `The response is not an event stream but ${message.split(", ").slice(1).join(", ")}.`;
  if (status === 204) return "The hub has nothing more to send (204).";
  if (status > 0) {
    const said = body.trim().slice(0, BODY_CHARACTERS_SHOWN);
    return `The hub answered ${status}${said && `: ${said}${/[.!?…]$/.test(said) ? "" : "."}`}${said ? "" : "."}`;
  }
  if (kind === "cors") return "The hub does not allow this page to read the stream.";
  return kind === "unreachable" ? "The hub can't be reached." : "The connection was lost.";
}
