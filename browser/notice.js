// Notices of a Tidings hub about a stream: events of the type `tidings`.

/** The type of notices. Publishers cannot use it. */
export const NOTICE_TYPE = "tidings";

/**
 * Reads a notice, and applies it to the stream: a hub announces its heartbeat, so that silence can be
 * noticed sooner.
 *
 * @param {string} data
 * @param {import("./subscribe.js").Subscription | undefined} subscription
 * @returns {{ kind?: any }}
 */
export function heedNotice(data, subscription) {
  try {
    const notice = JSON.parse(data) ?? {};
    if (subscription && notice.heartbeat_ms >= 1000) subscription.silenceMaxMs = 3 * notice.heartbeat_ms;
    return notice;
  } catch {
    // An invalid notice is ignored.
    return {};
  }
}
