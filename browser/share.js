// One connection for all tabs: a tab's side of it. The connection is held by `worker.js`, a
// SharedWorker.
//
// The worker dies, silently, with the tab that created it when that one crashes. Each tab waits
// for a lock that the worker holds as long as it lives; where there are no locks, it listens for
// a beat. Then whoever notices makes a new one, and each tab says how far it has come.

import { failure } from "./failure.js";
import { watchPage } from "./lifecycle.js";
import { isHttp1 } from "./protocol.js";
import { CLOSED, CONNECTING, OPEN } from "./subscribe.js";

/** A worker that hasn't spoken by then could not be started. */
const HELLO_MS_MAX = 10_000;
/** A new one is asked for again sooner: the browser may have handed out the dead one once more. */
const HELLO_AGAIN_MS_MAX = 2000;
const TRIES_MAX = 5;
/** The worker beats every second, where there are no locks. */
const SILENCE_MS_MAX = 2000;
const LOOK_MS = 500;
/** So many ids are remembered, to know a repeat. The worker repeats 2000 events at most. */
const RECENT_MAX = 3000;

/**
 * How far a listener has come: everything for it up to the event `number` of the worker's `run`,
 * whose id is `id`. Numbers of one run have the stream's order.
 *
 * @typedef {{ run: string, number: number, id: string }} Cursor
 *
 * @typedef {import("./subscribe.js").StreamRequest} StreamRequest
 * @typedef {import("./subscribe.js").Sink} Sink
 *
 * @typedef {object} ShareOptions
 * @property {string[] | undefined} topics
 * @property {string | undefined} identity
 * @property {string | URL | undefined} worker
 * @property {Partial<import("./reconnect.js").Policy>} policy
 * @property {string} lastEventId
 * @property {boolean} onlyHttp1
 * @property {() => void} onUnshared from now on the tab needs a stream of its own
 */

/**
 * Joins the connection that all tabs share.
 *
 * @param {StreamRequest} request without the topics
 * @param {ShareOptions} options
 * @param {Sink} sink
 * @returns {Promise<SharedSubscription | null>} `null` where a stream of its own is as good
 * @throws if no worker can be had
 */
export async function share(request, options, sink) {
  if (options.onlyHttp1 && !(await isHttp1(request.url))) return null;
  const { worker } = options;
  const connection = worker
    ? Connection.to(String(worker), () => new SharedWorker(worker, { type: "module", name: "tidings 1" }))
    : // In just these words bundlers look for it. The name has the version of what is said between the two.
      Connection.to("", () => new SharedWorker(new URL("./worker.js", import.meta.url), { type: "module", name: "tidings 1" }));
  await connection.ready();
  return new SharedSubscription(connection, request, options, sink);
}

/**
 * What the shared connection carries, for pages that show it.
 *
 * @returns {Promise<{ tabs: number, connections: number, events: number, characters: number } | null>}
 *   `null` if this tab shares none
 */
export async function sharing() {
  for (const connection of Connection.all.values()) return connection.ask();
  return null;
}

/** One listener's part of the shared connection. */
export class SharedSubscription {
  /** @type {0 | 1 | 2} */
  readyState = CONNECTING;
  lastEventId;
  sink;
  /** @type {Cursor | null} */
  cursor;
  /** What the worker is to know of it. */
  wish;
  headers;
  onUnshared;
  #connection;
  #recent = new Set();
  /** Whether what comes may have come before. */
  #returning = false;

  /**
   * @param {Connection} connection
   * @param {StreamRequest} request
   * @param {ShareOptions} options
   * @param {Sink} sink
   */
  constructor(connection, { url, withCredentials = false, headers }, { topics, identity, policy, lastEventId, onUnshared }, sink) {
    this.#connection = connection;
    this.sink = sink;
    this.lastEventId = lastEventId;
    // Of an id that somebody else gave, nobody knows where in the stream it stands.
    this.cursor = lastEventId ? { run: "", number: 0, id: lastEventId } : null;
    this.headers = headers;
    this.onUnshared = onUnshared;
    const asked = typeof headers === "function";
    this.wish = { url, withCredentials, topics, policy, asked, headers: asked ? { identity } : headers };
    connection.join(this);
  }

  close() {
    if (this.readyState === CLOSED) return;
    this.readyState = CLOSED;
    this.#connection.leave(this);
  }

  /**
   * @param {string} url
   * @param {Cursor} cursor
   */
  opened(url, cursor) {
    if (cursor.id) this.cursor = cursor;
    if (this.readyState !== CONNECTING) return;
    this.readyState = OPEN;
    this.sink.onOpen(url);
  }

