// The page's forms as command lines for a POSIX shell. Each is one line, unless the data itself has
// several: so no part is lost when it is pasted.

const HUB_PATH = ".well-known/mercure";
/** Stands for a token that the hub needs and the page does not have. */
export const TOKEN_UNKNOWN = "$TOKEN";

/**
 * @param {URL} base the hub's, which ends with a slash
 * @param {string} topic
 * @param {string} token the one in use; empty without one
 * @returns {string}
 */
export function subscribeCommand(base, topic, token) {
  return ["curl -N --get", ...bearer(token), `--data-urlencode ${quote(`topic=${topic}`)}`, quote(base.href + HUB_PATH)].join(" ");
}

/**
 * @param {URL} base
 * @param {URLSearchParams} update
 * @param {string} token
 * @returns {string}
 */
export function publishCommand(base, update, token) {
  const fields = [...update].map(([name, value]) => `--data-urlencode ${quote(`${name}=${value}`)}`);
  return ["curl", ...bearer(token), ...fields, quote(base.href + HUB_PATH)].join(" ");
}

/**
 * @param {URL} base
 * @returns {string}
 */
export function clockCommand(base) {
  return `curl -N ${quote(`${base.href}sse`)}`;
}

/** @param {string} token */
function bearer(token) {
  if (token === "") return [];
  // The shell's own variable, if the page has no token to show.
  return [`-H ${token === TOKEN_UNKNOWN ? `"Authorization: Bearer ${token}"` : quote(`Authorization: Bearer ${token}`)}`];
}

/**
 * One word of a shell command. Within single quotes only the single quote itself means
 * anything.
 *
 * @param {string} text
 */
function quote(text) {
  return /^[\w.,:/@%+-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}
