// One connection with the browser's own `EventSource`.
//
// While it is in the state connecting, the browser tries again by itself. After an answer that
// is no stream, and in some browsers after a refused connection too, it is closed for good:
// then one request by `fetch` finds out why, and the next one goes on from the last event id.

import { connect } from "./connect.js";
import { failure } from "./failure.js";
import { CLOSED, OPEN } from "./subscribe.js";

/** The parameter in which a new `EventSource`, which can send no header, says where to go on. */
const CURSOR_PARAMETER = "lastEventID";

/**
 * Gives events of the type `message` and of those that were asked for; sees neither comments nor
 * other fields.
 *
 * @param {Set<string>} types
 * @returns {import("./subscribe.js").Transport}
 */
export const readNatively = (types) => (subscription, signal) =>
  new Promise((resolve) => {
    const { request, policy } = subscription;
    const url = new URL(request.url);
    if (subscription.lastEventId) url.searchParams.set(CURSOR_PARAMETER, subscription.lastEventId);
    const source = new EventSource(url, request);
    // Published events can be of the types `open` and `error` too.
    source.onopen = (event) => event instanceof MessageEvent || subscription.opened(request.url);
    source.onerror = (event) => {
      if (event instanceof MessageEvent) return;
      const lost = failure(subscription.readyState === OPEN ? "lost" : "unreachable");
      if (source.readyState === CLOSED && !policy.once) end(lost, connect({ ...request, url: url.href }, "", stop.signal));
      // How long it will wait, the browser tells nobody.
      else if (subscription.reconnect.lost(Date.now())) subscription.failed(lost, null);
      else end(lost);
    };
    const receive = (/** @type {Event} */ event) => {
      if (!(event instanceof MessageEvent)) return;
      const { type, data } = event;
      // A new `EventSource` begins without an id, though its stream goes on from one.
      const lastEventId = event.lastEventId || subscription.lastEventId;
      subscription.receive({ type, data, lastEventId });
    };
    subscription.listen = (type) => (types.add(type), source.addEventListener(type, receive));
    for (const type of types) subscription.listen(type);
    const stop = new AbortController();
    const close = () => (source.close(), stop.abort());
    signal.addEventListener("abort", close);
    /**
     * @param {import("./failure.js").Failure} lost
     * @param {Promise<Response | import("./failure.js").Failure>} [why] unless by now there is a stream
     */
    const end = async (lost, why) => {
      const timer = setTimeout(close, policy.answerMaxMs);
      const answer = await why;
      clearTimeout(timer);
      // A stream that was opened after all would hold one of the browser's few connections.
      close();
      resolve(answer && "kind" in answer ? answer : lost);
    };
  });
