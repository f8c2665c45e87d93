// A stream on this page: a source of the browser package, and its state as a sentence.

import EventSourceWrapper from "../browser/index.js";
import { HUB_URL } from "./publish.js";
import { hasToken, headersTo } from "./token.js";

export const CONNECTING = 0;
export const OPEN = 1;
export const CLOSED = 2;

// A connection that takes this long is most probably waiting for another to end.
const ANSWER_EXPECTED_MS = 5_000;
// A person is watching the page, so it retries sooner than a program would.
const RECONNECT = { reconnectionMs: 1_000 };
const BODY_CHARACTERS_SHOWN = 2_000;

const WORDS_OF_LIMIT =
  "No answer yet. Over HTTP/1.1 a browser opens at most six connections to a host, over all its tabs. " +
  "Close a stream in another tab.";

/** @typedef {import("../../../browser/index.js").ReceivedEvent<string>} ReceivedEvent */

/**
 * @typedef {object} Status
 * @property {0 | 1 | 2} readyState
 * @property {string} words the state, as a sentence
 * @property {boolean} isFailure
 * @property {number | null} retryAt when it is tried again, by `performance.now()`
 */

export class Stream {
  /** @type {0 | 1 | 2} */
  readyState = CLOSED;
  lastEventId = "";

  /** @type {(status: Status) => void} */
  #onStatus;
  /** @type {(event: ReceivedEvent) => void} */
  #onEvent;
  /** @type {URL | null} */
  #url = null;
  /** @type {EventSourceWrapper | null} */
  #source = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  /** @type {number | null} */
  #retryAt = null;
  #isPaused = false;

  /**
   * @param {object} callbacks
   * @param {(status: Status) => void} callbacks.onStatus
   * @param {(event: ReceivedEvent) => void} callbacks.onEvent
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
      if (this.#retryAt === null && !this.#isPaused) return;
      this.#keepPlace();
      this.#connect("Reconnecting now.");
      return;
    }
    this.#url = url;
    this.lastEventId = lastEventId;
    this.#connect("Connecting.");
  }

  /** Connects anew, from the last event id: with the tokens that are in use now. */
  reopen() {
    if (this.readyState === CLOSED) return;
    this.#keepPlace();
    this.#connect("Connecting.");
  }

  /** Frees the connection until `resume`. */
  pause() {
    if (this.readyState === CLOSED || this.#isPaused) return;
    this.#keepPlace();
    this.#drop();
    this.#isPaused = true;
    this.#say(CONNECTING, "Paused while this tab is hidden.");
  }

  /** Goes on from the last event id, if it was paused. */
  resume() {
    if (this.#isPaused) this.#connect("Connecting.");
  }

  /** With the option `place` the hub says where a stream begins, even before its first event. */
  #keepPlace() {
    this.lastEventId = this.#source?.lastEventId ?? this.lastEventId;
  }

  /** @param {string} [words] why */
  close(words = "Closed by you.") {
    if (this.readyState !== CLOSED) this.#end(words);
  }

  /** The URL that is open, or about to be. */
  get url() {
    return this.#url;
  }

  /** Whether it waits for the next attempt. */
  get isWaiting() {
    return this.#retryAt !== null;
  }

  /** @param {string} words */
  #connect(words) {
    this.#drop();
    if (this.#url === null) return;
    // `EventSource` delivers only the types that it was asked for; with `fetch` every type is read.
    const options = { lastEventId: this.lastEventId, reconnect: RECONNECT, types: /** @type {const} */ ("*") };
    // Only the hub gets the token.
    const isHubs = this.#url.origin === HUB_URL.origin && this.#url.pathname === HUB_URL.pathname;
    const headers = isHubs && hasToken("subscribe") ? { headers: async () => headersTo("subscribe") } : {};
    const source = new EventSourceWrapper(this.#url, { ...options, ...headers });
    this.#source = source;
    void this.#read(source);
    source.onOpen(() => {
      clearTimeout(this.#timer);
      this.#say(OPEN, "Events show as they arrive.");
    });
    source.onError((event) => this.#failed(event));
    this.#timer = setTimeout(() => this.#say(CONNECTING, WORDS_OF_LIMIT, null, true), ANSWER_EXPECTED_MS);
    this.#say(CONNECTING, words);
  }

  /** @param {EventSourceWrapper} source */
  async #read(source) {
    try {
      for await (const event of source) {
        if (source !== this.#source) return;
        this.lastEventId = event.lastEventId;
        this.#onEvent(event);
      }
    } catch {
      // `onError` reports it.
    }
  }

  /** @param {import("../../../browser/wrapper.js").ErrorEvent} event */
  #failed(event) {
    clearTimeout(this.#timer);
    if (this.#source?.readyState === OPEN) {
      this.#say(OPEN, `${event.message}.`, null, true);
      return;
    }
    const words = wordsOf(event);
    if (this.#source?.readyState === CLOSED) {
      this.#end(`${words} It would be refused again, so the page doesn't try.`, true);
      return;
    }
    this.#say(CONNECTING, words, performance.now() + (event.nextDelay ?? 0), true);
  }

  /**
   * @param {string} words
   * @param {boolean} [isFailure]
   */
  #end(words, isFailure = false) {
    this.#drop();
    this.#url = null;
    this.#say(CLOSED, words, null, isFailure);
  }

  #drop() {
    clearTimeout(this.#timer);
    this.#isPaused = false;
    this.#source?.onError(null);
    this.#source?.close();
    this.#source = null;
  }

  /**
   * @param {0 | 1 | 2} readyState
   * @param {string} words
   * @param {number | null} [retryAt]
   * @param {boolean} [isFailure]
   */
  #say(readyState, words, retryAt = null, isFailure = false) {
    this.readyState = readyState;
    this.#retryAt = retryAt;
    this.#onStatus({ readyState, words, retryAt, isFailure });
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
