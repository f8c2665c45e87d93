// Whether a hub is reached over HTTP/1.1, where a browser holds six connections at most.

/**
 * An open stream has no timing entry, so it takes a request to the same origin that has finished.
 *
 * @param {string} url absolute
 * @returns {Promise<boolean>} also where nobody knows
 */
export async function isHttp1(url) {
  const { protocol, origin } = new URL(url);
  // No browser speaks HTTP/2 without TLS.
  if (protocol === "http:") return true;
  const spoken = () =>
    /** @type {PerformanceResourceTiming[]} */ (performance.getEntries()).findLast(
      ({ name, nextHopProtocol }) => nextHopProtocol && name.startsWith(`${origin}/`),
    )?.nextHopProtocol;
  if (!spoken()) await fetch(url, { method: "HEAD", mode: "no-cors", cache: "no-store" }).catch(() => {});
  return /^http\/|^$/.test(spoken() ?? "");
}
