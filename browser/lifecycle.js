// What happens to a page that its streams must know.

/**
 * @typedef {object} Lived
 * @property {() => void} suspend the page is left; it may come back from the back/forward cache,
 *   which would hold the stream's connection for a minute
 * @property {() => void} resume it is back
 * @property {() => void} wake a good moment to try again: timers of a hidden page may be a minute late
 */

/**
 * @param {Lived} stream
 * @returns {() => void} stops telling it
 */
export function watchPage(stream) {
  const stop = new AbortController();
  /** @type {(type: string, listener: (event: any) => void) => void} */
  const on = (type, listener) => globalThis.addEventListener?.(type, listener, stop);
  on("pagehide", () => stream.suspend());
  on("pageshow", (event) => event.persisted && stream.resume());
  on("visibilitychange", () => document.hidden || stream.wake());
  on("online", () => stream.wake());
  return () => stop.abort();
}
