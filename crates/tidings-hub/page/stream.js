// A stream that outlives its connections: the browser's own `EventSource`, supervised.
//
// While an `EventSource` is in the state connecting, the browser tries again by itself. After
// an answer that is no event stream, and in some browsers after a refused connection too, it is
// closed for good: then this page finds out why, and makes a new one that goes on from the last
// event id.

import { readNotice, NOTICE_TYPE } from "./notices.js";
import { delayBefore } from "./reconnect.js";
import { probe } from "./refusal.js";

export const CONNECTING = 0;
export const OPEN = 1;
export const CLOSED = 2;

// What browsers wait where no `retry` says otherwise. They don't tell, so until it has been
// measured it is taken for three seconds, which is also what the hub asks for.
const BROWSER_RETRY_MS = 3_000;
// A connection that takes this long is most probably waiting for another to end.
const ANSWER_EXPECTED_MS = 5_000;

const WORDS_OF_LIMIT =
  "No answer yet. Over HTTP/1.1 a browser holds six connections to one address at most, over all of its tabs: " +
  "close a stream in another one.";

/**
 * @typedef {object} Status
 * @property {0 | 1 | 2} readyState
 * @property {string} words what is happening, for a person
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
  /** @type {EventSource | null} */
  #source = null;
  #types = new Set(["message", NOTICE_TYPE]);
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  /** @type {number | null} */
  #retryAt = null;
  #attempt = 0;
  /** @type {AbortController | null} */
  #probe = null;
  #browserRetryMs = BROWSER_RETRY_MS;
  /** @type {number | null} when a hub that goes asks to be tried again */
  #drainMs = null;
  /** @type {number | null} */
  #failedAt = null;
  #suspended = false;

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
      this.#say(OPEN, "Open already: it stays the one connection.");
      return;
    }
    if (same && this.readyState === CONNECTING) {
      if (this.#retryAt !== null) this.#connect("Trying again now.");
      return;
    }
    this.#url = url;
    this.lastEventId = lastEventId;
    this.#attempt = 0;
    this.#drainMs = null;
    this.#browserRetryMs = BROWSER_RETRY_MS;
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
    const wanted = new Set(["message", NOTICE_TYPE, ...types]);
    for (const type of this.#types) {
      if (!wanted.has(type)) this.#source?.removeEventListener(type, this.#receive);
    }
    for (const type of wanted) this.#source?.addEventListener(type, this.#receive);
    this.#types = wanted;
    return [...wanted];
  }

  /** Lets the connection go while the page is out of sight for good or for a while. */
  suspend() {
    if (this.readyState === CLOSED) return;
    this.#suspended = true;
    this.#drop();
  }

  /** Goes on from the last event id, if the stream was suspended. */
  resume() {
    if (!this.#suspended) return;
    this.#attempt = 0;
    this.#connect("Back on this page: connecting again.");
  }

  /** Tries again now, if it was waiting: timers of a hidden page can be a minute late. */
  wake() {
    if (this.#source === null && this.#retryAt !== null) this.#connect("Trying again now.");
  }

  /** @param {string} words */
  #connect(words) {
    this.#drop();
    if (this.#url === null) return;
    this.#suspended = false;
    const source = new EventSource(this.#here());
    this.#source = source;
    // Published events can be of the types `open` and `error` too.
    source.onopen = (event) => event instanceof MessageEvent || this.#opened();
    source.onerror = (event) => event instanceof MessageEvent || this.#failed(source);
    for (const type of this.#types) source.addEventListener(type, this.#receive);
    this.#timer = setTimeout(() => this.#say(CONNECTING, WORDS_OF_LIMIT), ANSWER_EXPECTED_MS);
    this.#say(CONNECTING, words);
  }

  /** The stream's URL, from the last event id on: a new `EventSource` can't send it as a header. */
  #here() {
    const url = new URL(/** @type {URL} */ (this.#url));
    if (this.lastEventId !== "") url.searchParams.set("lastEventID", this.lastEventId);
    return url.href;
  }

  /** @param {Event} event */
  #receive = (event) => {
    if (!(event instanceof MessageEvent)) return;
    // A new `EventSource` starts without an id, though its stream goes on from one.
    if (event.lastEventId !== "") this.lastEventId = event.lastEventId;
    if (event.type === NOTICE_TYPE) this.#drainMs = readNotice(event.data).retryMs ?? this.#drainMs;
    this.#onEvent(event);
  };

  #opened() {
    clearTimeout(this.#timer);
    this.#attempt = 0;
    this.#failedAt = null;
    this.#drainMs = null;
    this.#browserRetryMs = BROWSER_RETRY_MS;
    this.#say(OPEN, "Open. Events show as they arrive.");
  }

  /** @param {EventSource} source */
  #failed(source) {
    clearTimeout(this.#timer);
    const words = this.readyState === OPEN ? "The connection was lost." : "The hub can't be reached.";
    if (source.readyState === CONNECTING) {
      const now = performance.now();
      // From one failure to the next is what the browser waits: exact where refusals are quick.
      if (this.#failedAt !== null) this.#browserRetryMs = now - this.#failedAt;
      else if (this.#drainMs !== null) this.#browserRetryMs = this.#drainMs;
      this.#failedAt = now;
      this.#say(CONNECTING, words, now + this.#browserRetryMs);
      return;
    }
    this.#drop();
    this.#say(CONNECTING, "The browser gave up on this stream; finding out why.");
    this.#findOut();
  }

  async #findOut() {
    const stop = new AbortController();
    this.#probe = stop;
    const refusal = await probe(this.#here(), stop.signal);
    if (stop.signal.aborted) return;
    this.#probe = null;
    switch (refusal.kind) {
      case "refused":
        return this.#end(`${refusal.words} It would be refused again, so the page doesn't try.`);
      case "busy":
        return this.#later(refusal.words, refusal.retryMs);
      case "unreachable":
        return this.#later("The hub can't be reached.", null);
      case "fine":
        return this.#later("The stream was refused, but would be given now.", null);
    }
  }

  /**
   * @param {string} words
   * @param {number | null} retryMs what the hub asks for
   */
  #later(words, retryMs) {
    this.#attempt += 1;
    const asked = Math.max(retryMs ?? 0, this.#attempt === 1 ? (this.#drainMs ?? 0) : 0);
    const delay = Math.max(asked, delayBefore(this.#attempt, Math.random));
    this.#timer = setTimeout(() => this.#connect("Trying again now."), delay);
    this.#say(CONNECTING, words, performance.now() + delay);
  }

  /** @param {string} words */
  #end(words) {
    this.#drop();
    this.#url = null;
    this.#suspended = false;
    this.#say(CLOSED, words);
  }

  /** Lets go of the connection, the timer and the probe, whichever there is. */
  #drop() {
    clearTimeout(this.#timer);
    this.#probe?.abort();
    this.#probe = null;
    this.#source?.close();
    this.#source = null;
    this.#failedAt = null;
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
