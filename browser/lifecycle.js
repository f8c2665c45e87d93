// Tells streams when their page is hidden, restored, visible or online again.

/**
 * @typedef {object} Lived
 * @property {() => void} suspend the page is being left. It may be restored from the back/forward cache,
 *   which would keep the stream's connection open for a minute
 * @property {() => void} resume the page was restored
 * @property {() => void} wake a good moment to reconnect: timers of a hidden page may be a minute late
 */

/**
 * @param {Lived} stream
 * @returns {() => void} stops watching
 */
export function watchPage(stream) {
  const stop = new AbortController();
  /** @type {(type: string, listener: (event: any) => void) => void} */
  const on = (type, listener) => globalThis.addEventListener?.(type, listener, stop);
  on("pagehide", () => stream.suspend());
  on("pageshow", (event) => event.persisted && stream.resume());
  on("visibilitychange", () => globalThis.document?.hidden || stream.wake());
  on("online", () => stream.wake());
  return () => stop.abort();
}
