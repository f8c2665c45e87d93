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
import { hubUrl } from "./topics.js";

/** So long changes of the topics are collected before the stream is reopened. */
const COLLECT_MS = 50;
/** A hub takes 1000, and what stands in front of it may take no such URL. */
const TOPICS_MAX = 500;
/** A listener that comes back to a stream further than this ahead gets a stream of its own. */
const REPEAT_EVENTS_MAX = 2000;
/** A listener without events of its own is told how far the stream is at least this often. */
const CURSOR_EVENTS = 200;
const BEAT_MS = 1000;
/** A tab that has not taken so many events is frozen, and has to come back for the rest. */
const UNTAKEN_EVENTS_MAX = 20_000;
const UNTAKEN_CHARACTERS_MAX = 32 * 1024 * 1024;
/** Where there are no locks: a tab that says nothing for so long is gone. */
const TAB_SILENCE_MS_MAX = 300_000;
const HEADERS_MS_MAX = 5000;
/** What a hub says about its stream only to whoever reads all of it. */
const NOTICES_OF_STREAM = new Set(["live", "resumed", "cursor", "slow"]);

const identity = `${Date.now()} ${Math.random()}`;
const statistics = { events: 0, characters: 0 };
/** @type {Set<Tab>} */
const tabs = new Set();
/** @type {Map<string, Group>} */
const groups = new Map();
/** @type {Map<number, (headers: any) => void>} */
const questions = new Map();
let lastNumber = 0;
const nextNumber = () => (lastNumber += 1);

/**
 * @typedef {import("./share.js").Cursor} Cursor
 * @typedef {import("./share.js").SharedSubscription["wish"]} Wish
 * @typedef {import("./failure.js").Failure} Failure
 * @typedef {import("./decode.js").DecodedEvent} DecodedEvent
 *
 * @typedef {object} Listener
 * @property {Tab} tab
 * @property {number} number in its tab
 * @property {Wish} wish
 * @property {Set<string> | null} topics `null` is all that comes
 * @property {Cursor | null} cursor from where it is to go on
 * @property {boolean} live whether what comes is for it; a new one waits for what is live
 * @property {boolean} told whether it knows that the stream is open
 * @property {Group | null} group
 */

/** One page's port. */
class Tab {
  /** @type {Map<number, Listener>} */
  listeners = new Map();
  heardAt = Date.now();
  hasLocks = false;
  #port;
  #untaken = 0;
  #untakenCharacters = 0;
  #gone = false;

  /** @param {MessagePort} port */
  constructor(port) {
    this.#port = port;
    port.onmessage = ({ data }) => this.#receive(data);
  }

  /** @param {object} message */
  say(message) {
    this.#port.postMessage(message);
  }

