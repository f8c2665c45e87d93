// Finds out whether a hub is reached over HTTP/1.1, where browsers open at most six connections.

/**
 * Reads the protocol from a finished request to the same origin, because an open stream has no timing
 * entry.
 *
 * @param {string} url absolute
 * @returns {Promise<boolean>} true if the protocol is unknown, too
 */
export async function isHttp1(url) {
  const { protocol, origin } = new URL(url);
  // Browsers do not use HTTP/2 without TLS.
  if (protocol === "http:") return true;
  const spoken = () =>
    /** @type {PerformanceResourceTiming[]} */ (performance.getEntries())
      .filter(({ name, nextHopProtocol }) => nextHopProtocol && name.startsWith(`${origin}/`))
      .at(-1)?.nextHopProtocol;
  if (!spoken()) await fetch(url, { method: "HEAD", mode: "no-cors", cache: "no-store" }).catch(() => {});
  return /^http\/|^$/.test(spoken() ?? "");
}
