// One connection for all tabs: the SharedWorker that holds it.
//
// Listeners of one hub, with the same credentials, form a group, and a group has one stream: of
// all the topics that its listeners want. When these change, the stream is reopened after the
// last event that came, so that nothing is missed and nothing comes twice.

import { readWithFetch } from "./connect.js";
import { failure } from "./failure.js";
import { heedNotice, NOTICE_TYPE } from "./notice.js";
import { DEFAULT_POLICY } from "./reconnect.js";
import { OPEN, Subscription } from "./subscribe.js";
import { hubUrl, topicsOf } from "./topics.js";

/** So long changes of the topics are collected before the stream is reopened. */
const COLLECT_MS = 50;
/** A hub takes 1000, and what stands in front of it may take no such URL. */
const TOPICS_MAX = 500;
/** A listener that comes back to a stream further than this ahead gets a stream of its own. */
const REPEAT_EVENTS_MAX = 2000;
/** A listener without events of its own is told how far the stream is at least this often. */
const CURSOR_EVENTS = 200;
const BEAT_MS = 1000;
/** A listener that has not taken so much is frozen, and has to come back for the rest. */
const UNTAKEN_CHARACTERS_MAX = 32 * 1024 * 1024;
const EVENT_CHARACTERS = 500;
/** Where there are no locks: a tab that says nothing for so long is gone. */
const SILENCE_MS_MAX = 300_000;
const HEADERS_MS_MAX = 5000;
/** What a hub says about its stream only to whoever reads all of it. */
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
/** A number that nothing else has. */
const number = () => (lastNumber += 1);
const carried = { events: 0, characters: 0 };
/** @type {Set<Listener>} */
const listeners = new Set();
/** @type {Map<string, Group>} */
const groups = new Map();

/** One source of one tab. */
class Listener {
  /** @type {Wish} */
  wish = /** @type {any} */ (null);
  /** @type {Set<string> | null} `null` is all that comes */
  topics = null;
  /** Whether what comes is for it; a new one waits for what is live. */
  isLive = false;
  /** Whether it knows that the stream is open. */
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

  /** @param {Cursor} cursor */
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
      this.#questions.set(question, resolve);
      setTimeout(resolve, HEADERS_MS_MAX, {});
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
      // Granted when the tab has closed, crashed, or left.
      if (lock) navigator.locks.request(lock, () => this.leave());
      locked.then(() => this.say({ kind, lock: name }));
      return groupFor(this, cursor).join(this, cursor);
    }
    if (kind === "bye") {
      this.leave();
      return this.#port.close();
    }
    // It was given up, and is there after all: it has to say anew how far it has come.
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
 * The group that a listener belongs to, new or not.
 *
 * @param {Listener} listener
 * @param {Cursor | null} cursor
 * @returns {Group}
 */
function groupFor({ wish, topics }, cursor) {
  const { url, withCredentials, headers, asked } = wish;
  // What a template matches is for the hub to say, so these have a stream of their own.
  const exact = wish.topics?.every((topic) => !topic.includes("{"));
  const key = JSON.stringify([url, withCredentials, asked, headers, exact || wish.topics]);
  for (let nth = 0; ; nth += 1) {
    const group = groups.get(key + nth) ?? new Group(key + nth);
    if (group.hasRoom(topics) && group.canRepeat(cursor)) return group;
  }
}

