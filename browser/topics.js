// The URL of a hub's stream: its topics, and the options that this client sets.

/** The path of hubs in the Mercure protocol. */
const HUB_PATH = /\/\.well-known\/mercure$/;

/** Asks the hub for the topics of each event, for notices, and for an ID before the first event. */
const STREAM_OPTIONS = "topics,notices,place";

/**
 * @param {string} url of a hub, absolute
 * @param {Iterable<string> | null | undefined | false} topics without topics, the URL is returned unchanged
 * @returns {string}
 */
export function hubUrl(url, topics) {
  if (!topics) return url;
  const stream = new URL(url);
  const query = new URLSearchParams(stream.search);
  for (const topic of topics) query.append("topic", topic);
  query.append("tidings", STREAM_OPTIONS);
  // Set once, because appending to `stream.searchParams` rebuilds the URL each time.
  stream.search = query.toString();
  return stream.href;
}

/**
 * @param {string} topic
 * @returns {number} how many bytes it adds to the URL
 */
export const bytesOfTopic = (topic) => `&${new URLSearchParams({ topic })}`.length;

/**
 * @param {[name: string, value: string][]} [fields] of an event
 * @returns {string[]} its topics
 */
export const topicsOf = (fields = []) => fields.filter(([name]) => name === "topic").map(([, topic]) => topic);

/**
 * @param {string} url absolute
 * @returns {boolean} whether it is a hub's stream, which sends an ID before its first event
 */
export const isHub = (url) => HUB_PATH.test(new URL(url).pathname);
