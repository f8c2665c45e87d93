// One connection for all tabs: a tab's side of it. The connection is held by `worker.js`, a
// SharedWorker.
//
// The worker dies, silently, with the tab that created it when that one crashes. Each listener
// waits for a lock that the worker holds as long as it lives; where there are no locks, it listens
// for a beat. Then whoever notices makes a new one, and says how far it has come.

import { failure } from "./failure.js";
import { watchPage } from "./lifecycle.js";
import { isHttp1 } from "./protocol.js";
import { CLOSED, CONNECTING, OPEN } from "./subscribe.js";

/** A worker that hasn't spoken by then, which doubles with each try, is asked for again: it may be a dead one. */
const HELLO_MS = 500;
const TRIES_MAX = 5;
/** The worker beats every second, where there are no locks. */
const SILENCE_MS_MAX = 2000;
const LOOK_MS = 500;
/** So many ids are remembered, to know a repeat. The worker repeats 2000 events at most. */
const RECENT_MAX = 3000;

const GONE = "its tab is gone";
/** This tab, among those that share. */
const tab = Math.random();
/** @type {Set<SharedSubscription>} */
const subscriptions = new Set();

/**
 * How far a listener has come: everything for it up to the event `number` of the worker's `run`,
 * whose id is `id`. Numbers of one run have the stream's order.
 *
 * @typedef {{ run: string, number: number, id: string }} Cursor
 *
 * @typedef {object} ShareOptions
 * @property {string[]} [topics]
 * @property {string} [identity]
 * @property {string | URL} [worker]
 * @property {boolean | Partial<import("./reconnect.js").Policy>} [reconnect]
 * @property {boolean} onlyHttp1
 * @property {(why: unknown) => void} onUnshared from now on the tab needs a stream of its own
 */

/**
 * Joins the connection that all tabs share.
 *
 * @param {import("./subscribe.js").StreamRequest} request without the topics
 * @param {ShareOptions} options
 * @param {import("./subscribe.js").Sink} sink
 * @returns {Promise<SharedSubscription | null>} `null` where a stream of its own is as good
 */
export async function share(request, options, sink) {
  return options.onlyHttp1 && !(await isHttp1(request.url)) ? null : new SharedSubscription(request, options, sink);
}

/**
 * What the shared connection carries, for pages that show it.
 *
 * @returns {Promise<{ tabs: number, connections: number, events: number, characters: number } | null>}
 *   `null` if this tab shares none
 */
export async function sharing() {
  for (const subscription of subscriptions) return subscription.ask();
  return null;
}

/** One listener's part of the shared connection. */
export class SharedSubscription {
  /** @type {0 | 1 | 2} */
  readyState = CONNECTING;
  lastEventId;
  #request;
  #options;
  #sink;
  #unwatch;
  /** @type {Cursor | null} */
  #cursor;
  /** Ends what belongs to the port: locks, timers. */
  #stop = new AbortController();
  /** @type {MessagePort | undefined} */
  #port;
  #tries = 0;
  #recent = new Set();
  /** Whether what comes may have come before. */
  #isReturning = false;
  #heardAt = 0;
  #answer = (/** @type {any} */ _) => {};

  /**
   * @param {import("./subscribe.js").StreamRequest} request
   * @param {ShareOptions} options
   * @param {import("./subscribe.js").Sink} sink
   */
  constructor(request, options, sink) {
    this.#request = request;
    this.#options = options;
    this.#sink = sink;
    const id = (this.lastEventId = request.lastEventId ?? "");
    // Of an id that somebody else gave, nobody knows where in the stream it stands.
    this.#cursor = id ? { run: "", number: 0, id } : null;
    this.#unwatch = watchPage(this);
    subscriptions.add(this);
    this.#connect();
  }

  close() {
    this.readyState = CLOSED;
    this.suspend();
    this.#unwatch();
    subscriptions.delete(this);
  }

  suspend() {
    this.#say({ kind: "bye" });
    this.#stop.abort();
    this.#port?.close();
  }

  resume() {
    this.#again("page left");
  }

  wake() {
    this.#say({ kind: "wake" });
  }

  /** @returns {Promise<any>} */
  ask() {
    this.#say({ kind: "statistics" });
    return new Promise((resolve) => (this.#answer = resolve));
  }

  /** @param {object} message */
  #say(message) {
    this.#port?.postMessage(message);
  }

  /** @param {unknown} why */
  #giveUp(why) {
    this.close();
    this.#options.onUnshared(why);
  }

  /**
   * A new port, perhaps to a new worker, from where this listener is.
   *
   * @param {string} why
   */
  #again(why) {
    this.suspend();
    this.#isReturning = true;
    if (this.readyState === OPEN) this.#fail(failure("lost", why), 1, 0);
    if (this.#tries < TRIES_MAX) this.#connect();
    else this.#giveUp(why);
  }

