// Notices of the hub, events of the type `tidings`, as sentences.

/** The event type of notices. Publishers cannot use it. */
export const NOTICE_TYPE = "tidings";

/**
 * @typedef {object} Notice
 * @property {string} kind
 * @property {string} words the meaning, in full sentences
 * @property {number | null} retryMs when to reconnect, if the notice says so
 */

/** @type {Record<string, (fields: Record<string, unknown>) => string>} */
const WORDS = {
  gap: ({ asked, oldest, missed }) =>
    `Events were lost. The hub no longer has everything after ${text(asked, "the last event of this page")}` +
    `${oldest === undefined ? "" : `; the stream continues from ${text(oldest)}`}. ` +
    (typeof missed === "number" ? `${count(missed, "event")} lost.` : "Their number is unknown."),
  reset: ({ asked }) =>
    `The hub doesn't know the id ${text(asked, "that was requested")}: its journal was reset. ` +
    "Events may have been lost; what follows is new.",
  expiring: ({ in_ms }) => `The token of this stream expires in ${span(in_ms)}.`,
  revoked: () => "The token of this stream was revoked.",
  anonymous: () => "This stream has no token, so it has public events only.",
  draining: ({ retry_ms }) => `The hub is draining. The page reconnects in ${span(retry_ms)}.`,
  live: () => "Live. What follows is new.",
  cursor: () => "Nothing new for this stream. A reconnect resumes from here.",
  resumed: ({ asked, replayed }) =>
    `Resumed after ${text(asked, "the requested id")}. ` +
    (typeof replayed === "number" ? `${count(replayed, "event")} to catch up on.` : "Events to catch up on may follow."),
  slow: ({ behind }) =>
    `This page reads more slowly than events come${typeof behind === "number" ? `: ${count(behind, "event")} behind` : ""}. ` +
    "The hub sends the rest from its journal.",
};

/**
 * @param {string} data an event's data
 * @returns {Notice}
 */
export function readNotice(data) {
  const fields = parse(data);
  const kind = typeof fields?.kind === "string" ? fields.kind : "unknown";
  const words = fields?.v === 1 && Object.hasOwn(WORDS, kind) ? WORDS[kind] : undefined;
  return {
    kind,
    words: words && fields ? words(fields) : "This page does not know this kind of notice.",
    retryMs: kind === "draining" && typeof fields?.retry_ms === "number" ? fields.retry_ms : null,
  };
}

/**
 * @param {string} data
 * @returns {Record<string, unknown> | null}
 */
function parse(data) {
  try {
    const value = JSON.parse(data);
    return value !== null && typeof value === "object" ? value : null;
  } catch {
    return null;
  }
}

/**
 * @param {unknown} value
 * @param {string} [otherwise]
 */
function text(value, otherwise = "?") {
  return typeof value === "string" || typeof value === "number" ? String(value) : otherwise;
}

/**
 * @param {number} number
 * @param {string} noun
 */
function count(number, noun) {
  return `${number} ${noun}${number === 1 ? "" : "s"}`;
}

/** @param {unknown} milliseconds */
function span(milliseconds) {
  if (typeof milliseconds !== "number") return "a moment";
  return milliseconds < 1_000 ? `${milliseconds} ms` : `${Math.round(milliseconds / 100) / 10} s`;
}