  /** What comes from now on may have come before. */
  repeats() {
    this.#returning = true;
  }

  /** @param {import("./decode.js").DecodedEvent} event */
  receive(event) {
    if (this.readyState === CLOSED) return;
    const { id } = event;
    if (id !== undefined) {
      // What is repeated is a beginning of what comes: after the first new event all are new.
      if (this.#returning && this.#recent.has(id)) return;
      this.#returning = false;
      this.#recent.add(id);
      if (this.#recent.size > RECENT_MAX) for (const oldest of this.#recent) {
        this.#recent.delete(oldest);
        break;
      }
    }
    this.lastEventId = event.lastEventId;
    this.sink.onEvent(event);
  }

  /** @param {string} why */
  lost(why) {
    if (this.readyState !== OPEN) return;
    this.readyState = CONNECTING;
    this.sink.onFailure(failure("lost", why), 1, 0);
  }
}

/** This tab's port to the worker, with all of its listeners. */
class Connection {
  /** @type {Map<string, Connection>} */
  static all = new Map();

  #make;
  /** @type {Map<number, SharedSubscription>} */
  #listeners = new Map();
  /** @type {Map<SharedSubscription, number>} */
  #numbers = new Map();
  #last = 0;
  /** @type {MessagePort | undefined} */
  #port;
  /** Ends what belongs to the port: locks, timers. */
  #stop = new AbortController();
  /** @type {Promise<void> | undefined} */
  #ready;
  #tries = 0;
  #suspended = false;
  #heardAt = 0;
  /** @type {((answer: any) => void)[]} */
  #asked = [];

  /**
   * @param {string} name
   * @param {() => SharedWorker} make
   */
  static to(name, make) {
    const connection = Connection.all.get(name) ?? new Connection(make);
    Connection.all.set(name, connection);
    return connection;
  }

  /** @param {() => SharedWorker} make */
  constructor(make) {
    this.#make = make;
    watchPage(this);
  }

