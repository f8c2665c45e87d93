// The faults: a hub with its journal on disk, all set-ups on it, and one fault.

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { Hub } from "../hub.js";
import { until } from "../until.js";
import { Relay } from "./relay.js";

/**
 * @typedef {import("./readers.js").Seen} Seen
 * @typedef {import("./readers.js").Stream} Stream
 * @typedef {"between" | "inside" | "tail" | "drain" | "kill"} FaultName
 *
 * @typedef {object} Outcome
 * @property {string} wrong the fault, or nothing
 * @property {Seen[]} notices the hub's notices about the stream
 *
 * @typedef {import("./setups.js").SetUp} SetUp
 *
 * @callback Open opens a set-up's stream
 * @param {SetUp} setUp
 * @param {string} url
 * @returns {Stream}
 */

/** @type {Record<FaultName, string>} */
export const FAULTS = {
  between: "its connection is lost between two events",
  inside: "its connection is lost inside an event's data",
  tail: "its connection is lost inside an event, after its data",
  drain: "the hub is stopped (SIGTERM) and started again",
  kill: "the hub is killed (SIGKILL) and started again",
};

const TOPIC = "https://example.com/zoo";
const PATH = `/.well-known/mercure?topic=${encodeURIComponent(TOPIC)}`;
/** Programs start first, several virtual machines among them. */
const OPEN_MS_MAX = 240_000;
/** An event reaches a live stream at once: a client that holds it back for longer than this waits for more bytes. */
const LIVE_MS_MAX = 12_000;
/** Clients wait longer after each failure. Those that gave up are waited for in vain. */
const RECOVER_MS_MAX = 90_000;
/** How long the hub is down: longer than it tells its clients to wait, so that their first attempt fails. */
const AWAY_MS = 7_000;

/**
 * Puts all set-ups through one fault.
 *
 * @param {import("node:test").TestContext} test
 * @param {FaultName} fault
 * @param {SetUp[]} setUps
 * @param {Open} open
 * @param {string} pages the origin of the pages that read in browsers
 * @returns {Promise<Map<string, Outcome>>}
 */
export async function suffer(test, fault, setUps, open, pages) {
  const folder = await mkdtemp(join(tmpdir(), "tidings-zoo-"));
  const flags = ["--data-dir", folder, "--anonymous-subscribe", "--anonymous-publish", "--cors-origin", pages];
  let hub = await Hub.start(test, { returns: true, journal: "disk", flags });
  test.after(() => rm(folder, { recursive: true, force: true }));

  const cuts = CUTS[fault];
  /** @type {Map<SetUp, { stream: Stream, relay?: Relay, late: string[] }>} */
  const readers = new Map();
  for (const setUp of setUps) {
    const relay = cuts ? await Relay.to(test, hub.origin) : undefined;
    readers.set(setUp, { stream: open(setUp, (relay ?? hub).origin + PATH), relay, late: [] });
  }
  const opened = async () => {
    if (cuts) return [...readers.values()].every(({ relay }) => relay?.open);
    return (await hub.subscribers()) >= setUps.length;
  };
  await until("all streams are open", opened, OPEN_MS_MAX).catch(() => {});

  /** @type {Seen[]} */
  const published = [];
  const publish = async (/** @type {number} */ count) => {
    for (let left = count; left > 0; left -= 1) {
      const type = published.length % 3 === 2 ? "price" : "message";
      const data = dataOf(published.length + 1);
      const id = await hub.publish({ topic: TOPIC, data, ...(type === "price" && { type }) });
      published.push({ type, id, data });
    }
  };
  const has = (/** @type {Stream} */ stream) => stream.events.some(({ data }) => data === published.at(-1)?.data);
  const allHave = async (/** @type {number} */ limit) => {
    // The test does not wait for set-ups that are listed as failing.
    const all = () => [...readers].every(([{ breaks }, { stream }]) => breaks?.includes(fault) || has(stream));
    await until("all have the last event", all, limit).catch(() => {});
  };
  /** One event and nothing after it: it must not wait for the next event. */
  const publishLive = async () => {
    await publish(1);
    await allHave(LIVE_MS_MAX);
    for (const { stream, late } of readers.values()) if (!has(stream)) late.push(`event ${published.length} was late`);
  };

  await publishLive();
  if (cuts) {
    for (const { relay } of readers.values()) relay?.cuts.push(...cuts);
    await publish(7);
  } else {
    await publish(4);
    await (fault === "drain" ? hub.stop() : hub.kill());
    await wait(AWAY_MS);
    hub = await Hub.start(test, { journal: "disk", flags, listen: hub.listen });
    await publish(3);
  }
  await allHave(RECOVER_MS_MAX);
  await publishLive();

  /** @type {Map<string, Outcome>} */
  const outcomes = new Map();
  for (const [{ name }, { stream, relay, late }] of readers) {
    const notices = stream.events.filter(({ type }) => type === "tidings");
    // A notice is not an update, and a block without data is not an event: users ignore both.
    const events = stream.events.filter(({ type, data }) => type !== "tidings" && data !== null);
    const wrong = differences(published, events);
    // A missing event counts as lost, not late.
    if (wrong.length === 0) wrong.push(...late);
    if (relay && relay.cuts.length > 0) wrong.push(`${relay.cuts.length} cuts were not made`);
    if (wrong.length > 0) wrong.push(...stream.errors.slice(0, 3));
    outcomes.set(name, { wrong: wrong.join("; "), notices });
  }
  return outcomes;
}

