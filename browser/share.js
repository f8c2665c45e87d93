// One connection for all tabs: the part of a tab. The connection belongs to `worker.js`, a SharedWorker.
//
// If the tab that created the worker crashes, the worker stops without notice. To detect that, each
// listener waits for a lock that the worker holds while it runs; without locks, it listens for a beat.
// A listener that notices it starts a new worker, and tells it its position.

import { fieldsOf } from "./connect.js";
import { failure, wordsOf } from "./failure.js";
import { watchPage } from "./lifecycle.js";
import { isHttp1 } from "./protocol.js";
import { CLOSED, CONNECTING, OPEN } from "./subscribe.js";

/** A worker that does not answer within this time is started again. The time doubles with each try. */
const HELLO_MS = 500;
const TRIES_MAX = 5;
/** Without locks, the worker sends a beat every second. */
const SILENCE_MS_MAX = 2000;
const LOOK_MS = 500;
/** A running worker answers within this time. */
const ANSWER_MS_MAX = 2000;
/** The number of IDs stored to recognize repeated events. The worker repeats at most 2000 events. */
const RECENT_MAX = 3000;

const GONE = "the SharedWorker stopped";
/** Identifies this tab. */
const tab = Math.random();
/** @type {Set<SharedSubscription>} */
const subscriptions = new Set();

/**
 * The position of a listener: it has received everything up to the event `number` of the worker's `run`,
 * whose ID is `id`. Within a run, numbers have the stream's order.
 *
 * @typedef {{ run: string, number: number, id: string }} Cursor
 *
 * @typedef {object} ShareOptions
 * @property {string[]} [topics]
 * @property {string} [identity]
 * @property {string | URL} [worker]
 * @property {boolean | Partial<import("./reconnect.js").Policy>} [reconnect]
 * @property {boolean} onlyHttp1
 * @property {(why: unknown) => void} onUnshared sharing failed; the tab needs its own stream
 */

/**
 * Joins the shared connection.
 *
 * @param {import("./subscribe.js").StreamRequest} request without the topics
 * @param {ShareOptions} options
 * @param {import("./subscribe.js").Sink} sink
 * @returns {Promise<SharedSubscription | null>} `null` if sharing has no advantage
 */
export async function share(request, options, sink) {
  return options.onlyHttp1 && !(await isHttp1(request.url)) ? null : new SharedSubscription(request, options, sink);
}

/**
 * Statistics of the shared connection, for display.
 *
 * @returns {Promise<{ tabs: number, connections: number, events: number, characters: number } | null>}
 *   `null` if this tab has no shared stream
 */
export async function sharing() {
  for (const subscription of subscriptions) return subscription.ask();
  return null;
}

/** A listener of the shared connection. */
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
  /** Ends the locks and timers of the port. */
  #stop = new AbortController();
  /** @type {MessagePort | undefined} */
  #port;
  #tries = 0;
  #recent = new Set();
  /** Whether events may be repeated now. */
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
    // The position of an ID from elsewhere is not known.
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
    this.#again("the page was left");
  }

  wake() {
    this.#say({ kind: "wake" });
  }

  /** @returns {Promise<any>} `null` if the worker does not answer */
  ask() {
    this.#say({ kind: "statistics" });
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ANSWER_MS_MAX, null);
      this.#answer = (answer) => (clearTimeout(timer), resolve(answer));
    });
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
   * Opens a new port, possibly to a new worker, and resumes from this listener's position.
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

  #connect() {
    this.#join().catch((error) => this.#giveUp(error));
  }

  async #join() {
    const { signal } = (this.#stop = new AbortController());
    const { locks } = navigator;
    // Bundlers search for exactly this expression. The name contains the version of the messages.
    const worker = this.#options.worker
      ? new SharedWorker(this.#options.worker, { type: "module", name: "tidings 1" })
      : new SharedWorker(new URL("./worker.js", import.meta.url), { type: "module", name: "tidings 1" });
    const again = (/** @type {string} */ why) => signal.aborted || this.#again(why);
    const timer = setTimeout(again, HELLO_MS * 2 ** this.#tries, "the SharedWorker does not respond");
    this.#tries += 1;
    // Without the wait, Chromium may return the failed worker again, which reports no further error.
    worker.onerror = () => setTimeout(again, 100, "cannot load the SharedWorker");
    const { port } = worker;
    port.onmessage = ({ data }) => {
      if (signal.aborted) return;
      this.#heardAt = Date.now();
      if (data.kind !== "hello") return this.#receive(data);
      clearTimeout(timer);
      this.#tries = 0;
      // Granted when the worker has stopped.
      if (locks && data.lock) locks.request(data.lock, { mode: "shared", signal }, () => again(GONE)).catch(() => {});
      else this.#listenForBeats(signal);
    };
    signal.addEventListener("abort", () => clearTimeout(timer));
    // The worker waits for this lock, to learn that the tab was closed. It is acquired while the worker starts.
    let lock = `tidings ${tab} ${Math.random()}`;
    const ended = new Promise((resolve) => signal.addEventListener("abort", resolve));
    // If the browser has locks but grants none, as in some frames, beats are used.
    await new Promise((resolve) => {
      const refuse = () => resolve((lock = ""));
      if (locks) locks.request(lock, () => (resolve(0), ended)).catch(refuse);
      else refuse();
    });
    if (signal.aborted) return port.close();
    this.#port = port;
    const { url, withCredentials, headers } = this.#request;
    const { topics, identity, reconnect } = this.#options;
    const asked = typeof headers === "function";
    const wish = {
      url,
      withCredentials: Boolean(withCredentials),
      topics,
      policy: Object(reconnect),
      asked,
      headers: asked ? { identity } : headers && fieldsOf(headers),
    };
    this.#say({ kind: "hello", tab, lock, wish, cursor: this.#cursor });
  }

  /** @param {AbortSignal} signal */
  #listenForBeats(signal) {
    let lookedAt = Date.now();
    const timer = setInterval(() => {
      const now = Date.now();
      // If this timer was late, the beats may be late too.
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
  #receive({ kind, events, cursor, size, url, failed, attempt, delayMs, ending, question, statistics, why }) {
    // Before the stream has an ID, there is no position to resume from.
    if (cursor) this.#cursor = cursor;
    switch (kind) {
      case "events":
        for (const event of events) this.#take(event);
        // If a callback closed the source, the remaining events were not delivered.
        if (cursor && this.readyState !== CLOSED) this.lastEventId = cursor.id;
        return this.#say({ kind: "took", size });
      case "open":
        this.readyState = OPEN;
        if (cursor) this.lastEventId = cursor.id;
        return this.#sink.onOpen(url);
      case "repeats":
        this.#isReturning = true;
        return;
      case "failure":
        return this.#fail(failed, attempt, delayMs);
      case "trouble":
        return this.#sink.onTrouble?.(failed);
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
        this.#again(why ?? "this tab did not take its events in time");
    }
  }

  /** @param {import("./decode.js").DecodedEvent} event */
  #take(event) {
    if (this.readyState === CLOSED) return;
    const { id } = event;
    if (id !== undefined) {
      // Repeated events come first: after the first new event all are new.
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
      this.#say({ kind: "headers", question, headers: fieldsOf(made) });
    } catch (error) {
      this.#say({ kind: "headers", question, error: wordsOf(error) });
    }
  }
}
