// The one class that a page needs: a stream with callbacks, whichever way it is read.

import { readWithFetch } from "./connect.js";
import { failure } from "./failure.js";
import { readNatively } from "./native.js";
import { heedNotice, NOTICE_TYPE } from "./notice.js";
import { DEFAULT_POLICY } from "./reconnect.js";
import { CLOSED, CONNECTING, OPEN, Subscription } from "./subscribe.js";
import { hubUrl } from "./topics.js";
import { absolute } from "./url.js";

/** An iterator lets so many events wait before it lets the server wait, where it can. */
const WAITING_EVENTS = 256;
/** Where it can't, more than this is an end: the events would fill the memory. */
const WAITING_EVENTS_MAX = 10_000;

/** Whether it was said that nothing can be shared here: once is enough. */
let hasWarned = false;

/**
 * @typedef {import("./failure.js").Failure} Failure
 * @typedef {import("./decode.js").DecodedEvent} DecodedEvent
 * @typedef {import("./reconnect.js").Policy} Policy
 *
 * @typedef {object} Options
 * @property {boolean} [withCredentials] sends cookies to another origin too
 * @property {import("./subscribe.js").HeadersSource} [headers] an object, or an async function that
 *   is called before every connection; reads with `fetch`
 * @property {string} [method] default: GET, or POST if there is a body; any other than GET is
 *   sent once, unless `reconnect` says otherwise
 * @property {BodyInit | null} [body]
 * @property {string[]} [topics] of a Tidings or Mercure hub, whose URL is the source's
 * @property {string} [lastEventId] where to go on
 * @property {(data: string, type: string) => any} [parse] what `event.data` is to be, as `JSON.parse`
 * @property {string[] | "*"} [types] events that the iterator gives besides those of the type
 *   `message`; `"*"` is all, and reads with `fetch`
 * @property {boolean | Partial<Policy>} [reconnect] whether to come back, and when; default: true for GET
 * @property {AbortSignal} [signal] closes the source
 * @property {boolean | "auto"} [shared] one connection for all tabs; `"auto"` is yes over HTTP/1.1
 *   and no over HTTP/2. Default: `"auto"` with `topics`, else false
 * @property {string} [identity] whose stream it is, where `headers` is a function: tabs share
 *   only with tabs of the same
 * @property {string | URL} [worker] the script `worker.js` of this package, where it does not lie
 *   beside this module
 * @property {typeof globalThis.fetch} [fetch] reads with this instead of `globalThis.fetch`
 * @property {number} [eventCharactersMax] larger events are discarded, and reported as an error
 *   of the kind `discarded`; default: 16 Mi; only where it is read with `fetch` in this tab
 *
 * @typedef {"closed" | "ended" | "refused" | "gave-up" | "unsupported"} CloseReason `closed`: by
 *   the caller. `ended`: by the server. `refused`: by its status, its content type or CORS, and
 *   would be again. `gave-up`: after what `reconnect` allows. `unsupported`: there is nothing
 *   here to open a stream with
 *
 * @typedef {Event & Failure & { attempt: number, nextDelay: number | null }} ErrorEvent
 *   `attempt`: the number of the next attempt in a row; `nextDelay`: milliseconds until then,
 *   `null` if the browser decides or there is none
 * @typedef {Event & Failure & { reason: CloseReason }} CloseEvent
 */

/**
 * @template [Data=any]
 * @template {string} [Type=string]
 * @typedef {MessageEvent<Data> & { readonly type: Type, readonly topic: string | undefined,
 *   readonly topics: string[], readonly fields: [name: string, value: string][] }} ReceivedEvent
 *   `topic`: the first of those of the source that the event is about; `fields`: those that the
 *   standard has no name for
 */

/**
 * An event stream that outlives its connections.
 *
 * @template {Record<string, any>} [Events=Record<string, any>] data by type, as `{ price: Price }`
 */
