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
    const heartbeat = Number(notice.heartbeat_ms);
    if (subscription && heartbeat > 0) {
      subscription.silenceMaxMs = Math.min(subscription.policy.silenceMaxMs, Math.max(3 * heartbeat, 3000));
    }
    return notice;
  } catch {
    // What is no notice says nothing.
    return {};
  }
}
