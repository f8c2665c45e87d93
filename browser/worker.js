// One connection for all tabs: the SharedWorker that owns it.
//
// Listeners of one hub with the same credentials form a group. A group has one stream, with the topics of
// all its listeners. When these change, the stream is reopened after the last event, so that no event
// is lost or repeated.

import { knock, readWithFetch } from "./connect.js";
import { failure, wordsOf } from "./failure.js";
import { heedNotice, NOTICE_TYPE } from "./notice.js";
import { policyOf } from "./reconnect.js";
import { OPEN, Subscription } from "./subscribe.js";
import { bytesOfTopic, hubUrl, topicsOf } from "./topics.js";

/** How long changes of the topics are collected before the stream is reopened. */
const COLLECT_MS = 50;
/** The maximum that a hub accepts. */
const TOPICS_MAX = 1000;
/**
 * The maximum of path and query of a stream's URL, for servers that limit a request's head to 16 KiB.
 * Servers that limit the first line to 8 KiB, such as nginx, refuse more than half of it.
 */
const URL_BYTES_MAX = 14 * 1024;
/** After this many streams of a hub, each may have twice that: over HTTP/1.1 a browser has six connections. */
const STREAMS_FREE = 2;
/** Servers do not refuse shorter URLs for their length. */
const URL_BYTES_MIN = 1024;
/** The statuses for a URL that is too long. */
const TOO_LONG = [413, 414, 431];
/** Some servers answer 400. For shorter URLs it is assumed to have another cause. */
const BAD_REQUEST_BYTES_MIN = 4096;
/** A listener that is further behind the stream gets a stream of its own. */
const REPEAT_EVENTS_MAX = 2000;
/** A listener without events is told the position after at most this many events. */
const CURSOR_EVENTS = 200;
const BEAT_MS = 1000;
/** A listener with more unacknowledged characters is frozen. It is dropped, and must join again. */
const UNTAKEN_CHARACTERS_MAX = 32 * 1024 * 1024;
const EVENT_CHARACTERS = 500;
/** Without locks: a tab that is silent for this long counts as closed. */
const SILENCE_MS_MAX = 300_000;
const HEADERS_MS_MAX = 5000;
/** Notices that concern the group's stream only, and are not passed on to listeners. */
const NOTICES_OF_STREAM = ["live", "resumed", "cursor", "slow"];

/**
 * @typedef {import("./share.js").Cursor} Cursor
 * @typedef {import("./failure.js").Failure} Failure
 * @typedef {import("./decode.js").DecodedEvent} DecodedEvent
 * @typedef {import("./subscribe.js").Ending} Ending
 *
 * @typedef {object} Wish
 * @property {string} url
 * @property {boolean} withCredentials
 * @property {string[]} [topics]
 * @property {Partial<import("./reconnect.js").Policy>} policy
 * @property {boolean} asked whether the headers are asked for before each connection
 * @property {any} headers
 */

const name = `tidings worker ${Date.now()} ${Math.random()}`;
let lastNumber = 0;
/** A unique number. */
const number = () => (lastNumber += 1);
const carried = { events: 0, characters: 0 };
/** @type {Set<Listener>} */
const listeners = new Set();
/** @type {Map<string, Group>} */
const groups = new Map();
/** The maximum length of URLs for an origin that has refused a longer one. @type {Map<string, number>} */
const urlBytesMax = new Map();
/** The longest URL that an origin has accepted. @type {Map<string, number>} */
const urlBytesTaken = new Map();

/** One source of one tab. */
class Listener {
  /** @type {Wish} */
  wish = /** @type {any} */ (null);
  /** @type {Set<string> | null} `null` is every event */
  topics = null;
  /** Whether it receives events; a new listener waits until the stream is live. */
  isLive = false;
  /** Whether it was told that the stream is open. */
  isTold = false;
  /** @type {Group | undefined} */
  group;
  /** @type {DecodedEvent[]} */
  outgoing = [];
  tab = 0;
  hasLocks = false;
  heardAt = Date.now();
  #untaken = 0;
  #port;
  /** @type {Map<number, (answer: any) => void>} */
  #questions = new Map();

  /** @param {MessagePort} port */
  constructor(port) {
    this.#port = port;
    port.onmessage = ({ data }) => this.#receive(data);
  }

  /** @param {object} message */
  say(message) {
    this.#port.postMessage(message);
  }