/**
 * Small ones, so that none fills a buffer.
 *
 * @param {number} number
 */
function dataOf(number) {
  return JSON.stringify({ number, text: "word ".repeat(number % 4) });
}

/**
 * Each connection is once closed and once reset.
 *
 * @type {Partial<Record<FaultName, import("./relay.js").Cut[]>>}
 */
const CUTS = {
  between: [
    { data: dataOf(3), place: "after", how: "end" },
    { data: dataOf(5), place: "after", how: "reset" },
  ],
  inside: [
    { data: dataOf(3), place: "data", how: "end" },
    { data: dataOf(6), place: "data", how: "reset" },
  ],
  tail: [
    { data: dataOf(3), place: "lines", how: "end" },
    { data: dataOf(5), place: "id", how: "reset" },
    { data: dataOf(7), place: "blank", how: "end" },
  ],
};

/**
 * Events that are missing, repeated, out of order, incomplete, or were never published.
 *
 * @param {Seen[]} published
 * @param {Seen[]} seen
 * @returns {string[]}
 */
export function differences(published, seen) {
  /** @type {string[]} */
  const wrong = [];
  const times = published.map(() => 0);
  let last = -1;
  for (const event of seen) {
    const index = published.findIndex(({ data }) => data === event.data);
    const expected = published[index];
    if (!expected) {
      wrong.push(event.data === "" ? "an empty event" : `part of an event: ${JSON.stringify(event.data)}`);
      continue;
    }
    times[index] = (times[index] ?? 0) + 1;
    if (index < last && times[index] === 1) wrong.push(`event ${index + 1} out of order`);
    last = Math.max(last, index);
    if (event.type !== expected.type) wrong.push(`event ${index + 1} with the type ${event.type}`);
    // Some hand out no id.
    if (event.id !== null && event.id !== expected.id) wrong.push(`event ${index + 1} with the id ${event.id}`);
  }
  const numbers = (/** @type {(count: number) => boolean} */ which) =>
    times.flatMap((count, index) => (which(count) ? [index + 1] : [])).join(", ");
  const lost = numbers((count) => count === 0);
  const twice = numbers((count) => count > 1);
  if (lost) wrong.push(`lost ${lost}`);
  if (twice) wrong.push(`repeated ${twice}`);
  return wrong;
}
