// When to try again, and when no more: a pure state machine.
//
// What happens goes in with the time at which it happened, what to do comes out. Nothing here
// waits or reads a clock, and the chance is passed in.

/** No wait that a server asks for, by `retry` or `Retry-After`, is longer than this. */
export const SERVER_WAIT_MS_MAX = 60 * 60 * 1000;

/**
 * The wait before an attempt is the reconnection time (the server's, by `retry`), and for each
 * attempt that brought nothing a part by chance of up to `backoffFirstMs × 2ⁿ⁻¹`, at most
 * `backoffMaxMs`; never less than the answer's `Retry-After`.
 *
 * @typedef {object} Policy
 * @property {boolean} once one request, and never another; default: true unless the method is GET
 * @property {number} reconnectionMs until the server says otherwise; default: 3 s
 * @property {number} reconnectionMinMs no `retry` of a server counts as less; default: 100 ms
 * @property {number} backoffFirstMs default: 1 s
 * @property {number} backoffMaxMs default: 30 s
 * @property {number} healthyAfterMs a connection that was open so long, or brought an event, has
 *   brought something; default: 10 s
 * @property {number} attemptsMax how many attempts in a row may bring nothing; default: no limit
 * @property {number} budgetMs how long no attempt may bring anything; default: no limit
 * @property {number} silenceMaxMs how long a stream read with `fetch` may bring no byte, not even
 *   a comment, before it counts as lost; default: 5 min
 * @property {number} answerMaxMs how long an answer to a GET by `fetch` is waited for; default: 1 min
 * @property {(status: number) => boolean} isPassing whether an answer of this status may be another
 *   one next time; default: {@link isPassing}
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
 * 408, 425, 429 and 5xx but 501 and 505, which say what the server can't do, may pass. By the
 * standard every status but 200 is final.
 *
 * @param {number} status
 */
export function isPassing(status) {
  return /^(408|425|429|5(?!01|05)..)$/.test(`${status}`);
}

/**
 * @typedef {{ delayMs: number } | null} Verdict how long to wait before the next attempt; `null`
 *   if there is to be none
 */

export class Reconnect {
  reconnectionMs;
  /** Whether a stream has been open, now or before. */
  hasOpened = false;
  #policy;
  #random;
  /** Attempts in a row that brought nothing. */
  #fruitless = 0;
  /** When the connection that is open has brought something. */
  #healthyAt = Infinity;
  /** @type {number | undefined} when the last healthy connection was lost, or the first attempt failed */
  #unhealthySince;
  #isUnauthorized = false;

  /**
   * @param {Policy} policy
   * @param {() => number} random as `Math.random`
   */
  constructor(policy, random) {
    this.#policy = policy;
    this.#random = random;
    this.reconnectionMs = policy.reconnectionMs;
  }

  /** The number of the attempt that is under way or comes next; 1 for the first after one that brought something. */
  get attempt() {
    return this.#fruitless + 1;
  }

  /** @param {number} now */
  opened(now) {
    this.hasOpened = true;
    this.#healthyAt = now + this.#policy.healthyAfterMs;
    this.#isUnauthorized = false;
  }

  /** An event has come: the connection is worth something. */
  received() {
    this.#healthyAt = 0;
  }

  /** @param {number} milliseconds as the server's `retry` has it */
  retry(milliseconds) {
    this.reconnectionMs = Math.min(Math.max(milliseconds, this.#policy.reconnectionMinMs), SERVER_WAIT_MS_MAX);
  }

  /** Forgets the attempts that brought nothing: the network may be another one by now. */
  restart() {
    this.#healthyAt = Infinity;
    this.#unhealthySince = undefined;
    this.#fruitless = 0;
  }

  /**
   * The answer was no stream.
   *
   * @param {number} now
   * @param {number} status
   * @param {number | undefined} retryAfterMs
   * @param {boolean} renews whether the next request may have other credentials
   * @returns {Verdict}
   */
  refused(now, status, retryAfterMs, renews) {
    // With fresh credentials it may be different: once in a row.
    const isWorthIt = status === 401 ? renews && !this.#isUnauthorized : this.#policy.isPassing(status);
    this.#isUnauthorized = status === 401;
    return isWorthIt ? this.lost(now, retryAfterMs) : null;
  }

  /**
   * The stream has ended, or there was no answer.
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
    // Full jitter: anything between nothing and a limit that doubles, so that those who lost a
    // server together don't come back together.
    const longest = this.#fruitless && Math.min(policy.backoffFirstMs * 2 ** (this.#fruitless - 1), policy.backoffMaxMs);
    const asked = Math.min(retryAfterMs, SERVER_WAIT_MS_MAX);
    const delayMs = Math.round(Math.max(this.reconnectionMs + this.#random() * longest, asked));
    this.#unhealthySince ??= now;
    const late = now + delayMs > this.#unhealthySince + policy.budgetMs;
    if (this.#fruitless > 0 && (late || this.#fruitless >= policy.attemptsMax)) return null;
    return { delayMs };
  }
}