  /** @param {Cursor | null} cursor */
  deliver(cursor) {
    const events = this.outgoing;
    let size = 0;
    for (const { data } of events) size += data.length + EVENT_CHARACTERS;
    this.outgoing = [];
    this.#untaken += size;
    this.say({ kind: "events", events, cursor, size });
    if (this.#untaken > UNTAKEN_CHARACTERS_MAX) this.leave();
  }

  leave() {
    listeners.delete(this);
    this.group?.leave(this);
    this.group = undefined;
  }

  /** @returns {Promise<{ headers?: any, error?: string }>} */
  askHeaders() {
    const question = number();
    this.say({ kind: "headers", question });
    return new Promise((resolve) => {
      const answer = (/** @type {any} */ headers) => {
        clearTimeout(timer);
        this.#questions.delete(question);
        resolve(headers);
      };
      const timer = setTimeout(answer, HEADERS_MS_MAX, {});
      this.#questions.set(question, answer);
    });
  }

  /** @param {any} message */
  #receive({ kind, wish, cursor, tab, lock, size, question, ...answer }) {
    this.heardAt = Date.now();
    if (kind === "hello") {
      this.wish = wish;
      this.tab = tab;
      this.topics = wish.topics && new Set(wish.topics);
      this.isLive = cursor !== null;
      this.hasLocks = Boolean(lock);
      listeners.add(this);
      // Granted when the tab has closed, crashed or left the page.
      const leave = () => this.leave();
      if (lock) locks.request(lock, leave).catch(() => (this.hasLocks = false));
      void locked.then((lock) => this.say({ kind, lock }));
      return groupFor(this, cursor).join(this, cursor);
    }
    if (kind === "bye") {
      this.leave();
      return this.#port.close();
    }
    // It was dropped, but still exists: it must join again and report its position.
    if (!this.group) return this.say({ kind: "gone" });
    if (kind === "took") this.#untaken -= size;
    if (kind === "wake") this.group.wake();
    if (kind === "headers") this.#questions.get(question)?.(answer);
    if (kind === "statistics") {
      const tabs = new Set([...listeners].map((listener) => listener.tab)).size;
      const connections = [...groups.values()].filter((group) => group.isOpen).length;
      this.say({ kind, statistics: { tabs, connections, ...carried } });
    }
  }
}

/**
 * The group for a listener; a new one if necessary.
 *
 * @param {Listener} listener
 * @param {Cursor | null} cursor
 * @returns {Group}
 */
function groupFor({ wish, topics }, cursor) {
  const { url, withCredentials, headers, asked } = wish;
  // Only the hub knows which topics a template matches, so streams with templates are not merged.
  const exact = wish.topics?.every((topic) => !topic.includes("{"));
  const key = JSON.stringify([url, withCredentials, asked, headers, exact || wish.topics]);
  for (let nth = 0; ; nth += 1) {
    const group = groups.get(key + nth) ?? new Group(key + nth, nth);
    if (group.hasRoom(wish, topics) && group.canRepeat(cursor)) return group;
  }
}

/** @param {string} url */
const bytesOf = (url) => {
  const { pathname, search } = new URL(url);
  return pathname.length + search.length;
};

/** Listeners that share a stream. */
class Group {
  /** @type {Set<Listener>} */
  #listeners = new Set();
  /** @type {Subscription | undefined} */
  #subscription;
  /** @type {Set<string>} */
  #topics = new Set();
  #run = `${name} ${number()}`;
  /** Events of this run. */
  #number = 0;
  /** @type {Cursor | null} the position at which this run began, in the previous run */
  #origin = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  #url = "";
  /** Whether the stream's events are new, rather than missed ones. */
  #isLive = false;
  /** The last number that was told to all listeners. */
  #told = 0;
  #isFlushing = false;
  /** Whether a request with a short URL succeeded after this long URL got no response. */
  #isShortTaken = false;
  #isAsking = false;

  /** Whether the stream has an ID: without one there is no position to resume from. */
  #hasId = false;
  #nth;

  /**
   * @param {string} key
   * @param {number} nth the index among the groups of the same hub and credentials
   */
  constructor(key, nth) {
    this.key = key;
    this.#nth = nth;
    groups.set(key, this);
  }

  get isOpen() {
    return this.#subscription?.readyState === OPEN;
  }

