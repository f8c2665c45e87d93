// The hub's readings, once a second, over its own event stream.

import EventSourceWrapper from "../../browser/index.js";

/** The folder of the page's paths, wherever a proxy or a service has put it. */
export const BASE = new URL("../../", import.meta.url);

const RECONNECT = { reconnectionMs: 1_000 };
/** A hub whose readings stop for so long is stuck, or the network is. */
export const SILENT_MS = 5_000;
/** A hidden tab gives its place among the readers to others. */
const HIDDEN_MS_MAX = 20_000;

/**
 * @typedef {[label: string, count: number][]} ByLabel
 * @typedef {[bound: number | null, count: number][]} Buckets
 *
 * @typedef {object} Counts
 * @property {ByLabel} streams
 * @property {number} opened
 * @property {ByLabel} closed
 * @property {ByLabel} turnedAway
 * @property {number} updates
 * @property {ByLabel} publishRefused
 * @property {ByLabel} requestsRefused
 * @property {number} connectionsDisplaced
 * @property {number} [handshakesFailed]
 * @property {number} deliveries
 * @property {number} deliveredBytes
 * @property {number} replays
 * @property {number} feeds
 * @property {ByLabel} gaps
 * @property {Buckets} publishAck
 * @property {Buckets} delivery
 *
 * @typedef {object} SlowReader
 * @property {number} stream
 * @property {string} lane
 * @property {"full" | "catching-up" | "journal"} cause
 * @property {number} positions
 * @property {boolean} byToken
 * @property {boolean} isListed
 * @property {{ first: string[], count: number, isWhole: boolean } | null} selectors those that the token may list
 *
 * @typedef {object} BusyTopic
 * @property {string} topic
 * @property {number} updates
 * @property {number} error
 * @property {number} bytes
 * @property {boolean} hasPrivate
 *
 * @typedef {object} Reading
 * @property {string} version
 * @property {string} instance
 * @property {number} uptimeMs
 * @property {number} time
 * @property {"counts" | "public" | "token"} view
 * @property {{ isHealthy: boolean, isDraining: boolean, isReady: boolean, knowsRevocations: boolean }} status
 * @property {{ hasKeys: boolean, hasCallback: boolean, canAct: boolean }} access
 * @property {Counts} counts
 * @property {{ streams: number | null, requestBytes: number, requestBytesMax: number, selectorBytes: number, selectorBytesMax: number }} limits
 * @property {number} presenceDropped
 * @property {{ first: number, last: number, bytes: number, oldest: number | null, trouble: string | null, interruptions: number, damaged: number, strangers: number }} journal
 * @property {{ seconds: number, list: BusyTopic[] } | null} topics
 * @property {{ count: number, silentShards: number, list: SlowReader[] }} slow
 * @property {{ own: string | null, others: { name: string, heardMs: number }[] } | null} hubs
 */

/**
 * @typedef {object} FeedState
 * @property {0 | 1 | 2} readyState connecting, live, paused or refused
 * @property {string} words
 * @property {boolean} isFailure
 * @property {number | null} retryAt by `performance.now()`
 */

export class Feed {
  #token = "";
  /** @type {EventSourceWrapper | null} */
  #source = null;
  #isPaused = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #hiding;

  /**
   * @param {object} callbacks
   * @param {(reading: Reading) => void} callbacks.onReading
   * @param {(why: string) => void} callbacks.onNotShown a reading could not be shown
   * @param {(state: FeedState) => void} callbacks.onState
   * @param {(why: string) => void} callbacks.onTokenRefused the token is used no more
   */
  constructor(callbacks) {
    this.callbacks = callbacks;
    document.addEventListener("visibilitychange", () => this.#pauseIfHidden());
  }

  /**
   * Reads with this token from now on.
   *
   * @param {string} token
   */
  open(token = this.#token) {
    this.#source?.onError(null);
    this.#source?.close();
    this.#token = token;
    this.#isPaused = false;
    const headers = async () => /** @type {Record<string, string>} */ (token === "" ? {} : { Authorization: `Bearer ${token}` });
    const source = new EventSourceWrapper(new URL("events", BASE), { headers, types: "*", reconnect: RECONNECT });
    this.#source = source;
    this.#say(0, "Connecting.");
    source.onError((event) => this.#failed(source, event));
    void this.#read(source);
  }

  /** @param {EventSourceWrapper} source */
  async #read(source) {
    try {
      for await (const event of source) {
        if (source !== this.#source) return;
        this.#show(event.data);
      }
    } catch {
      // `onError` reports the end of the connection.
    }
  }

  /**
   * Shows a reading. If that fails, the stream goes on: the next one may be shown.
   *
   * @param {string} data
   */
  #show(data) {
    try {
      this.#say(1, "");
      this.callbacks.onReading(JSON.parse(data));
    } catch (error) {
      reportError(error);
      this.callbacks.onNotShown(error instanceof Error ? error.message : String(error));
    }
  }

  /**
   * @param {EventSourceWrapper} source
   * @param {import("../../../../browser/wrapper.js").ErrorEvent} event
   */
  #failed(source, event) {
    if (source !== this.#source) return;
    const { status, body, nextDelay } = event;
    const said = body.trim();
    if (status === 401 || status === 403) {
      if (this.#token !== "") {
        this.callbacks.onTokenRefused(said || `The hub answered ${status}.`);
        return this.open("");
      }
    }
    const words =
      status > 0 ? `The hub answered ${status}${said ? `: ${said}` : "."}` : event.kind === "unreachable" ? "The hub can't be reached." : "The connection to the hub was lost.";
    if (source.readyState === 2) {
      this.#source = null;
      return this.#say(2, words, true);
    }
    this.#say(0, words, true, performance.now() + (nextDelay ?? 0));
  }

  #pauseIfHidden() {
    clearTimeout(this.#hiding);
    if (!document.hidden) {
      if (this.#isPaused) this.open();
      return;
    }
    this.#hiding = setTimeout(() => {
      if (this.#source === null) return;
      this.#source.onError(null);
      this.#source.close();
      this.#source = null;
      this.#isPaused = true;
      this.#say(0, "Paused while this tab is hidden.");
    }, HIDDEN_MS_MAX);
  }

  /**
   * @param {0 | 1 | 2} readyState
   * @param {string} words
   * @param {boolean} [isFailure]
   * @param {number | null} [retryAt]
   */
  #say(readyState, words, isFailure = false, retryAt = null) {
    this.callbacks.onState({ readyState, words, isFailure, retryAt });
  }
}

/**
 * Sends a request of the page. Its body is JSON, its answer too.
 *
 * @param {string} path
 * @param {unknown} body
 * @param {string} token
 * @returns {Promise<Response>}
 */
export function send(path, body, token) {
  /** @type {Record<string, string>} */
  const headers = { "Content-Type": "application/json" };
  if (token !== "") headers.Authorization = `Bearer ${token}`;
  return fetch(new URL(path, BASE), { method: "POST", headers, body: JSON.stringify(body), signal: AbortSignal.timeout(15_000) });
}
