// Makes one connection with the browser's own `EventSource`.
//
// While it is connecting, the browser retries by itself. After a response that is not a stream, and in
// some browsers after a refused connection, it is closed for good. Then one request with `fetch` finds
// out why. If that request gets a stream, and there is no last event ID yet, it becomes the
// connection. A new `EventSource` cannot send headers, so once there is an ID, the next connection
// uses `fetch`, with the ID in the header and the query. Only if another origin does not allow that
// header, it is an `EventSource` with the query alone.

import { connect, linked, readOnce as readWithFetchOnce, resume } from "./connect.js";
import { withCursor } from "./cursor.js";
import { failure } from "./failure.js";
import { NOTICE_TYPE } from "./notice.js";
import { CLOSED, OPEN } from "./subscribe.js";
import { nameOf } from "./url.js";

/** @typedef {import("./subscribe.js").Subscription} Subscription */

/**
 * The browser's own class. It is stored because a page may replace it with a class of this package,
 * which would then use itself, in an endless recursion.
 */
export const NativeEventSource = globalThis.EventSource;

/**
 * Delivers events of the type `message` and of `types`. It receives no comments and no other fields.
 *
 * @param {Set<string>} types
 * @returns {import("./subscribe.js").Transport}
 */
export const readNatively = (types) => (subscription, signal) => {
  const { lastEventId, request } = subscription;
  const open = (/** @type {string} */ url) => readOnce(types, subscription, signal, url);
  return lastEventId === "" ? open(request.url) : resume(subscription, signal, withCursor(request.url, lastEventId), open);
};

/**
 * @param {Set<string>} types
 * @param {Subscription} subscription
 * @param {AbortSignal} signal
 * @param {string} url
 * @returns {Promise<import("./failure.js").Failure>}
 */
const readOnce = (types, subscription, signal, url) =>
  new Promise((resolve) => {
    const { request, policy, server, lastEventId: before } = subscription;
    const stop = linked(signal);
    const source = new NativeEventSource(url, request);
    stop.signal.addEventListener("abort", () => source.close());
    // Published events can have the types `open` and `error` too. Only published events have data.
    source.onopen = (event) => "data" in event || subscription.opened(request.url);
    source.onerror = (event) => {
      if ("data" in event) return;
      const isOpen = subscription.readyState === OPEN;
      const lost = isOpen ? failure("lost") : failure("unreachable", nameOf(url));
      const hasGivenUp = source.readyState === CLOSED && !policy.once;
      if (hasGivenUp && subscription.lastEventId === "") {
        stop.abort();
        if (isOpen) subscription.failed(lost, 0);
        if (!signal.aborted) resolve(readWithFetchOnce(subscription, signal, request.url, "", true));
      } else if (hasGivenUp) void end(lost, findReason());
      // The browser does not tell how long it will wait.
      else if (subscription.reconnect.lost(Date.now())) subscription.failed(lost, null);
      else void end(lost);
    };
    // A new `EventSource` begins without an ID, even if its stream resumes from one.
    let isKnown = before === "";
    const receive = (/** @type {any} */ event) => {
      if (!("data" in event)) return;
      const { type, data, lastEventId = "", origin } = event;
      if (lastEventId !== "") isKnown = true;
      // The server may have repeated an event, or the event may have no ID of its own and follow a block
      // that only sets the ID. The browser's class does not show which; the next connection, with
      // `fetch`, will.
      if (before !== "" && lastEventId === before && type !== NOTICE_TYPE) server.mayRepeat = true;
      // An empty ID counts: it resets the last event ID.
      subscription.receive({ type, data, lastEventId: isKnown ? lastEventId : before, origin });
    };
    subscription.listen = (type) => (types.add(type), source.addEventListener(type, receive));
    for (const type of types) subscription.listen(type);
    /** @returns {Promise<import("./connect.js").Answer>} */
    const findReason = async () => {
      const { lastEventId } = subscription;
      const answer = await connect(request, lastEventId, stop.signal, true);
      const isWithoutHeader = answer.failed?.kind === "cors";
      return isWithoutHeader ? connect({ ...request, url: withCursor(request.url, lastEventId) }, "", stop.signal, true) : answer;
    };
    /**
     * @param {import("./failure.js").Failure} lost
     * @param {Promise<import("./connect.js").Answer>} [why] the reason, unless there is a stream by now
     */
    const end = async (lost, why) => {
      const timer = setTimeout(() => stop.abort(), policy.answerMaxMs);
      const answer = await why;
      clearTimeout(timer);
      // A stream that was opened meanwhile would occupy one of the browser's few connections.
      stop.abort();
      resolve(answer?.failed ?? lost);
    };
  });
