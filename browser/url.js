// Parses URLs as the standard's `EventSource` does.

/**
 * @param {string | URL} url relative to the document or the worker's script
 * @returns {string} absolute
 * @throws {DOMException} `SyntaxError` if the URL is invalid
 */
export function absolute(url) {
  const base = globalThis.document?.baseURI ?? globalThis.location?.href;
  /** @type {URL | undefined} */
  let found;
  try {
    found = new URL(`${url}`, base);
  } catch {
    // Reported below.
  }
  // Host names contain no percent sign. Chromium accepts a name with a space, and escapes it.
  if (!found || (/^https?:$/.test(found.protocol) && found.hostname.includes("%"))) {
    throw new DOMException(`${url} is not a valid URL${base ? "" : ", or is relative but there is no page"}`, "SyntaxError");
  }
  return found.href;
}

/**
 * Requests to URLs of other schemes always fail, so they are not repeated. In apps and extensions the
 * page's own scheme is that of their files.
 *
 * @param {string} url absolute
 * @returns {string} the scheme if it cannot be read; else empty
 */
export function unreadableScheme(url) {
  const { protocol } = new URL(url);
  const own = globalThis.location?.protocol;
  const isReadable = /^(https?|blob|data):/.test(protocol) || (protocol === own && !/^(about|file|javascript):/.test(own));
  return isReadable ? "" : protocol;
}

/**
 * @param {string} url absolute
 * @returns {boolean} whether it is subject to CORS
 */
export const isForeign = (url) => globalThis.location !== undefined && new URL(url).origin !== globalThis.location.origin;

/**
 * @param {string} url absolute
 * @returns {string} the URL as errors show it: without its login and its query, which may contain a token
 */
export const nameOf = (url) => url.replace(/[?#].*/s, "").replace(/\/\/[^/]*@/, "//");
