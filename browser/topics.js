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
