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
  const known = spoken(origin);
  if (known) return isOld(known);
  try {
    await fetch(url, { method: "HEAD", mode: "no-cors", cache: "no-store", signal: AbortSignal.timeout(5000) });
  } catch {
    return true;
  }
  return isOld(spoken(origin));
}

/** @param {string | undefined} protocol of ALPN */
function isOld(protocol) {
  return protocol === undefined || protocol.startsWith("http/");
}

/**
 * @param {string} origin
 * @returns {string | undefined} the protocol of the newest request to it that has finished
 */
function spoken(origin) {
  const entries = ["navigation", "resource"].flatMap((type) => performance.getEntriesByType(type));
  const timings = /** @type {PerformanceResourceTiming[]} */ (entries);
  const last = timings.findLast(({ name, nextHopProtocol }) => nextHopProtocol && new URL(name).origin === origin);
  return last?.nextHopProtocol;
}