  /** Waits until there is a worker. */
  ready() {
    return (this.#ready ??= this.#connect(HELLO_MS_MAX).catch((error) => {
      this.#ready = undefined;
      throw error;
    }));
  }

  /** @param {SharedSubscription} listener */
  join(listener) {
    const number = (this.#last += 1);
    this.#listeners.set(number, listener);
    this.#numbers.set(listener, number);
    if (this.#port) this.#sayJoin(number, listener);
  }

  /** @param {SharedSubscription} listener */
  leave(listener) {
    const number = this.#numbers.get(listener);
    if (number === undefined) return;
    this.#numbers.delete(listener);
    this.#listeners.delete(number);
    this.#say({ kind: "leave", listener: number });
    // The next one may be moments away, as when a component is mounted twice.
    if (this.#listeners.size === 0) setTimeout(() => this.#listeners.size === 0 && this.#disconnect(), 1000);
  }

  suspend() {
    if (this.#listeners.size === 0) return;
    this.#suspended = true;
    this.#disconnect();
  }

  resume() {
    if (!this.#suspended) return;
    this.#suspended = false;
    this.#again("The page was left and is back");
  }

  wake() {
    this.#say({ kind: "wake" });
  }

  /** @returns {Promise<any>} */
  ask() {
    if (!this.#port) return Promise.resolve(null);
    this.#say({ kind: "statistics" });
    return new Promise((resolve) => this.#asked.push(resolve));
  }

  /** @param {object} message */
  #say(message) {
    this.#port?.postMessage(message);
  }

  /**
   * @param {number} number
   * @param {SharedSubscription} listener
   */
  #sayJoin(number, listener) {
    this.#say({ kind: "join", listener: number, wish: listener.wish, cursor: listener.cursor });
  }

  /** @param {number} limit milliseconds */
  async #connect(limit) {
    const stop = (this.#stop = new AbortController());
    const { signal } = stop;
    const { locks } = navigator;
    const name = `tidings ${crypto.randomUUID?.() ?? Math.random()}`;
    // The worker waits for it: that is how it learns that a tab is gone.
    if (locks) await new Promise((resolve) => hold(locks, name, signal, resolve));
    const worker = this.#make();
    const { port } = worker;
    await new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`no word of the worker within ${limit} ms`)), limit);
      worker.onerror = () => reject(new Error("the worker's script could not be loaded"));
      port.onmessage = ({ data }) => {
        clearTimeout(timer);
        if (signal.aborted) return;
        port.onmessage = (event) => signal.aborted || this.#receive(event.data);
        if (locks) {
          const died = () => signal.aborted || this.#again("The tab that held the connection is gone");
          locks.request(data.lock, { mode: "shared", signal }, died).catch(() => {});
        } else {
          this.#listenForBeats(signal);
        }
        resolve(undefined);
      };
      signal.addEventListener("abort", () => (clearTimeout(timer), reject(signal.reason)));
      port.postMessage({ kind: "hello", lock: locks ? name : null });
    }).catch((error) => {
      stop.abort();
      port.close();
      throw error;
    });
    this.#port = port;
    this.#tries = 0;
    for (const [number, listener] of this.#listeners) this.#sayJoin(number, listener);
  }

  /** @param {AbortSignal} signal */
  #listenForBeats(signal) {
    let lookedAt = Date.now();
    this.#heardAt = lookedAt;
    const timer = setInterval(() => {
      const now = Date.now();
      // Where this timer itself was late, so may be what it listens for.
      if (now - lookedAt > 2 * LOOK_MS) this.#heardAt = now;
      lookedAt = now;
      if (now - this.#heardAt > SILENCE_MS_MAX) this.#again("The tab that held the connection is gone");
    }, LOOK_MS);
    signal.addEventListener("abort", () => clearInterval(timer));
  }

  #disconnect() {
    this.#say({ kind: "bye" });
    this.#stop.abort();
    this.#port?.close();
    this.#port = undefined;
    this.#ready = undefined;
    for (const resolve of this.#asked.splice(0)) resolve(null);
  }

  /**
   * A new port, perhaps to a new worker: all join anew, from where they are.
   *
   * @param {string} why
   */
  #again(why) {
    this.#disconnect();
    for (const listener of this.#listeners.values()) {
      listener.repeats();
      listener.lost(why);
    }
    if (this.#listeners.size === 0) return;
    this.#tries += 1;
    const tried = this.#connect(HELLO_AGAIN_MS_MAX);
    this.#ready = tried;
    tried.catch((error) => {
      if (this.#ready !== tried) return;
      this.#ready = undefined;
      if (this.#tries < TRIES_MAX) return this.#again(why);
      console.warn("The stream can't be shared between tabs any more, so each has its own:", error);
      const listeners = [...this.#listeners.values()];
      this.#listeners.clear();
      this.#numbers.clear();
      this.#tries = 0;
      for (const listener of listeners) listener.onUnshared();
    });
  }

  /** @param {any} message of the worker */
  #receive(message) {
    this.#heardAt = Date.now();
    /** @param {(listener: SharedSubscription) => void} act */
    const each = (act) => {
      for (const number of message.listeners) {
        const listener = this.#listeners.get(number);
        if (listener) act(listener);
      }
    };
    switch (message.kind) {
      case "events": {
        const { events, cursor } = message;
        for (const { to, event } of events) {
          for (const number of to) this.#listeners.get(number)?.receive(event);
        }
        each((listener) => {
          // Before its stream is live there is no place to come back to.
          if (cursor.id) listener.cursor = cursor;
        });
        return this.#say({ kind: "took", count: events.length });
      }
      case "open":
        return each((listener) => listener.opened(message.url, message.cursor));
      case "repeats":
        return each((listener) => listener.repeats());
      case "failure":
        return each((listener) => {
          listener.readyState = CONNECTING;
          listener.sink.onFailure(message.failed, message.attempt, message.delayMs);
        });
      case "end":
        return each((listener) => {
          listener.close();
          listener.sink.onEnd(message.failed, message.ending);
        });
      case "headers":
        return void this.#answerHeaders(message);
      case "statistics":
        return this.#asked.shift()?.(message.statistics);
      case "beat":
        return this.#say({ kind: "here" });
      case "gone":
        return this.#again("The tab was out of touch");
    }
  }

  /** @param {{ listener: number, question: number }} asked */
  async #answerHeaders({ listener, question }) {
    const headers = this.#listeners.get(listener)?.headers;
    try {
      const made = typeof headers === "function" ? await headers() : headers;
      this.#say({ kind: "headers", question, headers: Object.fromEntries(new Headers(made)) });
    } catch (error) {
      this.#say({ kind: "headers", question, error: String(error) });
    }
  }
}

/**
 * Holds a lock until the signal.
 *
 * @param {LockManager} locks
 * @param {string} name
 * @param {AbortSignal} signal
 * @param {(value?: unknown) => void} held
 */
function hold(locks, name, signal, held) {
  const until = () =>
    new Promise((resolve) => {
      signal.addEventListener("abort", resolve);
      held();
    });
  locks.request(name, until).catch(held);
}
