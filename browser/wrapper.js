// The one class that a page needs: a stream with callbacks, whichever way it is read.

import { readWithFetch } from "./connect.js";
import { failure } from "./failure.js";
import { readNatively } from "./native.js";
import { heedNotice, NOTICE_TYPE } from "./notice.js";
import { DEFAULT_POLICY } from "./reconnect.js";
import { CLOSED, CONNECTING, OPEN, Subscription } from "./subscribe.js";
import { hubUrl, topicsOf } from "./topics.js";
import { absolute } from "./url.js";

/** An iterator lets so many events wait before it lets the server wait, where it can. */
const WAITING_EVENTS = 256;
/**
 * Where it can't, more than this is an end: the events would fill the memory. One piece of a
 * stream that is read with `fetch`, half a mebibyte at most, has fewer.
 */
const WAITING_EVENTS_MAX = 100_000;

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
 * @property {(data: string, type: any) => any} [parse] what `event.data` is to be, as `JSON.parse`
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
 * An event stream that outlives its connections. What happens to it (`open`, `error`, `close`)
 * and what it brings are events of this target.
 *
 * @template {Record<string, any>} [Events=Record<string, any>] data by type, as `{ price: Price }`
 */
export class EventSourceWrapper extends EventTarget {
  /** @type {0 | 1 | 2} */
  #readyState = CONNECTING;
  #url = "";
  #origin = "";
  #lastEventId;
  #options;
  /** @type {Subscription | import("./share.js").SharedSubscription | undefined} */
  #subscription;
  /** The one callback of each kind. @type {Record<string, (() => void) | null>} */
  #callbacks = {};
  /** Published events whose type is that of something that happens to the stream. */
  #published = new EventTarget();
  /** What the browser's own class is asked for. */
  #types = new Set(["message", "open", "error", "close", NOTICE_TYPE]);
  /** @type {Set<(event: ReceivedEvent | null) => void | Promise<void>>} */
  #iterators = new Set();
  /** @type {Error | undefined} */
  #error;
  #abort = () => this.close();

