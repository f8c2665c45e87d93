// What a Tidings hub itself says on a stream: events of the type `tidings`.

/** The type of notices. Nobody else can publish it. */
export const NOTICE_TYPE = "tidings";

/**
 * Reads a notice, and does what it asks of the stream: a hub says how often it speaks, so that its
 * silence can be noticed sooner.
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
    // What is no notice says nothing.
    return {};
  }
}
