// Waiting for something to become true, never for time to pass.

const WAIT_MS_MAX = 20_000;
const LOOK_AGAIN_MS = 25;

/**
 * @template T
 * @param {string} what is waited for, as the error has it
 * @param {() => T | Promise<T>} look
 * @param {number} [limit] milliseconds
 * @returns {Promise<NonNullable<T>>} the first value that is true
 */
export async function until(what, look, limit = WAIT_MS_MAX) {
  const end = performance.now() + limit;
  for (;;) {
    const value = await look();
    if (value) return /** @type {NonNullable<T>} */ (value);
    if (performance.now() > end) throw new Error(`waited ${limit} ms in vain: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, LOOK_AGAIN_MS));
  }
}
