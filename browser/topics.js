// The URL of a hub's stream: its topics, and what our own clients ask for besides.

/** What makes events say which topics they are about, and the hub say what happens. */
const STREAM_OPTIONS = "topics,notices";

/**
 * @param {string} url of a hub, absolute
 * @param {Iterable<string> | null | undefined | false} topics without any, the URL is that of the stream
 * @returns {string}
 */
export function hubUrl(url, topics) {
  if (!topics) return url;
  const stream = new URL(url);
  for (const topic of topics) stream.searchParams.append("topic", topic);
  stream.searchParams.append("tidings", STREAM_OPTIONS);
  return stream.href;
}

/**
 * @param {[name: string, value: string][]} [fields] of an event
 * @returns {string[]} what it is about
 */
export const topicsOf = (fields = []) => fields.filter(([name]) => name === "topic").map(([, topic]) => topic);
