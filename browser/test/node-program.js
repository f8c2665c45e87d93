// The package as a program in Node.js uses it: `node node-program.js SCENARIO HUB`. It prints the events as one line
// of JSON, and ends by itself.

import EventSourceWrapper, { FetchEventSource } from "../index.js";

const [scenario = "", hub = ""] = process.argv.slice(2);
const mercure = `${hub}/.well-known/mercure`;
const topic = (/** @type {string | number} */ name) => `https://example.com/${name}`;

/**
 * @param {string} name of the topic
 * @param {string} data
 */
async function publish(name, data) {
  const response = await fetch(mercure, { method: "POST", body: new URLSearchParams({ topic: topic(name), data }) });
  if (!response.ok) throw new Error(`publishing was refused with ${response.status}`);
  await response.text();
}

/**
 * The events of a source, until it is closed.
 *
 * @param {EventSourceWrapper} source
 * @param {(event: any) => void} [onMessage]
 */
function story(source, onMessage = () => {}) {
  /** @type {unknown[]} */
  const told = [];
  source.onOpen(() => told.push("open"));
  source.onMessage((event) => {
    told.push(event.data);
    onMessage(event);
  });
  source.onError(({ kind, status }) => told.push([kind, status]));
  return new Promise((resolve) => source.on("close", ({ reason }) => resolve([...told, reason])));
}

/**
 * The story of a source that gets one event after it has opened, and is closed then.
 *
 * @param {object} options
 */
function oneEvent(options) {
  const source = new EventSourceWrapper(mercure, { topics: [topic("a")], ...options });
  source.on("open", () => publish("a", "1"));
  return story(source, () => source.close());
}

/** @type {Record<string, () => Promise<unknown>>} */
const scenarios = {
  topics: async () => {
    const source = new EventSourceWrapper(mercure, { topics: [topic("a"), topic("b")] });
    source.on("open", async () => {
      for (const name of ["a", "other", "b"]) await publish(name, `of ${name}`);
    });
    return story(source, ({ data, topic }) => data === "of b" && topic.endsWith("/b") && source.close());
  },
  "shared: false": () => oneEvent({ shared: false }),
  "shared: auto": () => oneEvent({ shared: "auto" }),
  "shared: true": () => oneEvent({ shared: true }),
  "a URL": () => {
    const source = new EventSourceWrapper(`${mercure}?topic=${encodeURIComponent(topic("a"))}`);
    source.on("open", () => publish("a", "1"));
    return story(source, () => source.close());
  },
  "several shared": () => Promise.all([1, 2, 3].map(() => oneEvent({ shared: true }).then(() => "closed"))),
  "closed before it opens": () => {
    const source = new EventSourceWrapper(mercure, { topics: [topic("a")] });
    const ended = story(source);
    source.close();
    return ended;
  },
  "closed while it joins": async () => {
    const source = new EventSourceWrapper(mercure, { topics: [topic("a")], shared: true });
    const ended = story(source);
    for (let turn = 0; turn < 3; turn += 1) await null;
    source.close();
    return ended;
  },
  abort: () => {
    const stop = new AbortController();
    const source = new EventSourceWrapper(mercure, { topics: [topic("a")], shared: false, signal: stop.signal });
    const ended = story(source);
    source.on("open", () => stop.abort());
    return ended;
  },
  "abort, shared": () => {
    const stop = new AbortController();
    const source = new EventSourceWrapper(mercure, { topics: [topic("a")], shared: true, signal: stop.signal });
    const ended = story(source);
    source.on("open", () => stop.abort());
    return ended;
  },
  "no stream": () => story(new EventSourceWrapper(`${hub}/healthz`)),
  "a refusal": () => story(new EventSourceWrapper(`${hub}/nothing/is/here`)),
  "a refusal, shared": () => story(new EventSourceWrapper(`${hub}/nothing/is/here`, { shared: true })),
  // Nothing listens on port 1.
  "an unreachable server": () => story(new EventSourceWrapper("http://127.0.0.1:1/", { reconnect: false })),
  "a relative URL": async () => {
    try {
      new EventSourceWrapper("/sse");
    } catch (error) {
      return /** @type {Error} */ (error).name;
    }
  },
  iterator: async () => {
    const source = new EventSourceWrapper(mercure, { topics: [topic("a")], shared: false });
    source.on("open", async () => {
      for (const data of ["1", "2", "3"]) await publish("a", data);
    });
    const seen = [];
    for await (const { data } of source) if (seen.push(data) === 3) break;
    return [...seen, source.readyState];
  },
  FetchEventSource: () => {
    const source = new FetchEventSource(`${mercure}?topic=${encodeURIComponent(topic("a"))}`);
    source.onopen = () => publish("a", "1");
    return new Promise((resolve) => {
      source.onmessage = ({ data, lastEventId }) => {
        source.close();
        resolve([data, lastEventId.startsWith("tidings:"), source.readyState]);
      };
    });
  },
};

const run = scenarios[scenario];
if (!run) throw new Error(`there is no scenario ${scenario}`);
console.log(JSON.stringify((await run()) ?? null));
