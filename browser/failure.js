// Failures: why there is no stream, or why it ended.

/**
 * @typedef {object} Failure
 * @property {"lost" | "ended" | "unreachable" | "refused" | "not-a-stream" | "cors" | "headers"
 *   | "unsupported" | "parse" | "discarded" | "cursor" | "too-slow" | "closed"} kind
 *   `lost`: the connection was lost, or ended in the middle of an event. `ended`: the server ended
 *   the stream. `unreachable`: no response. `refused`: a status other than 200. `not-a-stream`: 200,
 *   but not an event stream. `cors`: the server is reachable but does not allow this page to read.
 *   `headers`: the function that creates the headers failed. `unsupported`: this browser or page
 *   cannot open such a stream. `too-slow`: too many events waited for an iterator. `closed`: the
 *   caller closed the source.
 *   After these the stream continues: `parse`: an event's data could not be parsed. `discarded`: an
 *   event was too large. `cursor`: the last event ID could not be sent as usual
 * @property {string} message a sentence for people: what happened, with details
 * @property {number} status of the response; 0 without one
 * @property {string} body the beginning of the response's body
 * @property {number} [retryAfterMs] the `Retry-After` of the response
 * @property {boolean} [isFinal] whether another attempt would fail in the same way
 * @property {unknown} [cause]
 */

/** @type {Record<Failure["kind"], string>} */
const SENTENCES = {
  lost: "The connection was lost",
  ended: "The server ended the stream",
  unreachable: "The server did not answer",
  refused: "The server refused the stream",
  "not-a-stream": "The response is not an event stream",
  cors: "The server does not allow this page to read the stream",
  headers: "The request headers could not be created",
  unsupported: "This stream cannot be opened here",
  parse: "The data of an event could not be parsed",
  discarded: "An event was discarded",
  cursor: "The last event ID was not sent",
  "too-slow": "Too many events waited for the iterator",
  closed: "The source was closed",
};

/**
 * @param {Failure["kind"]} kind
 * @param {unknown} [details] a text, or an error
 * @param {Partial<Failure>} [more]
 * @returns {Failure}
 */
export const failure = (kind, details, more) => ({
  kind,
  message: SENTENCES[kind] + (details ? `: ${wordsOf(details)}` : ""),
  status: 0,
  body: "",
  ...more,
});

/**
 * @param {any} error any thrown value
 * @returns {string} its message, without a stack
 */
export const wordsOf = (error) => String(error?.message || error);
