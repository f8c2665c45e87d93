// A URL as the standard's `EventSource` takes it.

/**
 * @param {string | URL} url relative to the document or the worker's script; empty is that itself
 * @returns {string} absolute
 * @throws {DOMException} `SyntaxError` if it is none
 */
export function absolute(url) {
  const base = globalThis.document?.baseURI ?? globalThis.location?.href;
  try {
    return new URL(`${url}`, base).href;
  } catch {
    throw new DOMException(`${url} is no URL`, "SyntaxError");
  }
}
