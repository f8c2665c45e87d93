// Decides when to reconnect, and when to give up: a state machine without timers or clock.
//
// The caller passes in what happened and when, and a source of randomness.

/** The maximum wait that a server can ask for with `retry` or `Retry-After`. */
export const SERVER_WAIT_MS_MAX = 60 * 60 * 1000;

/**
 * When to reconnect, and when to give up. The wait before an attempt is the reconnection time (the
 * server's, if it sent `retry`). After *n* failed attempts a random time is added, up to
 * `backoffFirstMs × 2ⁿ⁻¹` and at most `backoffMaxMs`. The wait is never less than the `Retry-After` of
 * the response.
 *
 * @typedef {object} Policy
 * @property {boolean} once sends a single request; default: true unless the method is GET
 * @property {number} reconnectionMs the reconnection time, unless the server sends another; default: 3 s
 * @property {number} reconnectionMinMs the minimum for the server's `retry`; default: 100 ms
 * @property {number} backoffFirstMs the maximum random time after the first failed attempt; default: 1 s
 * @property {number} backoffMaxMs the maximum random time after any failed attempt; default: 30 s
 * @property {number} healthyAfterMs a connection that delivered an event, or was open for this long, is
 *   not a failed attempt; default: 10 s
 * @property {number} attemptsMax gives up after this many failed attempts in a row; default: no limit
 * @property {number} budgetMs gives up after this time of failed attempts; default: no limit
 * @property {number} silenceMaxMs how long a stream read with `fetch` may send nothing, not even a
 *   comment, before it counts as lost; default: 5 min
 * @property {number} answerMaxMs how long to wait for the response to a GET with `fetch`; default: 1 min
 * @property {(status: number) => boolean} isPassing whether to retry after a response with this status;
 *   default: {@link isPassing}
 */

/** @type {Readonly<Policy>} */
export const DEFAULT_POLICY = {
  once: false,
  reconnectionMs: 3000,
  reconnectionMinMs: 100,
  backoffFirstMs: 1000,
  backoffMaxMs: 30_000,
  healthyAfterMs: 10_000,
  attemptsMax: Infinity,
  budgetMs: Infinity,
  silenceMaxMs: 300_000,
  answerMaxMs: 60_000,
  isPassing,
};

/**
 * @param {unknown} given settings that differ from the default; undefined ones are ignored
 * @returns {Policy}
 */
export const policyOf = (given) => ({
  ...DEFAULT_POLICY,
  ...Object.fromEntries(Object.entries(Object(given)).filter(([, value]) => value !== undefined)),
});

/**
 * The default for retries: 408, 425, 429 and 5xx, except 501 and 505, which mean that the server does not
 * support the request. In the standard every status except 200 is final.
 *
 * @param {number} status
 */
export function isPassing(status) {
  return /^(408|425|429|5(?!01|05)..)$/.test(`${status}`);
}

/**
 * @typedef {{ delayMs: number } | null} Verdict how long to wait before the next attempt; `null` if there
 *   is none
 */

export class Reconnect {
  reconnectionMs;
  /** Whether the stream is or was open. */
  hasOpened = false;
  #policy;
  #random;
  /** Failed attempts in a row. */
  #fruitless = 0;
  /** When the open connection will count as healthy. */
  #healthyAt = Infinity;
  /** @type {number | undefined} when the last healthy connection was lost, or the first attempt failed */
  #unhealthySince;
  #isUnauthorized = false;

  /**
   * @param {Policy} policy
   * @param {() => number} random such as `Math.random`
   */
  constructor(policy, random) {
    this.#policy = policy;
    this.#random = random;
    this.reconnectionMs = policy.reconnectionMs;
  }

  /** The number of the current or next attempt; 1 for the first since a connection was healthy. */
  get attempt() {
    return this.#fruitless + 1;
  }

  /** @param {number} now */
  opened(now) {
    this.hasOpened = true;
    this.#healthyAt = now + this.#policy.healthyAfterMs;
    this.#isUnauthorized = false;
  }

  /** An event was received, so the connection is healthy. */
  received() {
    this.#healthyAt = 0;
  }

  /** @param {number} milliseconds the server's `retry` */
  retry(milliseconds) {
    this.reconnectionMs = Math.min(Math.max(milliseconds, this.#policy.reconnectionMinMs), SERVER_WAIT_MS_MAX);
  }

  /** Forgets failed attempts, because the network may have changed. */
  restart() {
    this.#healthyAt = Infinity;
    this.#unhealthySince = undefined;
    this.#fruitless = 0;
  }

  /**
   * The response was not a stream.
   *
   * @param {number} now
   * @param {number} status
   * @param {number | undefined} retryAfterMs
   * @param {boolean} renews whether the next request may have fresh credentials
   * @returns {Verdict}
   */
  refused(now, status, retryAfterMs, renews) {
    // With fresh credentials the request is repeated once.
    const isWorthIt = status === 401 ? renews && !this.#isUnauthorized : this.#policy.isPassing(status);
    this.#isUnauthorized = status === 401;
    return isWorthIt ? this.lost(now, retryAfterMs) : null;
  }

  /**
   * The stream has ended, or there was no response.
   *
   * @param {number} now
   * @param {number} [retryAfterMs]
   * @returns {Verdict}
   */
  lost(now, retryAfterMs = 0) {
    const policy = this.#policy;
    if (policy.once) return null;
    if (now >= this.#healthyAt) {
      this.#fruitless = 0;
      this.#unhealthySince = now;
    } else {
      this.#fruitless += 1;
    }
    this.#healthyAt = Infinity;
    // Full jitter: a random time between zero and a limit that doubles, so that clients which lost a server
    // at the same time do not reconnect at the same time.
    const longest = this.#fruitless && Math.min(policy.backoffFirstMs * 2 ** (this.#fruitless - 1), policy.backoffMaxMs);
    const asked = Math.min(retryAfterMs, SERVER_WAIT_MS_MAX);
    const delayMs = Math.round(Math.max(this.reconnectionMs + this.#random() * longest, asked));
    this.#unhealthySince ??= now;
    const late = now + delayMs > this.#unhealthySince + policy.budgetMs;
    if (this.#fruitless > 0 && (late || this.#fruitless >= policy.attemptsMax)) return null;
    return { delayMs };
  }
}