  #wanted() {
    return new Set([...this.#listeners].flatMap(({ topics }) => [...(topics ?? [])]));
  }

  /**
   * Whether the topics of one more listener fit into the URL.
   *
   * @param {Wish} wish
   * @param {Set<string> | null} topics
   */
  hasRoom({ url }, topics) {
    if (!topics || !this.#listeners.size) return true;
    const all = this.#wanted();
    for (const topic of topics) all.add(topic);
    let bytes = bytesOf(hubUrl(url, []));
    for (const topic of all) bytes += bytesOfTopic(topic);
    return all.size <= TOPICS_MAX && bytes <= this.#bytesMax(url);
  }

  /** @param {string} url */
  #bytesMax(url) {
    return urlBytesMax.get(new URL(url).origin) ?? URL_BYTES_MAX * (this.#nth < STREAMS_FREE ? 1 : 2);
  }

  /**
   * Whether the stream can go back to this position without repeating more events than tabs remember.
   *
   * @param {Cursor | null} cursor
   */
  canRepeat(cursor) {
    if (!cursor || !this.#listeners.size) return true;
    if (!cursor.run) return false;
    if (cursor.run === this.#run) return this.#number - cursor.number <= REPEAT_EVENTS_MAX;
    const before = this.#origin ? this.#origin.run : this.#subscription ? "" : cursor.run;
    return cursor.run === before && this.#number <= REPEAT_EVENTS_MAX;
  }

  /**
   * @param {Listener} listener
   * @param {Cursor | null} [cursor]
   */
  join(listener, cursor) {
    listener.group = this;
    this.#listeners.add(listener);
    const isCovered = this.#covers(listener);
    if (cursor) this.#goBack(cursor, isCovered);
    if (!this.#subscription || !isCovered) this.#schedule();
    else if (this.#isLive || (cursor && this.isOpen)) this.#welcome((one) => one === listener);
  }

  /**
   * Whether the stream was requested with all topics of this listener. Until then it receives nothing, since
   * the stream's position says nothing about its topics.
   *
   * @param {Listener} listener
   */
  #covers({ topics }) {
    return !topics || [...topics].every((topic) => this.#topics.has(topic));
  }

  /** @param {Listener} listener */
  leave(listener) {
    // After the end of the stream the listener was removed, and the key may belong to another group.
    if (!this.#listeners.delete(listener)) return;
    if (!this.#listeners.size) this.#close();
    else if (listener.topics) this.#schedule();
  }

  wake() {
    this.#subscription?.wake();
  }

  #close() {
    clearTimeout(this.#timer);
    this.#subscription?.close();
    groups.delete(this.key);
  }

  /**
   * Takes the stream back to the position of a returning listener. The other listeners receive some events
   * again, and recognize them.
   *
   * @param {Cursor} cursor
   * @param {boolean} isCovered whether the stream has the topics of that listener
   */
  #goBack(cursor, isCovered) {
    const origin = this.#origin;
    if (cursor.run === this.#run) {
      // Without its topics, the stream may pass their events before it is reopened.
      if (cursor.number === this.#number && isCovered) return;
    } else if (origin && origin.number <= cursor.number) {
      if (!this.#subscription) return;
      cursor = origin;
    }
    this.#flush();
    this.#begin(cursor);
  }

  /** @param {Cursor | null} origin the position of a new run */
  #begin(origin) {
    this.#origin = origin;
    this.#hasId = origin !== null;
    this.#isShortTaken = false;
    this.#run = `${name} ${number()}`;
    this.#number = this.#told = 0;
    this.#subscription?.close();
    this.#subscription = undefined;
    this.#schedule();
  }

  #schedule() {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      this.#reopen();
    }, COLLECT_MS);
  }

  #reopen() {
    const before = this.#topics;
    this.#topics = this.#wanted();
    const subscription = this.#subscription;
    const isSame = this.#topics.size === before.size && [...this.#topics].every((topic) => before.has(topic));
    if (subscription && isSame) return;
    this.#isLive = false;
    const [{ wish }] = /** @type {[Listener]} */ ([...this.#listeners]);
    const url = hubUrl(wish.url, wish.topics && this.#topics);
    if (subscription) {
      subscription.request.url = url;
      // If it waits for its next attempt, that will use the new URL.
      if (!subscription.isWaiting) subscription.reopen();
      return;
    }
    this.#say({ kind: "repeats" });
    const headers = wish.asked ? () => this.#askHeaders() : wish.headers;
    const policy = policyOf(wish.policy);
    this.#subscription = new Subscription(readWithFetch, { ...wish, url, headers, lastEventId: this.#origin?.id }, policy, this.#sink);
  }

  /** @type {import("./subscribe.js").Sink} */
  #sink = {
    onOpen: (url) => {
      this.#url = url;
      this.#isShortTaken = false;
      const { origin, bytes } = this.#asked();
      urlBytesTaken.set(origin, Math.max(urlBytesTaken.get(origin) ?? 0, bytes));
      // Without notices of the hub, all events count as new.
      this.#isLive = !this.#topics.size;
      this.#welcome((listener) => listener.isLive || this.#isLive);
    },
    onEvent: (event) => this.#receive(event),
    onFailure: (failed, attempt, delayMs) => {
      // Some servers refuse a long URL without a response. A network failure looks the same.
      if (failed.kind === "unreachable" && this.#isTooLong(0)) {
        if (this.#isShortTaken && this.#shorten(0)) return;
        void this.#askShort();
      }
      this.#flush();
      this.#isLive = false;
      for (const listener of this.#listeners) listener.isTold = false;
      this.#say({ kind: "failure", failed: plain(failed), attempt, delayMs });
    },
    onEnd: (failed, ending) => this.#end(failed, ending),
    onTrouble: (failed) => this.#say({ kind: "trouble", failed: plain(failed) }),
  };

  /** @param {(listener: Listener) => boolean} isMeant the listeners for which the stream is open now */
  #welcome(isMeant) {
    for (const listener of this.#listeners) {
      if (listener.isTold || !isMeant(listener) || !this.#covers(listener)) continue;
      listener.isTold = listener.isLive = true;
      listener.say({ kind: "open", url: this.#url, cursor: this.#cursor() });
    }
  }

  /** @param {DecodedEvent} event */
  #receive(event) {
    this.#number += 1;
    carried.events += 1;
    carried.characters += event.data.length;
    const isNotice = event.type === NOTICE_TYPE;
    const topics = topicsOf(event.fields);
    if (isNotice) {
      const { kind } = heedNotice(event.data, this.#subscription);
      if (kind === "live") {
        this.#isLive = true;
        // Live listeners have received the missed events; new listeners begin here.
        this.#flush();
        this.#welcome(() => true);
      }
      if (NOTICES_OF_STREAM.includes(kind)) return;
    } else if (this.#topics.size && !topics.length) {
      return this.#finish(failure("unsupported", "the hub's events have no topics"), "refused");
    }
    for (const listener of this.#listeners) {
      const wanted = listener.topics;
      const isFor = isNotice || !wanted || wanted.has("*") || topics.some((topic) => wanted.has(topic));
      if (listener.isLive && isFor) listener.outgoing.push(event);
    }
    // Events of one chunk are sent to each listener in one message.
    if (!this.#isFlushing) queueMicrotask(() => this.#flush());
    this.#isFlushing = true;
  }

  /** @returns {Cursor | null} */
  #cursor() {
    const id = this.#subscription?.lastEventId ?? "";
    this.#hasId ||= id !== "";
    return this.#hasId ? { run: this.#run, number: this.#number, id } : null;
  }

  /** @param {boolean} [isDue] whether listeners without events are also told the position */
  #flush(isDue = this.#number - this.#told >= CURSOR_EVENTS) {
    this.#isFlushing = false;
    const cursor = this.#cursor();
    if (isDue) this.#told = this.#number;
    for (const listener of this.#listeners) {
      if (listener.isLive && (isDue || listener.outgoing.length)) listener.deliver(cursor);
    }
  }

  tellCursor() {
    if (this.#number > this.#told && this.isOpen) this.#flush(true);
  }

  /**
   * @param {Failure} failed
   * @param {Ending} ending
   */
  #end(failed, ending) {
    this.#flush();
    const doubtful = [...this.#listeners].filter(({ isLive }) => !isLive);
    const size = this.#listeners.size;
    if (failed.status > 0 && this.#shorten(failed.status)) return;
    if (ending !== "refused" || !this.#topics.size || !doubtful.length || size === 1) return this.#finish(failed, ending);
    // The topic of one listener may have been refused, which must not end the stream of the others.
    const group = new Group(`${this.key} ${number()}`, this.#nth);
    for (const listener of doubtful.slice(doubtful.length < size ? 0 : Math.ceil(size / 2))) {
      this.#listeners.delete(listener);
      group.join(listener);
    }
    this.#begin(this.#cursor());
  }

  /** The origin and the length of the requested URL. */
  #asked() {
    const [listener] = this.#listeners;
    const { url, topics } = /** @type {Listener} */ (listener).wish;
    return { origin: new URL(url).origin, bytes: topics ? bytesOf(hubUrl(url, this.#topics)) : 0 };
  }

  /** Requests a short URL, to know at the next failure whether the length is the cause. */
  async #askShort() {
    if (this.#isAsking) return;
    const subscription = this.#subscription;
    const [listener] = this.#listeners;
    const { url, withCredentials } = /** @type {Listener} */ (listener).wish;
    /** @type {RequestInit} */
    const init = { cache: "no-store", credentials: withCredentials ? "include" : "same-origin" };
    this.#isAsking = true;
    const isTaken = await knock(fetch, hubUrl(url, []), init, new AbortController().signal);
    this.#isAsking = false;
    if (subscription === this.#subscription && !this.isOpen) this.#isShortTaken = isTaken;
  }

  /**
   * @param {number} status of the response; 0 without one
   * @returns {boolean} whether the length of the URL may be the cause
   */
  #isTooLong(status) {
    const { origin, bytes } = this.#asked();
    return (
      TOO_LONG.includes(status) ? bytes > URL_BYTES_MIN
      : status === 400 ? bytes > BAD_REQUEST_BYTES_MIN
      : status === 0 && bytes > URL_BYTES_MAX / 2 && bytes > (urlBytesTaken.get(origin) ?? 0)
    );
  }

  /**
   * If the URL may be too long for a proxy in front of the hub, spreads the listeners over streams with
   * shorter URLs. Live listeners are placed first, so that they stay here.
   *
   * @param {number} status of the response
   * @returns {boolean} whether the length may be the cause, and there are listeners to spread
   */
  #shorten(status) {
    const { origin, bytes } = this.#asked();
    if (!this.#isTooLong(status) || this.#listeners.size < 2) return false;
    urlBytesMax.set(origin, Math.max(URL_BYTES_MIN, Math.min(urlBytesMax.get(origin) ?? Infinity, Math.floor(bytes / 2))));
    this.#flush();
    const all = [...this.#listeners].sort((a, b) => Number(b.isLive) - Number(a.isLive));
    const cursor = this.#cursor();
    this.#listeners.clear();
    for (const listener of all) {
      if (this.hasRoom(listener.wish, listener.topics)) this.#listeners.add(listener);
      else if (!listener.isLive) groupFor(listener, null).join(listener);
      else {
        // It joins another stream and tells it its position.
        listener.group = undefined;
        listeners.delete(listener);
        listener.say({ kind: "gone", why: `moved to a stream with a shorter URL` });
      }
    }
    this.#begin(cursor);
    return true;
  }

  /**
   * @param {Failure} failed
   * @param {Ending} ending
   */
  #finish(failed, ending) {
    this.#say({ kind: "end", failed: plain(failed), ending });
    for (const listener of this.#listeners) listeners.delete(listener);
    this.#listeners.clear();
    this.#close();
  }

  /** @param {object} message */
  #say(message) {
    for (const listener of this.#listeners) listener.say(message);
  }

  /** Asks one tab after another, because a frozen tab does not answer. */
  async #askHeaders() {
    let why = "no tab answered";
    for (const listener of [...this.#listeners].reverse()) {
      const { headers, error = why } = await listener.askHeaders();
      if (headers) return headers;
      why = error;
    }
    throw new Error(why);
  }
}

/**
 * A failure in a form that can be sent as a message.
 *
 * @param {Failure} failed
 * @returns {Failure}
 */
function plain(failed) {
  try {
    structuredClone(failed.cause);
    return failed;
  } catch {
    return { ...failed, cause: wordsOf(failed.cause) };
  }
}

// Held while this worker runs: listeners wait for it.
const { locks } = navigator;
/** @type {Promise<string>} the name of the lock; empty if there is none */
const locked = new Promise((resolve) => {
  if (locks) locks.request(name, () => new Promise(() => resolve(name))).catch(() => resolve(""));
  else resolve("");
});
let hasLock = false;
void locked.then((lock) => (hasLock = lock !== ""));

setInterval(() => {
  for (const group of groups.values()) group.tellCursor();
  for (const listener of listeners) {
    if (listener.hasLocks && hasLock) continue;
    listener.say({ kind: "beat" });
    if (!listener.hasLocks && Date.now() - listener.heardAt > SILENCE_MS_MAX) listener.leave();
  }
}, BEAT_MS);

/** @type {any} */ (globalThis).onconnect = (/** @type {MessageEvent} */ event) => {
  for (const port of event.ports) new Listener(port);
};
