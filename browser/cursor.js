// Sends the last event ID: in the header `Last-Event-ID`, as the browser's own `EventSource` does
// when it reconnects. A new `EventSource` cannot send headers, and for `fetch` other origins must
// allow the header (a preflight). Hubs also accept the ID in the query.

/** The parameter of the query in Mercure. */
const PARAMETER = "lastEventID";
/** Servers accept no longer header. */
const HEADER_BYTES_MAX = 64 * 1024;
/** The maximum in a URL: proxies often limit URLs to 8 KiB. */
const QUERY_CHARACTERS_MAX = 2048;
/** An ID of up to this many characters does not make a request too large. */
const SMALL_CHARACTERS = 1024;

/**
 * @param {string} url
 * @param {string} lastEventId
 * @returns {string} the URL with the ID in its query; unchanged if there is none, or it is too long
 */
export function withCursor(url, lastEventId) {
  const asked = new URL(url);
  const isSent = lastEventId !== "" && encodeURIComponent(lastEventId).length <= QUERY_CHARACTERS_MAX;
  if (isSent) asked.searchParams.set(PARAMETER, lastEventId);
  return isSent ? asked.href : url;
}

/**
 * @param {string} lastEventId
 * @returns {string | undefined} its bytes as characters, as `fetch` expects them in a header;
 *   `undefined` if there is none, or it is too long
 */
export function headerValue(lastEventId) {
  const bytes = new TextEncoder().encode(lastEventId);
  if (bytes.length === 0 || bytes.length > HEADER_BYTES_MAX) return undefined;
  let value = "";
  for (const byte of bytes) value += String.fromCharCode(byte);
  return value;
}

/**
 * @param {string} lastEventId as sent
 * @param {number} status of the response
 * @returns {boolean} whether the ID may have been refused for its length
 */
export const isTooLong = (lastEventId, status) => lastEventId.length > SMALL_CHARACTERS && [400, 413, 431, 494].includes(status);
