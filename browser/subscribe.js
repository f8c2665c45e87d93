// A stream that outlives its connections, whichever way it is read.

import { failure } from "./failure.js";
import { watchPage } from "./lifecycle.js";
import { Reconnect } from "./reconnect.js";

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
 * @property {string} [lastEventId] after which to begin
 * @property {number} [eventCharactersMax]
 *
 * @typedef {Record<string, string>} HeaderFields
 * @typedef {HeaderFields | (() => HeaderFields | Promise<HeaderFields>)} HeadersSource a function
 *   is called before every connection
 *
 * @typedef {object} Sink what a stream tells whoever opened it
 * @property {(url: string) => void} onOpen with the URL that answered, after redirects
 * @property {(event: DecodedEvent) => void | Promise<void>} onEvent what it returns is waited for
 *   before more is read, where that can be had
 * @property {(failure: Failure, attempt: number, delayMs: number | null) => void} onFailure there
 *   is no stream. The next attempt is number `attempt`; it comes after `delayMs`, or, where that
 *   is `null`, when the browser sees fit
 * @property {(failure: Failure, reason: Ending) => void} onEnd nothing more comes
 * @property {() => void} [onDiscarded] an event was larger than the limit
 *
 * @typedef {"ended" | "refused" | "gave-up"} Ending `ended`: by the server. `refused`: it would be
 *   refused again. `gave-up`: what the policy allows has been tried.
 *
 * @typedef {(subscription: Subscription, signal: AbortSignal) => Promise<Failure>} Transport makes
 *   one connection, and says how it ended. With the signal it ends at once
 */

/** Asks for the first connection at once. */
export class Subscription {
  /** @type {0 | 1 | 2} */
  readyState = CONNECTING;
  /** @type {(type: string) => void} events of this type are wanted too */
  listen = () => {};
  /** @type {ReturnType<typeof setTimeout> | undefined} the wait before the next attempt */
  #timer;
  #transport;
  /** The connection, or the wait for the next one. */
  #stop = new AbortController();
  #unwatch;

  /**
   * @param {Transport} transport
   * @param {StreamRequest} request may be changed: the next connection is made of what it says then
   * @param {import("./reconnect.js").Policy} policy
   * @param {Sink} sink
   */
  constructor(transport, request, policy, sink) {
    this.#transport = transport;
    this.request = request;
    this.policy = policy;
    this.sink = sink;
    this.lastEventId = request.lastEventId ?? "";
    /** How long nothing may come. */
    this.silenceMaxMs = policy.silenceMaxMs;
    this.reconnect = new Reconnect(policy, Math.random);
    this.#unwatch = watchPage(this);
    this.#run();
  }

  /** Whether it waits before the next attempt. */
  get isWaiting() {
    return this.#timer !== undefined;
  }

  close() {
    this.readyState = CLOSED;
    this.#drop();
    this.#unwatch();
  }

  /** Connects anew at once, from the last event id on. */
  reopen() {
    if (this.readyState === CLOSED) return;
    this.#drop();
    this.reconnect.restart();
    this.#run();
  }

  suspend() {
    this.#drop();
  }

  resume() {
    if (this.readyState === OPEN) this.failed(failure("lost", "page left"), 0);
    this.reopen();
  }

  /** Tries at once, if it was waiting. */
  wake() {
    if (this.isWaiting) this.reopen();
  }

  /** @param {string} url */
  opened(url) {
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
    const { reconnect, policy } = this;
    this.#timer = undefined;
    // Whoever made the stream has all of this task to say what it is to call.
    await null;
    if (signal.aborted) return;
    const failed = await this.#transport(this, signal);
    if (signal.aborted) return;
    const { kind, status } = failed;
    // What stands before a server that is away often lets nobody read why: after a stream
    // that was open, a missing CORS header means no more than silence.
    const isRefused = status > 0 || kind === "unsupported" || (kind === "cors" && !reconnect.hasOpened);
    const renews = typeof this.request.headers === "function";
    const verdict = isRefused ? reconnect.refused(Date.now(), status, failed.retryAfterMs, renews) : reconnect.lost(Date.now());
    if (!verdict) {
      const reason = status === 204 || (policy.once && kind === "ended") ? "ended" : isRefused ? "refused" : "gave-up";
      this.close();
      this.sink.onEnd(failed, reason);
      return;
    }
    this.#timer = setTimeout(() => this.#run(), verdict.delayMs);
    this.failed(failed, verdict.delayMs);
  }
}
