// What this page knows of its hub: facts that the hub writes into the page.

/**
 * @typedef {object} HubFacts
 * @property {string} version
 * @property {boolean} clock whether the demo clock is on
 * @property {boolean} publishTokens whether the hub has keys for publishers, so that a token could be valid
 * @property {boolean} subscribeTokens the same for subscribers
 * @property {boolean} callback whether the service around the hub decides what requests may do
 * @property {boolean} anonymousSubscribe
 * @property {boolean} anonymousPublish
 * @property {boolean} metrics whether `/metrics` is beside the page
 */

/** @type {HubFacts} */
export const HUB = JSON.parse(document.getElementById("hub-facts")?.textContent ?? "{}");

/**
 * Whether a request with a token could be allowed to do this.
 *
 * @param {import("./token.js").Use} use
 */
export const takesTokens = (use) => HUB.callback || (use === "publish" ? HUB.publishTokens : HUB.subscribeTokens);

/**
 * What to do on a hub that needs a token, as sentences with code in backticks. Empty if requests
 * without a token may do everything.
 *
 * @returns {string}
 */
export function whatIsClosed() {
  if (HUB.callback) return "";
  const publish = closedTo(HUB.anonymousPublish, HUB.publishTokens);
  const subscribe = closedTo(HUB.anonymousSubscribe, HUB.subscribeTokens);
  if (publish === "for good" && subscribe === "for good")
    return "This hub is closed to everybody: it has no keys, and accepts no anonymous clients. Start it with `--publisher-key-file FILE` and `--subscriber-key-file FILE`, or with `--anonymous-publish` and `--anonymous-subscribe` for everybody.";
  const sentences = [];
  const needed = [];
  if (publish === "without a token") needed.push({ act: "publish", flag: "--publish '*' " });
  if (subscribe === "without a token") needed.push({ act: "watch topics", flag: "--subscribe '*' " });
  if (needed.length > 0) {
    const acts = needed.map(({ act }) => act).join(" and to ");
    const flags = needed.map(({ flag }) => flag).join("");
    sentences.push(
      `This hub needs a token to ${acts}. Make one with \`tidings token ${flags}--key-file FILE\`, where \`FILE\` contains the hub's key, and enter it under Token.`,
    );
  }
  if (publish === "for good") sentences.push("Nothing can be published on this hub: it has no key for publishers. Start it with `--publisher-key-file FILE`, or with `--anonymous-publish` for everybody.");
  if (subscribe === "for good") sentences.push("No topic can be watched on this hub: it has no key for subscribers. Start it with `--subscriber-key-file FILE`, or with `--anonymous-subscribe` for everybody.");
  return sentences.join(" ");
}

/**
 * @param {boolean} isOpen to requests without a token
 * @param {boolean} hasKeys
 */
const closedTo = (isOpen, hasKeys) => (isOpen ? "nobody" : hasKeys ? "without a token" : "for good");
