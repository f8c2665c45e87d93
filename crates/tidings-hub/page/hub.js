// What this page knows of its hub: facts that the hub writes into the page.

/**
 * @typedef {object} HubFacts
 * @property {string} version
 * @property {boolean} clock whether the demo clock is on
 * @property {boolean} tokens whether the hub has keys, so that a token could be valid
 * @property {boolean} callback whether the service around the hub decides what requests may do
 * @property {boolean} anonymousSubscribe
 * @property {boolean} anonymousPublish
 * @property {boolean} metrics whether `/metrics` is beside the page
 */

/** @type {HubFacts} */
export const HUB = JSON.parse(document.getElementById("hub-facts")?.textContent ?? "{}");

/**
 * What to do on a hub that needs a token, as a sentence with code in backticks. Empty if requests
 * without a token may do everything.
 *
 * @returns {string}
 */
export function whatIsClosed() {
  const { tokens, callback, anonymousSubscribe, anonymousPublish } = HUB;
  if (callback || (anonymousSubscribe && anonymousPublish)) return "";
  if (tokens) {
    const acts = anonymousSubscribe ? "publish" : anonymousPublish ? "watch topics" : "publish and to watch topics";
    const flags = `${anonymousPublish ? "" : "--publish '*' "}${anonymousSubscribe ? "" : "--subscribe '*' "}`;
    return `This hub needs a token to ${acts}. Make one with \`tidings token ${flags}--key-file FILE\`, where \`FILE\` contains the hub's key, and enter it under Token.`;
  }
  if (anonymousSubscribe) return "Nothing can be published on this hub: it has no keys. Start it with `--publisher-key-file FILE`, or with `--anonymous-publish` for everybody.";
  if (anonymousPublish) return "No topic can be watched on this hub: it has no keys. Start it with `--subscriber-key-file FILE`, or with `--anonymous-subscribe` for everybody.";
  return "This hub is closed to everybody: it has no keys, and accepts no anonymous clients. Start it with `--publisher-key-file FILE` and `--subscriber-key-file FILE`, or with `--anonymous-publish` and `--anonymous-subscribe` for everybody.";
}
