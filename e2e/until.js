// Waiting for something to become true, never for time to pass.

/** Far above the time that any condition takes on an idle machine. */
const WAIT_MS_MAX = 60_000;
const LOOK_AGAIN_MS = 25;

/**
 * @template T
 * @param {string | (() => string)} what the condition, for the error; a function is called when the wait fails
 * @param {() => T | Promise<T>} look
 * @param {number} [limit] milliseconds
 * @returns {Promise<NonNullable<T>>} the first value that is true
 */
export async function until(what, look, limit = WAIT_MS_MAX) {
  const end = performance.now() + limit;
  for (;;) {
    const value = await look();
    if (value) return /** @type {NonNullable<T>} */ (value);
    if (performance.now() > end) throw new Error(`waited ${limit} ms in vain: ${typeof what === "string" ? what : what()}`);
    await new Promise((resolve) => setTimeout(resolve, LOOK_AGAIN_MS));
  }
}
