// Publishing one event: the form of the Mercure protocol, and the hub's answer in words.

import { sayStatus } from "./refusal.js";
import { headersTo } from "./token.js";

/** Where the hub is. Behind a proxy or in another service it may be under a path. */
export const BASE = new URL("../../", import.meta.url);
/** Where it takes updates and gives streams. */
export const HUB_URL = new URL(".well-known/mercure", BASE);

const ANSWER_MS_MAX = 10_000;

/**
 * @typedef {{ ok: true, id: string } | { ok: false, words: string }} Answer
 */

/**
 * The fields to send. Those left empty are left out: to the hub, an empty id would be an id.
 *
 * @param {FormData} form
 * @returns {URLSearchParams}
 */
export function updateOf(form) {
  const fields = new URLSearchParams();
  fields.append("topic", text(form, "topic"));
  // Forms carry line breaks as CR LF; in an event they are all one line break.
  fields.append("data", text(form, "data").replaceAll("\r\n", "\n"));
  for (const name of ["type", "id", "retry"]) {
    const value = text(form, name);
    if (value !== "") fields.append(name, value);
  }
  if (form.has("private")) fields.append("private", "on");
  return fields;
}

/**
 * @param {URLSearchParams} update
 * @returns {Promise<Answer>}
 */
export async function publish(update) {
  try {
    const response = await fetch(HUB_URL, {
      method: "POST",
      headers: headersTo("publish"),
      body: update,
      signal: AbortSignal.timeout(ANSWER_MS_MAX),
    });
    if (response.status === 200) return { ok: true, id: await response.text() };
    return { ok: false, words: await sayStatus(response) };
  } catch (error) {
    const late = error instanceof DOMException && error.name === "TimeoutError";
    return {
      ok: false,
      words: late
        ? "No answer within 10 s. Whether it was published isn't known. Over HTTP/1.1 open streams may hold " +
          "all six connections that a browser has for one address: close one and try again."
        : "The hub can't be reached. Nothing is known to be published.",
    };
  }
}

/**
 * @param {FormData} form
 * @param {string} name
 */
function text(form, name) {
  const value = form.get(name);
  return typeof value === "string" ? value : "";
}