  async #connect() {
    const { signal } = (this.#stop = new AbortController());
    const { locks } = navigator;
    /** @type {SharedWorker} */
    let worker;
    try {
      // In just these words bundlers look for it. The name has the version of what the two say.
      worker = this.#options.worker
        ? new SharedWorker(this.#options.worker, { type: "module", name: "tidings 1" })
        : new SharedWorker(new URL("./worker.js", import.meta.url), { type: "module", name: "tidings 1" });
    } catch (error) {
      return this.#giveUp(error);
    }
    const again = (/** @type {string} */ why) => signal.aborted || this.#again(why);
    const timer = setTimeout(again, HELLO_MS * 2 ** this.#tries, "worker is silent");
    this.#tries += 1;
    worker.onerror = () => again("no worker");
    const { port } = worker;
    port.onmessage = ({ data }) => {
      if (signal.aborted) return;
      this.#heardAt = Date.now();
      if (data.kind !== "hello") return this.#receive(data);
      clearTimeout(timer);
      this.#tries = 0;
      // Granted when the worker is dead.
      if (locks) locks.request(data.lock, { mode: "shared", signal }, () => again(GONE)).catch(() => {});
      else this.#listenForBeats(signal);
    };
    signal.addEventListener("abort", () => clearTimeout(timer));
    // The worker waits for it: that is how it learns that a tab is gone. It is had while the worker starts.
    const lock = `tidings ${tab} ${Math.random()}`;
    if (locks) {
      const ended = new Promise((resolve) => signal.addEventListener("abort", resolve));
      await new Promise((resolve) => locks.request(lock, () => (resolve(0), ended)));
    }
    if (signal.aborted) return port.close();
    this.#port = port;
    const { url, withCredentials = false, headers } = this.#request;
    const { topics, identity, reconnect } = this.#options;
    const asked = typeof headers === "function";
    const wish = { url, withCredentials, topics, policy: Object(reconnect), asked, headers: asked ? { identity } : headers };
    this.#say({ kind: "hello", tab, lock: locks && lock, wish, cursor: this.#cursor });
  }

  /** @param {AbortSignal} signal */
  #listenForBeats(signal) {
    let lookedAt = Date.now();
    const timer = setInterval(() => {
      const now = Date.now();
      // Where this timer itself was late, so may be what it listens for.
      if (now - lookedAt > 2 * LOOK_MS) this.#heardAt = now;
      lookedAt = now;
      if (now - this.#heardAt > SILENCE_MS_MAX) this.#again(GONE);
    }, LOOK_MS);
    signal.addEventListener("abort", () => clearInterval(timer));
  }

  /** @type {import("./subscribe.js").Sink["onFailure"]} */
  #fail(failed, attempt, delayMs) {
    this.readyState = CONNECTING;
    this.#sink.onFailure(failed, attempt, delayMs);
  }

  /** @param {any} message of the worker */
  #receive({ kind, events, cursor, size, url, failed, attempt, delayMs, ending, question, statistics }) {
    // Before its stream is live there is no place to come back to.
    if (cursor?.id) this.#cursor = cursor;
    switch (kind) {
      case "events":
        for (const event of events) this.#take(event);
        return this.#say({ kind: "took", size });
      case "open":
        this.readyState = OPEN;
        return this.#sink.onOpen(url);
      case "repeats":
        this.#isReturning = true;
        return;
      case "failure":
        return this.#fail(failed, attempt, delayMs);
      case "end":
        this.close();
        return this.#sink.onEnd(failed, ending);
      case "headers":
        return void this.#answerHeaders(question);
      case "statistics":
        return this.#answer(statistics);
      case "beat":
        return this.#say({ kind });
      case "gone":
        this.#again("out of touch");
    }
  }

  /** @param {import("./decode.js").DecodedEvent} event */
  #take(event) {
    if (this.readyState === CLOSED) return;
    const { id } = event;
    if (id !== undefined) {
      // What is repeated is a beginning of what comes: after the first new event all are new.
      if (this.#isReturning && this.#recent.has(id)) return;
      this.#isReturning = false;
      this.#recent.add(id);
      if (this.#recent.size > RECENT_MAX) this.#recent.delete(this.#recent.values().next().value);
    }
    this.lastEventId = event.lastEventId;
    this.#sink.onEvent(event);
  }

  /** @param {number} question */
  async #answerHeaders(question) {
    const { headers } = this.#request;
    try {
      const made = typeof headers === "function" ? await headers() : headers;
      this.#say({ kind: "headers", question, headers: Object.fromEntries(new Headers(made)) });
    } catch (error) {
      this.#say({ kind: "headers", question, error: String(error) });
    }
  }
}
