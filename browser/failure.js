// Why there is no stream, or none any more.

/**
 * @typedef {object} Failure
 * @property {"lost" | "ended" | "unreachable" | "refused" | "not-a-stream" | "cors" | "headers"
 *   | "unsupported" | "parse" | "discarded" | "too-slow" | "closed"} kind
 *   `lost`: the stream broke, or ended in the middle of an event. `ended`: it ended.
 *   `unreachable`: no answer. `refused`: another status than 200. `not-a-stream`: 200, but no
 *   event stream. `cors`: the server is there and does not let this page read. `headers`: the
 *   function that makes them failed. `unsupported`: nothing here can open such a stream.
 *   These two concern one event, and the stream goes on: `parse`: its data can't be read.
 *   `discarded`: it was too large. `too-slow`: too many events waited for an iterator.
 *   `closed`: nothing failed
 * @property {string} message the kind, and what is known besides
 * @property {number} status of the answer; 0 without one
 * @property {string} body the beginning of what the answer said
 * @property {number} [retryAfterMs] what the answer names
 * @property {unknown} [cause]
 */

/**
 * @param {Failure["kind"]} kind
 * @param {string} [details]
 * @param {Partial<Failure>} [more]
 * @returns {Failure}
 */
export const failure = (kind, details, more) => ({
  kind,
  message: details ? `${kind}: ${details}` : kind,
  status: 0,
  body: "",
  ...more,
});
