// The page's forms as command lines for a POSIX shell.

const HUB_PATH = ".well-known/mercure";

/**
 * @param {URL} base the hub's, which ends with a slash
 * @param {string} topic
 * @returns {string}
 */
export function subscribeCommand(base, topic) {
  return ["curl -N --get", `--data-urlencode ${quote(`topic=${topic}`)}`, quote(base.href + HUB_PATH)].join(" \\\n  ");
}

/**
 * @param {URL} base
 * @param {URLSearchParams} update
 * @returns {string}
 */
export function publishCommand(base, update) {
  const fields = [...update].map(([name, value]) => `--data-urlencode ${quote(`${name}=${value}`)}`);
  return ["curl", ...fields, quote(base.href + HUB_PATH)].join(" \\\n  ");
}

/**
 * @param {URL} base
 * @returns {string}
 */
export function clockCommand(base) {
  return `curl -N ${quote(`${base.href}sse`)}`;
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
