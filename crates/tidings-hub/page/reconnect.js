// When to try again. Pure: the chance is passed in, nobody waits in here.

const DELAY_MIN_MS = 1_000;
const DELAY_MAX_MS = 30_000;

/**
 * How long to wait before an attempt: doubling from one second to thirty, less up to a
 * half by chance, so that the pages which lost a hub together don't return together.
 *
 * @param {number} attempt 1 for the first attempt after a loss
 * @param {() => number} random as `Math.random`
 * @returns {number} milliseconds
 */
export function delayBefore(attempt, random) {
  // Past 2^5 the limit holds anyway; without a bound the power would overflow.
  const doublings = Math.min(Math.max(attempt, 1), 6);
  const longest = Math.min(DELAY_MIN_MS * 2 ** doublings, DELAY_MAX_MS);
  return Math.round(longest * (1 - random() / 2));
}