  /**
   * @param {string | URL} url
   * @param {Options} [options]
   * @throws {DOMException} `SyntaxError` if the URL is none
   */
  constructor(url, options = {}) {
    super();
    this.#options = options;
    this.#lastEventId = options.lastEventId ?? "";
    const { fetch = globalThis.fetch, topics, signal, shared = topics && "auto" } = options;
    const canOpen = Boolean(fetch) || canBeNative(options);
    const address = canOpen ? absolute(url) : "";
    this.#url = hubUrl(address, canOpen && topics);
    if (!canOpen || signal?.aborted) {
      const reason = canOpen ? "closed" : "unsupported";
      if (!canOpen) console.error("no EventSource, no fetch:", url);
      this.#readyState = CLOSED;
      // Whoever makes the source has all of this task to say what it is to call.
      queueMicrotask(() => this.#tellEnd(failure(reason), reason));
      return;
    }
    signal?.addEventListener("abort", this.#abort);
    if (shared && isShareable(options)) this.#share(address, shared === "auto");
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
    const name = type.replace("event:", "");
    const target = name === type ? this : this.#published;
    // The same function may observe twice.
    const listener = (/** @type {any} */ event) => callback.call(this, event);
    target.addEventListener(name, listener);
    return () => target.removeEventListener(name, listener);
  }

  /**
   * @override
   * @type {EventTarget["addEventListener"]}
   */
  addEventListener(type, ...rest) {
    this.#listen(type);
    super.addEventListener(type, ...rest);
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
  async *[Symbol.asyncIterator]() {
    const { types = [] } = this.#options;
    const wanted = ["message", ...types];
    for (const type of types) this.#listen(type);
    /** @type {(value?: any) => void} */
    let wake = () => {};
    let room = wake;
    /** @type {ReceivedEvent[]} */
    const waiting = [];
    const add = (/** @type {ReceivedEvent | null} */ event) => {
      wake();
      if (!event || (types !== "*" && !wanted.includes(event.type))) return;
      if (waiting.push(event) > WAITING_EVENTS_MAX) this.#end(failure("too-slow"), "gave-up");
      if (waiting.length > WAITING_EVENTS) return /** @type {Promise<void>} */ (new Promise((resolve) => (room = resolve)));
    };
    this.#iterators.add(add);
    try {
      for (;;) {
        const event = waiting.shift();
        if (event) yield event;
        else if (this.#readyState === CLOSED) break;
        else {
          room();
          await new Promise((resolve) => (wake = resolve));
        }
      }
      if (this.#error) throw this.#error;
    } finally {
      this.close();
    }
  }

  /**
   * @param {string} type
   * @param {((event: any) => void) | null} callback
   */
  #setCallback(type, callback) {
    this.#callbacks[type]?.();
    this.#callbacks[type] = callback && this.on(type, callback);
  }

  /** @param {string} type that the browser's own class is to be asked for */
  #listen(type) {
    this.#types.add(type);
    if (this.#subscription instanceof Subscription) this.#subscription.listen(type);
  }

  /** @returns {import("./subscribe.js").StreamRequest & { method: string }} */
  #request() {
    const { body, method = body ? "POST" : "GET" } = this.#options;
    return { ...this.#options, url: this.#url, method, lastEventId: this.#lastEventId };
  }

  /** A stream of this tab's own. */
  #open() {
    const request = this.#request();
    const { reconnect = request.method === "GET" } = this.#options;
    const policy = { ...DEFAULT_POLICY, once: !reconnect, ...Object(reconnect) };
    const transport = canBeNative(this.#options) ? readNatively(this.#types) : readWithFetch;
    this.#subscription = new Subscription(transport, request, policy, this.#sink);
  }

  /**
   * @param {string} url of the hub, without the topics
   * @param {boolean} onlyHttp1
   */
  async #share(url, onlyHttp1) {
    const onUnshared = (/** @type {unknown} */ why) => {
      if (!hasWarned) console.warn("each tab has its own stream:", why);
      hasWarned = true;
      if (this.#readyState !== CLOSED) this.#open();
    };
    const options = { ...this.#options, onlyHttp1, onUnshared };
    try {
      const { share } = await import("./share.js");
      const subscription = await share({ ...this.#request(), url }, options, this.#sink);
      if (this.#readyState === CLOSED) subscription?.close();
      else if (!subscription) this.#open();
      // One that could not be shared has been replaced by now.
      else this.#subscription ??= subscription;
    } catch (error) {
      onUnshared(error);
    }
  }

  /** @type {import("./subscribe.js").Sink} */
  #sink = {
    onOpen: (url) => {
      this.#readyState = OPEN;
      this.#origin = new URL(url).origin;
      this.#tell("open");
    },
    onEvent: (event) => this.#receive(event),
    onFailure: (failed, attempt, nextDelay) => {
      this.#readyState = CONNECTING;
      this.#tell("error", { ...failed, attempt, nextDelay });
    },
    onEnd: (failed, reason) => this.#end(failed, reason),
    onDiscarded: () => this.#tellError(failure("discarded")),
  };

  /**
   * @param {DecodedEvent} decoded
   * @returns {void | Promise<void>}
   */
  #receive({ type, data: text, lastEventId, fields = [] }) {
    this.#lastEventId = lastEventId;
    if (this.#subscription instanceof Subscription && type === NOTICE_TYPE) heedNotice(text, this.#subscription);
    const { parse, topics: own = [] } = this.#options;
    /** @type {any} */
    let data = text;
    try {
      if (parse) data = parse(text, type);
    } catch (cause) {
      return this.#tellError(failure("parse", "", { cause }));
    }
    const topics = topicsOf(fields);
    const topic = topics.find((one) => own.includes(one)) ?? topics[0];
    const message = new MessageEvent(type, { data, lastEventId, origin: this.#origin });
    const event = Object.assign(message, { topic, topics, fields });
    const target = /^(open|error|close)$/.test(type) ? this.#published : this;
    target.dispatchEvent(event);
    let room = /** @type {void | Promise<void>} */ (undefined);
    for (const add of this.#iterators) room = add(event) ?? room;
    return room;
  }

  /**
   * @param {Failure} failed
   * @param {CloseReason} reason
   */
  #end(failed, reason) {
    if (this.#readyState === CLOSED) return;
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
    if (reason !== "closed" && reason !== "ended") this.#error = new Error(failed.message, { cause: failed });
    for (const add of this.#iterators) add(null);
    // 204 is an error to the browser's own class, and so to pages that were written for it.
    if (this.#error || failed.status) this.#tellError(failed);
    this.#tell("close", { ...failed, reason });
  }

  /** @param {Failure} failed */
  #tellError(failed) {
    this.#tell("error", { ...failed, attempt: 0, nextDelay: null });
  }

  /**
   * @param {string} type
   * @param {object} [about]
   */
  #tell(type, about) {
    this.dispatchEvent(Object.assign(new Event(type), about));
  }
}

/** @param {Options} options */
function canBeNative({ headers, method = "GET", body, topics, fetch, types }) {
  return "EventSource" in globalThis && method === "GET" && !(headers || body || topics || fetch || types === "*");
}

/**
 * What only this tab can do, and what is to happen once, is not shared.
 *
 * @param {Options} options
 */
function isShareable({ method = "GET", body, fetch, reconnect, shared, headers, identity }) {
  const tellsWhose = typeof headers !== "function" || identity || shared === true;
  return method === "GET" && !body && !fetch && reconnect !== false && tellsWhose;
}