  /**
   * @param {number[]} listeners
   * @param {{ to: number[], event: DecodedEvent }[]} events
   * @param {Cursor} cursor
   */
  deliver(listeners, events, cursor) {
    this.#untaken += events.length;
    for (const { event } of events) this.#untakenCharacters += event.data.length;
    this.say({ kind: "events", listeners, events, cursor });
    if (this.#untaken > UNTAKEN_EVENTS_MAX || this.#untakenCharacters > UNTAKEN_CHARACTERS_MAX) this.drop();
  }

  drop() {
    this.#gone = true;
    tabs.delete(this);
    for (const listener of this.listeners.values()) listener.group?.leave(listener);
    this.listeners.clear();
  }

  /** @param {any} message */
  #receive(message) {
    this.heardAt = Date.now();
    // It was given up, and is there after all: it has to say anew how far it has come.
    if (this.#gone && message.kind !== "bye") return this.say({ kind: "gone" });
    switch (message.kind) {
      case "hello":
        tabs.add(this);
        this.hasLocks = message.lock !== null;
        // Granted when the tab has closed, crashed, or left.
        if (message.lock) navigator.locks.request(message.lock, () => this.drop());
        return void locked.then(() => this.say({ kind: "hello", lock: identity }));
      case "join": {
        const { listener: number, wish, cursor } = message;
        const topics = wish.topics ? new Set(/** @type {string[]} */ (wish.topics)) : null;
        /** @type {Listener} */
        const listener = { tab: this, number, wish, topics, cursor, live: cursor !== null, told: false, group: null };
        this.listeners.set(number, listener);
        return groupFor(listener).join(listener);
      }
      case "leave": {
        const listener = this.listeners.get(message.listener);
        this.listeners.delete(message.listener);
        return listener?.group?.leave(listener);
      }
      case "took":
        this.#untaken -= message.count;
        if (this.#untaken <= 0) this.#untakenCharacters = 0;
        return;
      case "headers":
        return questions.get(message.question)?.(message);
      case "wake":
        for (const group of groups.values()) group.wake();
        return;
      case "statistics": {
        const connections = [...groups.values()].filter((group) => group.isOpen).length;
        return this.say({ kind: "statistics", statistics: { tabs: tabs.size, connections, ...statistics } });
      }
      case "bye":
        this.drop();
        this.#port.close();
    }
  }
}

/**
 * The group that a listener belongs to, new or not.
 *
 * @param {Listener} listener
 * @returns {Group}
 */
function groupFor({ wish, topics, cursor }) {
  const { url, withCredentials, headers = null, asked } = wish;
  const exact = topics && [...topics].every((topic) => !topic.includes("{"));
  // What a template matches is for the hub to say, so these have a stream of their own.
  const key = JSON.stringify([url, withCredentials, asked, headers, exact ? "topics" : wish.topics]);
  for (let number = 0; ; number += 1) {
    const group = groups.get(`${key}${number}`);
    if (!group) return new Group(`${key}${number}`);
    if (group.hasRoom(topics) && group.canRepeat(cursor)) return group;
  }
}

/** Listeners that have one stream. */
class Group {
  key;
  /** @type {Set<Listener>} */
  #listeners = new Set();
  /** @type {Subscription | undefined} */
  #subscription;
  /** @type {import("./subscribe.js").StreamRequest} */
  #request = { url: "" };
  /** @type {Set<string>} */
  #topics = new Set();
  #run = `${identity} ${nextNumber()}`;
  /** Events of this run. */
  #number = 0;
  /** @type {Cursor | null} from where this run began, in the numbers of the run before */
  #origin = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  #url = "";
  /** Whether what the stream brings is new, not what was missed. */
  #live = false;
  #told = 0;
  /** @type {{ listeners: Listener[], event: DecodedEvent }[]} */
  #outgoing = [];

  /** @param {string} key */
  constructor(key) {
    this.key = key;
    groups.set(key, this);
  }

  get isOpen() {
    return this.#subscription?.readyState === OPEN;
  }

  /** @param {Set<string> | null} topics */
  hasRoom(topics) {
    return !topics || this.#topics.size === 0 || new Set([...this.#topics, ...topics]).size <= TOPICS_MAX;
  }

  /**
   * Whether the stream can go back to there, without repeating more than tabs remember.
   *
   * @param {Cursor | null} cursor
   */
  canRepeat(cursor) {
    if (!cursor) return true;
    if (cursor.run === "") return false;
    if (cursor.run === this.#run) return this.#number - cursor.number <= REPEAT_EVENTS_MAX;
    if (!this.#subscription) return this.#origin === null || this.#origin.run === cursor.run;
    return cursor.run === this.#origin?.run && this.#number <= REPEAT_EVENTS_MAX;
  }

  /** @param {Listener} listener */
  join(listener) {
    const { cursor, wish } = listener;
    listener.group = this;
    this.#listeners.add(listener);
    if (!this.#subscription) this.#request = this.#requestOf(wish);
    const known = !listener.topics || [...listener.topics].every((topic) => this.#topics.has(topic));
    if (cursor) this.#goBack(cursor);
    if (!this.#subscription || !known) this.#schedule();
    else if (this.#live || (cursor && this.isOpen)) this.#welcome([listener]);
  }

  /** @param {Listener} listener */
  leave(listener) {
    this.#listeners.delete(listener);
    listener.group = null;
    if (this.#listeners.size === 0) return this.#close();
    if (listener.topics) this.#schedule();
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
    const { run, number } = cursor;
    const origin = this.#origin;
    if (run === this.#run) {
      if (number === this.#number) return;
    } else if (this.#subscription && origin) {
      if (number > origin.number) cursor = origin;
    } else if (origin && origin.number <= number) {
      return;
    }
    this.#flush();
    this.#origin = cursor;
    this.#run = `${identity} ${nextNumber()}`;
    this.#number = 0;
    this.#told = 0;
    this.#subscription?.close();
    this.#subscription = undefined;
  }

  #schedule() {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      this.#reopen();
    }, COLLECT_MS);
  }

  #reopen() {
    /** @type {Set<string>} */
    const wanted = new Set();
    for (const { topics } of this.#listeners) for (const topic of topics ?? []) wanted.add(topic);
    const same = wanted.size === this.#topics.size && [...wanted].every((topic) => this.#topics.has(topic));
    this.#topics = wanted;
    const [{ wish }] = /** @type {[Listener]} */ ([...this.#listeners]);
    const url = hubUrl(wish.url, wish.topics && wanted);
    if (!this.#subscription) return this.#open(url);
    if (same) return;
    this.#request.url = url;
    this.#live = false;
    // What is waiting for its next attempt makes that one with the new URL.
    if (!this.#subscription.isWaiting) this.#subscription.reopen();
  }

  /** @param {string} url */
  #open(url) {
    const [{ wish }] = /** @type {[Listener]} */ ([...this.#listeners]);
    this.#request.url = url;
    this.#live = false;
    for (const { tab, numbers } of this.#byTab((listener) => listener.live)) tab.say({ kind: "repeats", listeners: numbers });
    const policy = { ...DEFAULT_POLICY, ...wish.policy };
    this.#subscription = new Subscription(readWithFetch, this.#request, policy, this.#sink, this.#origin?.id);
  }

  /** @type {import("./subscribe.js").Sink} */
  #sink = {
    onOpen: (url) => {
      this.#url = url;
      const hasTopics = this.#topics.size > 0;
      // Without the hub's notices nobody knows what is new: all of it, then.
      if (!hasTopics) this.#live = true;
      this.#welcome([...this.#listeners].filter(({ live }) => live || !hasTopics));
    },
    onEvent: (event) => this.#receive(event),
    onFailure: (failed, attempt, delayMs) => {
      this.#flush();
      this.#live = false;
      for (const listener of this.#listeners) listener.told = false;
      this.#sayAll({ kind: "failure", failed: plain(failed), attempt, delayMs });
    },
    onEnd: (failed, ending) => this.#end(/** @type {Failure} */ (failed), ending),
  };

  /** @param {Listener[]} listeners to which the stream is open from now on */
  #welcome(listeners) {
    const fresh = new Set(listeners.filter(({ told }) => !told));
    for (const listener of fresh) {
      listener.told = true;
      listener.live = true;
    }
    for (const { tab, numbers } of this.#byTab((listener) => fresh.has(listener))) {
      tab.say({ kind: "open", listeners: numbers, url: this.#url, cursor: this.#cursor() });
    }
  }

  /** @param {DecodedEvent} event */
  #receive(event) {
    this.#number += 1;
    statistics.events += 1;
    statistics.characters += event.data.length;
    const isNotice = event.type === NOTICE_TYPE;
    if (isNotice && this.#heed(event)) return;
    const topics = event.fields?.filter(([name]) => name === "topic").map(([, topic]) => topic) ?? [];
    if (this.#topics.size > 0 && !isNotice && topics.length === 0) {
      const message = "The hub does not say what its events are about; give the topics in the URL";
      return this.#finish(failure("unsupported", message), "refused");
    }
    const listeners = [...this.#listeners].filter(
      (listener) => listener.live && (isNotice || !listener.topics || isFor(listener.topics, topics)),
    );
    if (this.#outgoing.length === 0) queueMicrotask(() => this.#flush());
    this.#outgoing.push({ listeners, event });
  }

  /**
   * @param {DecodedEvent} event
   * @returns {boolean} whether it is for nobody else
   */
  #heed(event) {
    const notice = heedNotice(event.data, this.#subscription);
    if (notice.kind === "live") {
      this.#live = true;
      // Who was live got what came before; who is new begins here.
      this.#flush();
      this.#welcome([...this.#listeners]);
    }
    return NOTICES_OF_STREAM.has(notice.kind);
  }

  /** @returns {Cursor} */
  #cursor() {
    return { run: this.#run, number: this.#number, id: this.#subscription?.lastEventId ?? "" };
  }

  /**
   * Hands over what one piece of the stream brought, in one message to each tab.
   *
   * @param {boolean} [isDue] whether those too are told how far the stream is that have no event
   */
  #flush(isDue = this.#number - this.#told >= CURSOR_EVENTS) {
    const outgoing = this.#outgoing;
    this.#outgoing = [];
    const cursor = this.#cursor();
    /** @type {Map<Tab, { to: number[], event: DecodedEvent }[]>} */
    const byTab = new Map();
    for (const { listeners, event } of outgoing) {
      /** @type {Map<Tab, number[]>} */
      const to = new Map();
      for (const { tab, number } of listeners) {
        const numbers = to.get(tab);
        if (numbers) numbers.push(number);
        else to.set(tab, [number]);
      }
      for (const [tab, numbers] of to) {
        const events = byTab.get(tab) ?? [];
        byTab.set(tab, events);
        events.push({ to: numbers, event });
      }
    }
    if (isDue) this.#told = this.#number;
    for (const { tab, numbers } of this.#byTab((listener) => listener.live)) {
      const events = byTab.get(tab);
      if (events || isDue) tab.deliver(numbers, events ?? [], cursor);
    }
  }

  /** Tells all how far the stream is. */
  tellCursor() {
    if (this.#number > this.#told && this.isOpen) this.#flush(true);
  }

  /**
   * @param {Failure} failed
   * @param {import("./subscribe.js").Ending} ending
   */
  #end(failed, ending) {
    this.#flush();
    const lastEventId = this.#subscription?.lastEventId;
    this.#subscription = undefined;
    const listeners = [...this.#listeners];
    const doubtful = listeners.filter(({ live }) => !live);
    if (ending !== "refused" || this.#topics.size === 0 || doubtful.length === 0 || listeners.length === 1) {
      return this.#finish(failed, ending);
    }
    // One listener's topic may be what was refused, and is not to cost the others their stream.
    const halves =
      doubtful.length < listeners.length ? [doubtful] : [doubtful.slice(0, doubtful.length / 2), doubtful.slice(doubtful.length / 2)];
    for (const half of halves) {
      const group = new Group(`${this.key} ${nextNumber()}`);
      for (const listener of half) {
        this.#listeners.delete(listener);
        group.join(listener);
      }
    }
    if (this.#listeners.size === 0) return this.#close();
    this.#origin = lastEventId ? { run: this.#run, number: this.#number, id: lastEventId } : null;
    this.#run = `${identity} ${nextNumber()}`;
    this.#schedule();
  }

  /**
   * @param {Failure} failed
   * @param {import("./subscribe.js").Ending} ending
   */
  #finish(failed, ending) {
    this.#sayAll({ kind: "end", failed: plain(failed), ending });
    for (const { tab, number } of this.#listeners) tab.listeners.delete(number);
    this.#listeners.clear();
    this.#close();
  }

  /** @param {object} message */
  #sayAll(message) {
    for (const { tab, numbers } of this.#byTab(() => true)) tab.say({ ...message, listeners: numbers });
  }

  /** @param {(listener: Listener) => boolean} wanted */
  #byTab(wanted) {
    /** @type {Map<Tab, number[]>} */
    const found = new Map();
    for (const listener of this.#listeners) {
      if (!wanted(listener)) continue;
      const numbers = found.get(listener.tab);
      if (numbers) numbers.push(listener.number);
      else found.set(listener.tab, [listener.number]);
    }
    return [...found].map(([tab, numbers]) => ({ tab, numbers }));
  }

  /**
   * @param {Wish} wish
   * @returns {import("./subscribe.js").StreamRequest}
   */
  #requestOf({ url, withCredentials, headers, asked }) {
    if (!asked) return { url, withCredentials, headers: /** @type {any} */ (headers ?? {}) };
    return { url, withCredentials, headers: () => this.#askHeaders() };
  }

  /** Asks one tab after another: a frozen one doesn't answer. */
  async #askHeaders() {
    let message = "no tab answered that could make them";
    for (const { tab, number } of [...this.#listeners].reverse()) {
      const question = nextNumber();
      const answer = await new Promise((resolve) => {
        questions.set(question, resolve);
        setTimeout(resolve, HEADERS_MS_MAX, {});
        tab.say({ kind: "headers", listener: number, question });
      });
      questions.delete(question);
      if (answer.headers) return answer.headers;
      message = answer.error ?? message;
    }
    throw new Error(message);
  }
}

/**
 * @param {Set<string>} wanted
 * @param {string[]} topics of an event
 */
function isFor(wanted, topics) {
  return wanted.has("*") || topics.some((topic) => wanted.has(topic));
}

/**
 * A failure as a message can carry it.
 *
 * @param {Failure} failed
 * @returns {Failure}
 */
function plain({ cause, ...failed }) {
  return cause === undefined ? failed : { ...failed, cause: String(cause) };
}

// Held for as long as this worker lives: tabs wait for it.
const { locks } = navigator;
const locked = new Promise((resolve) => {
  if (locks) locks.request(identity, () => new Promise(() => resolve(undefined)));
  else resolve(undefined);
});

setInterval(() => {
  const now = Date.now();
  for (const group of groups.values()) group.tellCursor();
  for (const tab of tabs) {
    if (tab.hasLocks) continue;
    if (now - tab.heardAt > TAB_SILENCE_MS_MAX) tab.drop();
    else tab.say({ kind: "beat" });
  }
}, BEAT_MS);

/** @type {any} */ (globalThis).onconnect = (/** @type {MessageEvent} */ event) => {
  const [port] = event.ports;
  if (port) new Tab(port);
};
