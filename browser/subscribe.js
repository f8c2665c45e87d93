// A stream that reconnects, independent of how it is read.

import { failure } from "./failure.js";
import { watchPage } from "./lifecycle.js";
import { Reconnect } from "./reconnect.js";
import { unreadableScheme } from "./url.js";

export const CONNECTING = /** @type {const} */ (0);
export const OPEN = /** @type {const} */ (1);
export const CLOSED = /** @type {const} */ (2);

/**
 * @typedef {import("./failure.js").Failure} Failure
 * @typedef {import("./decode.js").DecodedEvent} DecodedEvent
 *
 * @typedef {object} StreamRequest
 * @property {string} url absolute
 * @property {string} [method]
 * @property {BodyInit | null} [body]
 * @property {HeadersSource} [headers]
 * @property {boolean} [withCredentials]
 * @property {typeof globalThis.fetch} [fetch]
 * @property {string} [lastEventId] resumes after this event
 * @property {number} [eventCharactersMax]
 *
 * @typedef {Record<string, string>} HeaderFields
 * @typedef {HeaderFields | (() => HeaderFields | Promise<HeaderFields>)} HeadersSource an object, or a
 *   function that is called before every connection
 *
 * @typedef {object} Sink callbacks of a stream
 * @property {(url: string) => void} onOpen the stream is open, at this URL after redirects
 * @property {(event: DecodedEvent) => void | Promise<void>} onEvent an event. If possible, nothing more
 *   is read until the returned promise is resolved
 * @property {(failure: Failure, attempt: number, delayMs: number | null) => void} onFailure the
 *   connection was lost or could not be made. The next attempt has the number `attempt` and follows
 *   after `delayMs`; if that is `null`, the browser decides
 * @property {(failure: Failure, reason: Ending) => void} onEnd the stream is closed
 * @property {(failure: Failure) => void} [onTrouble] something failed, and the stream continues
 *
 * @typedef {"ended" | "refused" | "gave-up"} Ending `ended`: by the server. `refused`: the server would
 *   refuse again. `gave-up`: the policy allows no further attempt.
 *
 * @typedef {(subscription: Subscription, signal: AbortSignal) => Promise<Failure>} Transport makes one
 *   connection, and returns how it ended. The signal ends it at once
 */

/** A stream. It starts its first connection at once. */
export class Subscription {
  /** @type {0 | 1 | 2} */
  readyState = CONNECTING;
  /** @type {(type: string) => void} also delivers events of this type */
  listen = () => {};
  /** @type {ReturnType<typeof setTimeout> | undefined} the timer of the next attempt */
  #timer;
  #transport;
  /**
   * How the server accepts the last event ID. `refusesHeader`: another origin does not allow the
   * header. `refusesQuery`: it rejects unknown parameters. `repeats`: without the header it starts
   * again. `mayRepeat`: it may do so. `isWithoutHeader`: this connection did not send the header.
   */
  server = { refusesHeader: false, refusesQuery: false, repeats: false, mayRepeat: false, isWithoutHeader: false };
  /** Ends the connection, or the wait for the next one. */
  #stop = new AbortController();
  #unwatch;

  /**
   * @param {Transport} transport
   * @param {StreamRequest} request may be changed: the next connection uses its current values
   * @param {import("./reconnect.js").Policy} policy
   * @param {Sink} sink
   */
  constructor(transport, request, policy, sink) {
    this.#transport = transport;
    this.request = request;
    this.policy = policy;
    this.sink = sink;
    this.lastEventId = request.lastEventId ?? "";
    /** The maximum time without data. */
    this.silenceMaxMs = policy.silenceMaxMs;
    this.reconnect = new Reconnect(policy, Math.random);
    this.#unwatch = watchPage(this);
    void this.#run();
  }

  /** Whether it is waiting for the next attempt. */
  get isWaiting() {
    return this.#timer !== undefined;
  }

  close() {
    this.readyState = CLOSED;
    this.#drop();
    this.#unwatch();
  }

  /** Reconnects at once, from the last event ID. */
  reopen() {
    if (this.readyState === CLOSED) return;
    this.#drop();
    this.reconnect.restart();
    void this.#run();
  }

  suspend() {
    this.#drop();
  }

  resume() {
    if (this.readyState === OPEN) this.failed(failure("lost", "the page was left"), 0);
    this.reopen();
  }

  /** Reconnects at once if it was waiting. */
  wake() {
    if (this.isWaiting) this.reopen();
  }

  /** @param {string} url */
  opened(url) {
    const { server } = this;
    if (server.isWithoutHeader && !server.refusesHeader) {
      server.refusesHeader = true;
      this.sink.onTrouble?.(failure("cursor", `${new URL(url).origin} does not allow the header Last-Event-ID, so it is in the query`));
    }
    this.reconnect.opened(Date.now());
    this.readyState = OPEN;
    this.sink.onOpen(url);
  }

  /** @param {DecodedEvent} event */
  receive(event) {
    this.reconnect.received();
    this.lastEventId = event.lastEventId;
    return this.sink.onEvent(event);
  }

  /**
   * @param {Failure} failed
   * @param {number | null} delayMs
   */
  failed(failed, delayMs) {
    this.readyState = CONNECTING;
    this.sink.onFailure(failed, this.reconnect.attempt, delayMs);
  }

  #drop() {
    this.#stop.abort();
    this.#stop = new AbortController();
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  async #run() {
    const { signal } = this.#stop;
    this.#timer = undefined;
    // The caller can set its callbacks in the rest of this task.
    await null;
    if (signal.aborted) return;
    const failed = await this.#connect(signal);
    if (signal.aborted) return;
    try {
      this.#goOn(failed);
    } catch (cause) {
      // A function of the policy threw an error.
      this.#end(failure("unsupported", cause, { cause }), "gave-up");
    }
  }

  /** @param {Failure} failed how the connection ended */
  #goOn(failed) {
    const { reconnect, policy } = this;
    const { kind, status, isFinal } = failed;
    // A proxy in front of an unreachable server often sends no CORS headers. So after a stream that was
    // open, a missing CORS header counts as an unreachable server.
    const isHopeless = isFinal || kind === "unsupported" || (kind === "cors" && !reconnect.hasOpened);
    const isRefused = status > 0 || isHopeless;
    const renews = typeof this.request.headers === "function";
    const verdict =
      isHopeless ? null
      : isRefused ? reconnect.refused(Date.now(), status, failed.retryAfterMs, renews)
      : reconnect.lost(Date.now());
    if (!verdict) return this.#end(failed, status === 204 || (policy.once && kind === "ended") ? "ended" : isRefused ? "refused" : "gave-up");
    this.#timer = setTimeout(() => this.#run(), verdict.delayMs);
    this.failed(failed, verdict.delayMs);
  }

  /**
   * @param {Failure} failed
   * @param {Ending} reason
   */
  #end(failed, reason) {
    this.close();
    this.sink.onEnd(failed, reason);
  }

  /**
   * @param {AbortSignal} signal
   * @returns {Promise<Failure>}
   */
  async #connect(signal) {
    const { url, fetch } = this.request;
    // A `fetch` function of the caller may support other schemes.
    const scheme = !fetch && unreadableScheme(url);
    if (scheme) return failure("unsupported", `the URL has the unsupported scheme ${scheme}`);
    try {
      return await this.#transport(this, signal);
    } catch (cause) {
      return failure("unsupported", cause, { cause });
    }
  }
}