/** Listeners that have one stream. */
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
  /** @type {Cursor | null} from where this run began, in the numbers of the run before */
  #origin = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  #url = "";
  /** Whether what the stream brings is new, not what was missed. */
  #isLive = false;
  /** The number that all have been told. */
  #told = 0;
  #isFlushing = false;

  /** @param {string} key */
  constructor(key) {
    this.key = key;
    groups.set(key, this);
  }

  get isOpen() {
    return this.#subscription?.readyState === OPEN;
  }

  #wanted() {
    return new Set([...this.#listeners].flatMap(({ topics }) => [...(topics ?? [])]));
  }

  /** @param {Set<string> | null} topics */
  hasRoom(topics) {
    return !topics || !this.#listeners.size || new Set([...this.#wanted(), ...topics]).size <= TOPICS_MAX;
  }

  /**
   * Whether the stream can go back to there, without repeating more than tabs remember.
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
    const isKnown = !listener.topics || [...listener.topics].every((topic) => this.#topics.has(topic));
    if (cursor) this.#goBack(cursor);
    if (!this.#subscription || !isKnown) this.#schedule();
    else if (this.#isLive || (cursor && this.isOpen)) this.#welcome((one) => one === listener);
  }

  /** @param {Listener} listener */
  leave(listener) {
    // One that was told of the end is none any more, and the key may be another group's.
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
   * Takes the stream back to where somebody is who comes back: the others get some events again,
   * and know them.
   *
   * @param {Cursor} cursor
   */
  #goBack(cursor) {
    const origin = this.#origin;
    if (cursor.run === this.#run) {
      if (cursor.number === this.#number) return;
    } else if (origin && origin.number <= cursor.number) {
      if (!this.#subscription) return;
      cursor = origin;
    }
    this.#flush();
    this.#begin(cursor);
  }

  /** @param {Cursor | null} origin of a new run, which is opened soon */
  #begin(origin) {
    this.#origin = origin;
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
      // What waits for its next attempt makes that one with the new URL.
      if (!subscription.isWaiting) subscription.reopen();
      return;
    }
    this.#say({ kind: "repeats" });
    const headers = wish.asked ? () => this.#askHeaders() : wish.headers;
    const policy = { ...DEFAULT_POLICY, ...wish.policy };
    this.#subscription = new Subscription(readWithFetch, { ...wish, url, headers, lastEventId: this.#origin?.id }, policy, this.#sink);
  }

  /** @type {import("./subscribe.js").Sink} */
  #sink = {
    onOpen: (url) => {
      this.#url = url;
      // Without the hub's notices nobody knows what is new: all of it, then.
      this.#isLive = !this.#topics.size;
      this.#welcome((listener) => listener.isLive || this.#isLive);
    },
    onEvent: (event) => this.#receive(event),
    onFailure: (failed, attempt, delayMs) => {
      this.#flush();
      this.#isLive = false;
      for (const listener of this.#listeners) listener.isTold = false;
      this.#say({ kind: "failure", failed: plain(failed), attempt, delayMs });
    },
    onEnd: (failed, ending) => this.#end(failed, ending),
  };

  /** @param {(listener: Listener) => boolean} isMeant to whom the stream is open from now on */
  #welcome(isMeant) {
    for (const listener of this.#listeners) {
      if (listener.isTold || !isMeant(listener)) continue;
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
        // Who was live got what came before; who is new begins here.
        this.#flush();
        this.#welcome(() => true);
      }
      if (NOTICES_OF_STREAM.includes(kind)) return;
    } else if (this.#topics.size && !topics.length) {
      return this.#finish(failure("unsupported", "no topics in events"), "refused");
    }
    for (const listener of this.#listeners) {
      const wanted = listener.topics;
      const isFor = isNotice || !wanted || wanted.has("*") || topics.some((topic) => wanted.has(topic));
      if (listener.isLive && isFor) listener.outgoing.push(event);
    }
    // What one piece of the stream brings goes to each in one message.
    if (!this.#isFlushing) queueMicrotask(() => this.#flush());
    this.#isFlushing = true;
  }

  /** @returns {Cursor} */
  #cursor() {
    return { run: this.#run, number: this.#number, id: this.#subscription?.lastEventId ?? "" };
  }

  /** @param {boolean} [isDue] whether those too are told how far the stream is that have no event */
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
    if (ending !== "refused" || !this.#topics.size || !doubtful.length || size === 1) return this.#finish(failed, ending);
    // One listener's topic may be what was refused, and is not to cost the others their stream.
    const group = new Group(`${this.key} ${number()}`);
    for (const listener of doubtful.slice(doubtful.length < size ? 0 : Math.ceil(size / 2))) {
      this.#listeners.delete(listener);
      group.join(listener);
    }
    const cursor = this.#cursor();
    this.#begin(cursor.id ? cursor : null);
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

  /** Asks one tab after another: a frozen one doesn't answer. */
  async #askHeaders() {
    let why = "no answer";
    for (const listener of [...this.#listeners].reverse()) {
      const { headers, error = why } = await listener.askHeaders();
      if (headers) return headers;
      why = error;
    }
    throw new Error(why);
  }
}

/**
 * A failure as a message can carry it.
 *
 * @param {Failure} failed
 * @returns {Failure}
 */
function plain(failed) {
  return { ...failed, cause: failed.cause && String(failed.cause) };
}

// Held for as long as this worker lives: listeners wait for it.
const { locks } = navigator;
const locked = new Promise((resolve) => (locks ? locks.request(name, () => new Promise(() => resolve(0))) : resolve(0)));

setInterval(() => {
  for (const group of groups.values()) group.tellCursor();
  for (const listener of listeners) {
    if (listener.hasLocks) continue;
    listener.say({ kind: "beat" });
    if (Date.now() - listener.heardAt > SILENCE_MS_MAX) listener.leave();
  }
}, BEAT_MS);

/** @type {any} */ (globalThis).onconnect = (/** @type {MessageEvent} */ event) => {
  for (const port of event.ports) new Listener(port);
};
