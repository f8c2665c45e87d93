// The tokens that this page uses. They are in its memory only, and go with it.

/** @typedef {"publish" | "subscribe"} Use */

/** @type {Record<Use, string>} */
const tokens = { publish: "", subscribe: "" };

/**
 * @param {string} token
 * @param {Record<Use, boolean>} uses
 */
export function useToken(token, uses) {
  for (const use of /** @type {const} */ (["publish", "subscribe"])) if (uses[use]) tokens[use] = token;
}

export function forgetTokens() {
  tokens.publish = tokens.subscribe = "";
}

/** @param {Use} use */
export const tokenTo = (use) => tokens[use];

/** @param {Use} use */
export const hasToken = (use) => tokens[use] !== "";

/**
 * The request's headers with its token.
 *
 * @param {Use} use
 * @returns {Record<string, string>}
 */
export const headersTo = (use) => (hasToken(use) ? { Authorization: `Bearer ${tokens[use]}` } : {});
