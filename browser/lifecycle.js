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
  const page = globalThis.document;
  const stop = new AbortController();
  /** @type {(target: EventTarget, type: string, listener: (event: Event) => void) => void} */
  const on = (target, type, listener) => target.addEventListener(type, listener, stop);
  if (page) {
    on(globalThis, "pagehide", () => stream.suspend());
    on(globalThis, "pageshow", (event) => /** @type {PageTransitionEvent} */ (event).persisted && stream.resume());
    on(page, "visibilitychange", () => page.hidden || stream.wake());
  }
  // Servers have no such events, and not all of them have event listeners.
  if ("addEventListener" in globalThis) on(globalThis, "online", () => stream.wake());
  return () => stop.abort();
}
