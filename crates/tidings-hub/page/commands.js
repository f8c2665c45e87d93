// The page's forms as command lines for a POSIX shell.

import { HUB_PATH } from "./publish.js";

/**
 * @param {string} origin the hub's
 * @param {string} topic
 * @returns {string}
 */
export function subscribeCommand(origin, topic) {
  return ["curl -N --get", `--data-urlencode ${quote(`topic=${topic}`)}`, quote(origin + HUB_PATH)].join(" \\\n  ");
}

/**
 * @param {string} origin
 * @param {URLSearchParams} update
 * @returns {string}
 */
export function publishCommand(origin, update) {
  const fields = [...update].map(([name, value]) => `--data-urlencode ${quote(`${name}=${value}`)}`);
  return ["curl", ...fields, quote(origin + HUB_PATH)].join(" \\\n  ");
}

/**
 * @param {string} origin
 * @returns {string}
 */
export function clockCommand(origin) {
  return `curl -N ${quote(`${origin}/sse`)}`;
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