export class EventSourceWrapper {
  #url;
  /** @type {0 | 1 | 2} */
  #readyState = CONNECTING;
  #lastEventId;
  #options;
  /** @type {Subscription | import("./share.js").SharedSubscription | undefined} */
  #subscription;
  /** @type {Map<string, (event: any) => void>} */
  #callbacks = new Map();
  /** @type {Map<string, Set<(event: any) => void>>} */
  #observers = new Map();
  /** What the browser's own class is asked for. */
  #types = new Set(["message", NOTICE_TYPE]);
  #origin = "";
  /** @type {boolean | "auto"} */
  #mayShare = false;
  /** @type {Set<EventQueue>} */
  #queues = new Set();
  #abort = () => this.close();

  /**
   * @param {string | URL} url
   * @param {Options} [options]
   * @throws {DOMException} `SyntaxError` if the URL is none
   */
  constructor(url, options = {}) {
    this.#options = options;
    this.#lastEventId = options.lastEventId ?? "";
    const { fetch = globalThis.fetch, topics, signal, shared = topics ? "auto" : false } = options;
    const isPlain = !needsFetch(options);
    if (!fetch && !(isPlain && globalThis.EventSource)) {
      this.#url = `${url}`;
      const failed = failure("unsupported", "Nothing here can open an event stream");
      console.error(`${failed.message}: ${url}`);
      this.#readyState = CLOSED;
      queueMicrotask(() => this.#tellEnd(failed, "unsupported"));
      return;
    }
    const address = absolute(url);
    this.#url = hubUrl(address, topics);
    this.#origin = new URL(address).origin;
    if (signal?.aborted) {
      this.#readyState = CLOSED;
      queueMicrotask(() => this.#tellEnd(failure("closed"), "closed"));
      return;
    }
    signal?.addEventListener("abort", this.#abort);
    this.#mayShare = shared && isShareable(options);
    if (this.#mayShare) this.#share(address, shared);
    else this.#open();
  }

  /** @returns {0 | 1 | 2} 0 connecting, 1 open, 2 closed */
  get readyState() {
    return this.#readyState;
  }

  /** The URL that is asked, absolute. */
  get url() {
    return this.#url;
  }

  get withCredentials() {
    return Boolean(this.#options.withCredentials);
  }

  /** The id from which the stream would go on. */
  get lastEventId() {
    return this.#subscription?.lastEventId || this.#lastEventId;
  }

  /** @param {((this: this, event: Event) => void) | null} callback the one for each time that the stream opens */
  onOpen(callback) {
    this.#setCallback("open", callback);
  }

  /** @param {((this: this, event: ReceivedEvent<Events["message"], "message">) => void) | null} callback the one for events without a type */
  onMessage(callback) {
    this.#setCallback("message", callback);
  }

  /** @param {((this: this, event: ErrorEvent) => void) | null} callback the one for failures */
  onError(callback) {
    this.#setCallback("error", callback);
  }

  /**
   * Closes, and then calls back. To observe the end, whoever brings it about: `on("close", …)`.
   *
   * @param {(this: this) => void} [callback]
   */
  onClose(callback) {
    this.close();
    callback?.call(this);
  }

  /**
   * Observes. `open`, `error` and `close` are what happens to the stream; any other type is that
   * of published events. Published events of those three types are observed as `event:error` etc.
   *
   * @template {"open" | "error" | "close" | (keyof Events & string) | (string & {})} Type
   * @param {Type} type
   * @param {(this: this, event: Type extends "open" ? Event : Type extends "error" ? ErrorEvent
   *   : Type extends "close" ? CloseEvent : Type extends keyof Events ? ReceivedEvent<Events[Type], Type>
   *   : ReceivedEvent) => void} callback
   * @returns {() => void} ends the observation
   */
  on(type, callback) {
    const observers = this.#observers.get(type) ?? new Set();
    this.#observers.set(type, observers);
    // The same function may observe twice.
    const observer = (/** @type {any} */ event) => callback.call(this, event);
    observers.add(observer);
    this.#listen(type.replace(/^event:/, ""));
    return () => void observers.delete(observer);
  }

  close() {
    this.#end(failure("closed"), "closed");
  }

  /**
   * The events, one by one: those of the type `message` and of the option `types`. It ends with
   * the stream, and throws if that ends otherwise than by the server or by `close`. Leaving the
   * loop closes the source.
   *
   * @returns {AsyncGenerator<ReceivedEvent<Events[keyof Events]>, void, void>}
   */
  [Symbol.asyncIterator]() {
    const { types = [] } = this.#options;
    // One chunk may hold any number of events, before the server can be made to wait.
    const canWait = needsFetch(this.#options) && !this.#mayShare;
    const queue = new EventQueue(types === "*" ? null : new Set(["message", ...types]), canWait ? Infinity : WAITING_EVENTS_MAX);
    if (types !== "*") for (const type of types) this.#listen(type);
    if (this.#readyState === CLOSED) queue.end(null);
    else this.#queues.add(queue);
    return /** @type {any} */ (queue.events(() => this.close()));
  }

  /**
   * @param {string} type
   * @param {((event: any) => void) | null} callback
   */
  #setCallback(type, callback) {
    if (callback) this.#callbacks.set(type, callback);
    else this.#callbacks.delete(type);
  }

  /** @param {string} type that the browser's own class is to be asked for */
  #listen(type) {
    this.#types.add(type);
    if (this.#subscription instanceof Subscription) this.#subscription.listen(type);
  }

  /** @returns {import("./subscribe.js").StreamRequest} */
  #request() {
    const { withCredentials, headers, fetch, body, method = body ? "POST" : "GET" } = this.#options;
    return { url: this.#url, method, withCredentials, body, headers, fetch };
  }

  /** A stream of this tab's own. */
  #open() {
    const request = this.#request();
    const { reconnect = request.method === "GET", eventCharactersMax } = this.#options;
    const policy = { ...DEFAULT_POLICY, once: !reconnect, ...Object(reconnect) };
    const native = globalThis.EventSource && !needsFetch(this.#options);
    const transport = native ? readNatively(this.#types) : readWithFetch;
    this.#subscription = new Subscription(transport, request, policy, this.#sink, this.#lastEventId, eventCharactersMax);
  }

  /**
   * @param {string} url of the hub, without the topics
   * @param {boolean | "auto"} shared
   */
  async #share(url, shared) {
    const { topics, identity, worker, reconnect } = this.#options;
    const policy = typeof reconnect === "object" ? reconnect : {};
    const onlyHttp1 = shared === "auto";
    const onUnshared = () => this.#open();
    const options = { topics, identity, worker, policy, lastEventId: this.#lastEventId, onlyHttp1, onUnshared };
    try {
      const { share } = await import("./share.js");
      const subscription = await share({ ...this.#request(), url }, options, this.#sink);
      if (this.#readyState === CLOSED) subscription?.close();
      else if (subscription) this.#subscription = subscription;
      else this.#open();
    } catch (error) {
      if (!hasWarned) console.warn("Streams can't be shared between tabs, so each tab has its own:", error);
      hasWarned = true;
      if (this.#readyState !== CLOSED) this.#open();
    }
  }

  /** @type {import("./subscribe.js").Sink} */
  #sink = {
    onOpen: (url) => {
      this.#readyState = OPEN;
      this.#origin = new URL(url).origin;
      this.#emit("open", {});
    },
    onEvent: (event) => this.#receive(event),
    onFailure: (failed, attempt, nextDelay) => {
      this.#readyState = CONNECTING;
      this.#emitError(failed, attempt, nextDelay);
    },
    onEnd: (failed, ending) => this.#end(failed, ending),
    onDiscarded: () => this.#emitError(failure("discarded", "An event was too large")),
  };

  /**
   * @param {DecodedEvent} decoded
   * @returns {void | Promise<void>}
   */
  #receive({ type, data, lastEventId, fields = [] }) {
    this.#lastEventId = lastEventId;
    const { parse, topics: own = [] } = this.#options;
    /** @type {any} */
    let value = data;
    if (parse) {
      try {
        value = parse(data, type);
      } catch (cause) {
        return this.#emitError(failure("parse", "The data of an event can't be read", { cause }));
      }
    }
    if (type === NOTICE_TYPE && this.#subscription instanceof Subscription) heedNotice(data, this.#subscription);
    const topics = fields.filter(([name]) => name === "topic").map(([, topic]) => topic);
    const topic = topics.find((one) => own.includes(one)) ?? topics[0];
    const message = new MessageEvent(type, { data: value, lastEventId, origin: this.#origin });
    const event = Object.assign(message, { topic, topics, fields });
    const ofStream = type === "open" || type === "error" || type === "close";
    this.#emit(ofStream ? `event:${type}` : type, event);
    let room = /** @type {void | Promise<void>} */ (undefined);
    for (const queue of this.#queues) room = queue.add(event) ?? room;
    return room;
  }

  /**
   * @param {Failure} failed
   * @param {number} [attempt]
   * @param {number | null} [nextDelay]
   */
  #emitError(failed, attempt = 0, nextDelay = null) {
    this.#emit("error", failed, { attempt, nextDelay });
  }

  /**
   * @param {Failure} failed
   * @param {CloseReason} reason
   */
  #end(failed, reason) {
    if (this.#readyState === CLOSED) return;
    this.#lastEventId = this.lastEventId;
    this.#readyState = CLOSED;
    this.#subscription?.close();
    this.#options.signal?.removeEventListener("abort", this.#abort);
    this.#tellEnd(failed, reason);
  }

  /**
   * @param {Failure} failed
   * @param {CloseReason} reason
   */
  #tellEnd(failed, reason) {
    const isError = reason !== "closed" && failed.kind !== "ended";
    // 204 is an error to the browser's own class, and so to pages that were written for it.
    if (isError) this.#emitError(failed);
    for (const queue of this.#queues) queue.end(isError && reason !== "ended" ? new Error(failed.message, { cause: failed }) : null);
    this.#emit("close", failed, { reason });
  }

  /**
   * @param {string} type
   * @param {object} about
   * @param {object} [more]
   */
  #emit(type, about, more) {
    const event = about instanceof Event ? about : Object.assign(new Event(type), about, more);
    const callbacks = [this.#callbacks.get(type), ...(this.#observers.get(type) ?? [])];
    for (const callback of callbacks) {
      // One that closes the source ends the events for the others too, as in the browser's class.
      if (this.#readyState === CLOSED && type !== "error" && type !== "close") return;
      try {
        callback?.call(this, event);
      } catch (error) {
        report(error);
      }
    }
  }
}

/** Events on their way to an iterator. */
class EventQueue {
  #types;
  #max;
  /** @type {ReceivedEvent[]} */
  #waiting = [];
  /** @type {Error | null | undefined} undefined while it goes on */
  #end;
  #wake = () => {};
  #room = () => {};

  /**
   * @param {Set<string> | null} types `null` is all
   * @param {number} max
   */
  constructor(types, max) {
    this.#types = types;
    this.#max = max;
  }

  /**
   * @param {ReceivedEvent} event
   * @returns {void | Promise<void>} until there is room for more
   */
  add(event) {
    if (this.#types && !this.#types.has(event.type)) return;
    if (this.#waiting.length >= this.#max) this.end(new Error(`More than ${this.#max} events wait to be read`));
    if (this.#end !== undefined) return;
    this.#waiting.push(event);
    this.#wake();
    if (this.#waiting.length < WAITING_EVENTS) return;
    return new Promise((resolve) => (this.#room = resolve));
  }

  /** @param {Error | null} error */
  end(error) {
    this.#end ??= error;
    this.#wake();
    this.#room();
  }

  /** @param {() => void} done */
  async *events(done) {
    try {
      for (;;) {
        const event = this.#waiting.shift();
        if (this.#waiting.length === 0) this.#room();
        if (event) yield event;
        else if (this.#end) throw this.#end;
        else if (this.#end === null) return;
        else await new Promise((/** @type {(value: void) => void} */ resolve) => (this.#wake = resolve));
      }
    } finally {
      done();
    }
  }
}

/** @param {Options} options */
function needsFetch({ headers, method = "GET", body, topics, fetch, types }) {
  return Boolean(headers || method !== "GET" || body || topics || fetch || types === "*");
}

/**
 * What only this tab can do, and what is to happen once, is not shared.
 *
 * @param {Options} options
 */
function isShareable({ method = "GET", body, fetch, reconnect, shared, headers, identity }) {
  const tellsWhose = typeof headers !== "function" || identity !== undefined || shared === true;
  return method === "GET" && !body && !fetch && reconnect !== false && tellsWhose;
}

/**
 * As the browser reports what a listener throws.
 *
 * @param {unknown} error
 */
function report(error) {
  if ("reportError" in globalThis) reportError(error);
  else console.error(error);
}
