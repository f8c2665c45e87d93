// Publishing one event: the form of the Mercure protocol, and the hub's answer as a sentence.

import { sayStatus } from "./refusal.js";
import { headersTo } from "./token.js";

/** Where the hub is. Behind a proxy or in another service it may be under a path. */
export const BASE = new URL("../../", import.meta.url);
/** The URL for publishing and subscribing. */
export const HUB_URL = new URL(".well-known/mercure", BASE);

const ANSWER_MS_MAX = 10_000;

/**
 * @typedef {{ ok: true, id: string } | { ok: false, words: string }} Answer
 */

/**
 * The fields to send. Those left empty are left out: to the hub, an empty id would be an id.
 *
 * @param {FormData} form
 * @param {string} topic
 * @returns {URLSearchParams}
 */
export function updateOf(form, topic) {
  const fields = new URLSearchParams({ topic });
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
        ? "No answer within 10 s, so the event may or may not have been published. Over HTTP/1.1, open streams may " +
          "use all six connections that a browser opens to a host: close one and try again."
        : "The hub can't be reached. The event was probably not published.",
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
