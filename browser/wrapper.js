// `EventSourceWrapper`, the main class of the package: an event stream with callbacks.

import { readWithFetch } from "./connect.js";
import { failure, wordsOf } from "./failure.js";
import { describeInterface, Handlers } from "./interface.js";
import { NativeEventSource, readNatively } from "./native.js";
import { heedNotice, NOTICE_TYPE } from "./notice.js";
import { policyOf } from "./reconnect.js";
import { CLOSED, CONNECTING, OPEN, Subscription } from "./subscribe.js";
import { hubUrl, isHub, topicsOf } from "./topics.js";
import { absolute } from "./url.js";

/** If more events wait for an iterator, the server must wait, if that is possible. */
const WAITING_EVENTS = 256;
/**
 * If it is not possible, more waiting events than this end the stream: they would fill the memory. A
 * chunk of a stream read with `fetch`, at most half a mebibyte, has fewer.
 */
const WAITING_EVENTS_MAX = 100_000;

/** Whether the warning was shown: once is enough. */
let hasWarned = false;

/** @param {unknown} why no stream is shared. Without a page there are no tabs, and so no warning */
function warn(why) {
  if (!hasWarned && globalThis.document) console.warn(`each tab has its own stream: ${wordsOf(why)}`);
  hasWarned = true;
}

/**
 * @typedef {import("./failure.js").Failure} Failure
 * @typedef {import("./decode.js").DecodedEvent} DecodedEvent
 * @typedef {import("./reconnect.js").Policy} Policy
 *
 * @typedef {object} Options
 * @property {boolean} [withCredentials] also sends cookies to another origin
 * @property {import("./subscribe.js").HeadersSource} [headers] request headers: an object, or an async
 *   function that is called before every connection; the stream is then read with `fetch`
 * @property {string} [method] default: GET, or POST if there is a body; a request with a method other
 *   than GET is sent once, unless `reconnect` is set
 * @property {BodyInit | null} [body] the body of the request
 * @property {string[]} [topics] the topics to subscribe to, if the URL is that of a Tidings or Mercure
 *   hub
 * @property {string} [lastEventId] resumes after the event with this ID
 * @property {(data: string, type: any) => any} [parse] converts an event's data to `event.data`, for
 *   example `JSON.parse`
 * @property {string[] | "*"} [types] types of events that the iterator yields in addition to `message`;
 *   `"*"` is every type, and the stream is then read with `fetch`
 * @property {boolean | Partial<Policy>} [reconnect] whether and when to reconnect; default: true for GET
 * @property {AbortSignal} [signal] closes the source
 * @property {boolean | "auto"} [shared] uses one connection for all tabs; `"auto"`: over HTTP/1.1 only.
 *   Default: `"auto"` with `topics`, else false
 * @property {string} [identity] the user of the stream, if `headers` is a function: only tabs with the
 *   same identity share a connection
 * @property {string | URL} [worker] the URL of `worker.js` of this package, if it is not in the same
 *   folder as this module
 * @property {typeof globalThis.fetch} [fetch] used instead of `globalThis.fetch`
 * @property {number} [eventCharactersMax] larger events are discarded, and reported as an error of the
 *   kind `discarded`; default: 16 Mi; only if this tab reads the stream with `fetch`
 *
 * @typedef {"closed" | "ended" | "refused" | "gave-up" | "unsupported"} CloseReason `closed`: by the
 *   caller. `ended`: by the server. `refused`: by the status, the content type or CORS, and another
 *   attempt would be refused too. `gave-up`: `reconnect` allows no further attempt. `unsupported`:
 *   this browser or page cannot open the stream
 *
 * @typedef {Event & Failure & { attempt: number, nextDelay: number | null }} ErrorEvent
 *   `attempt`: the number of the next attempt in a row; `nextDelay`: milliseconds until then, `null` if
 *   the browser decides or no attempt follows
 * @typedef {Event & Failure & { reason: CloseReason }} CloseEvent
 */

/**
 * @template [Data=any]
 * @template {string} [Type=string]
 * @typedef {MessageEvent<Data> & { readonly type: Type, readonly topic: string | undefined,
 *   readonly topics: string[], readonly fields: [name: string, value: string][] }} ReceivedEvent
 *   `topic`: the first topic of the event that is one of the source's; `fields`: fields that the
 *   standard does not define
 */

/**
 * An event stream that reconnects. It dispatches `open`, `error` and `close`, and the received events.
 *
 * @template {Record<string, any>} [Events=Record<string, any>] the type of data for each event type, such
 *   as `{ price: Price }`
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
  #handlers = new Handlers(this);
  /** Dispatches published events of the types `open`, `error` and `close`. */
  #published = new EventTarget();
  /** The types that the browser's own class must deliver. */
  #types = new Set(["message", "open", "error", "close", NOTICE_TYPE]);
  /** @type {Set<(event: ReceivedEvent | null) => void | Promise<void>>} */
  #iterators = new Set();
  /** @type {Error | undefined} */
  #error;
  #abort = () => this.close();

  /**
   * @param {string | URL} url
   * @param {Options} [options]
   * @throws {DOMException} `SyntaxError` if the URL is invalid
   */
  constructor(url, options = {}) {
    super();
    if (!arguments.length) throw new TypeError("an EventSource needs a URL");
    options ??= {};
    this.#options = options;
    this.#lastEventId = options.lastEventId ?? "";
    const { fetch = globalThis.fetch, topics, signal, shared = topics && "auto" } = options;
    const canOpen = Boolean(fetch) || canBeNative(options);
    const address = canOpen ? absolute(url) : "";
    this.#url = hubUrl(address, canOpen && topics);
    if (!canOpen || signal?.aborted) {
      const reason = canOpen ? "closed" : "unsupported";
      const failed = canOpen ? failure(reason) : failure(reason, "this environment has neither EventSource nor fetch");
      if (!canOpen) console.error("no EventSource, no fetch:", url);
      this.#readyState = CLOSED;
      // The caller can set its callbacks in the rest of this task.
      queueMicrotask(() => this.#tellEnd(failed, reason));
      return;
    }
    signal?.addEventListener("abort", this.#abort);
    if (!shared || !isShareable(options)) this.#open();
    else if ("SharedWorker" in globalThis) void this.#share(address, shared === "auto");
    else {
      warn("this browser has no SharedWorker");
      this.#open();
    }
  }

  /** @returns {0 | 1 | 2} 0 connecting, 1 open, 2 closed */
  get readyState() {
    return this.#readyState;
  }

  /** The URL of the request, absolute. */
  get url() {
    return this.#url;
  }

  /** The last event ID, from which the stream would resume; empty if there is none. */
  get lastEventId() {
    return this.#subscription?.lastEventId ?? this.#lastEventId;
  }

  get withCredentials() {
    return Boolean(this.#options.withCredentials);
  }

  // As in the standard's class. They are independent of the callbacks of `onOpen` etc.

  get onopen() {
    return this.#handlers.get("open");
  }

  /** @param {import("./interface.js").Handler} handler */
  set onopen(handler) {
    this.#handlers.set("open", handler);
  }

  get onmessage() {
    return this.#handlers.get("message");
  }

  /** @param {import("./interface.js").Handler} handler */
  set onmessage(handler) {
    this.#handlers.set("message", handler);
  }

  get onerror() {
    return this.#handlers.get("error");
  }

  /** @param {import("./interface.js").Handler} handler */
  set onerror(handler) {
    this.#handlers.set("error", handler);
  }

  /** @param {((this: this, event: Event) => void) | null} callback called each time that the stream opens; replaces an earlier one */
  onOpen(callback) {
    this.#setCallback("open", callback);
  }

  /** @param {((this: this, event: ReceivedEvent<Events["message"], "message">) => void) | null} callback called for events without a type; replaces an earlier one */
  onMessage(callback) {
    this.#setCallback("message", callback);
  }

  /** @param {((this: this, event: ErrorEvent) => void) | null} callback called for failures; replaces an earlier one */
  onError(callback) {
    this.#setCallback("error", callback);
  }

  /**
   * Closes the source, then calls `callback`. To be notified of every end, use `on("close", …)`.
   *
   * @param {(this: this) => void} [callback]
   */
  onClose(callback) {
    this.close();
    callback?.call(this);
  }

  /**
   * Adds a listener. `open`, `error` and `close` are events of the stream itself; any other type is that
   * of published events. For published events of those three types, use `event:error` etc.
   *
   * @template {"open" | "error" | "close" | (keyof Events & string) | (string & {})} Type
   * @param {Type} type
   * @param {(this: this, event: Type extends "open" ? Event : Type extends "error" ? ErrorEvent
   *   : Type extends "close" ? CloseEvent : Type extends keyof Events ? ReceivedEvent<Events[Type], Type>
   *   : ReceivedEvent) => void} callback
   * @returns {() => void} removes the listener
   */
  on(type, callback) {
    const name = type.replace("event:", "");
    const target = name === type ? this : this.#published;
    // Wrapped, so that the same function can be added twice.
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
   * Iterates over events of the type `message` and of the option `types`. The iteration ends with the
   * stream, and throws unless the server or `close` ended it. Leaving the loop closes the source.
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
      if (waiting.push(event) > WAITING_EVENTS_MAX) this.#end(failure("too-slow", `more than ${WAITING_EVENTS_MAX}`), "gave-up");
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

  /** @param {string} type that the browser's own class must deliver */
  #listen(type) {
    this.#types.add(type);
    if (this.#subscription instanceof Subscription) this.#subscription.listen(type);
  }

  /** @returns {import("./subscribe.js").StreamRequest & { method: string }} */
  #request() {
    const method = methodOf(this.#options);
    return { ...this.#options, url: this.#url, method, lastEventId: this.lastEventId };
  }

  /** Opens a stream for this tab alone. */
  #open() {
    const request = this.#request();
    const { reconnect = request.method === "GET" } = this.#options;
    const policy = policyOf({ once: !reconnect, ...Object(reconnect) });
    // A hub sends an ID before the first event, which the browser's own class does not expose.
    const isNative = canBeNative(this.#options) && !(Boolean(globalThis.fetch) && isHub(this.#url));
    const transport = isNative ? readNatively(this.#types) : readWithFetch;
    this.#subscription = new Subscription(transport, request, policy, this.#sink);
  }

  /**
   * @param {string} url of the hub, without the topics
   * @param {boolean} onlyHttp1
   */
  async #share(url, onlyHttp1) {
    const onUnshared = (/** @type {unknown} */ why) => {
      warn(why);
      if (this.#readyState !== CLOSED) this.#open();
    };
    const options = { ...this.#options, onlyHttp1, onUnshared };
    try {
      const { share } = await import("./share.js");
      const subscription = await share({ ...this.#request(), url }, options, this.#sink);
      if (this.#readyState === CLOSED) subscription?.close();
      else if (!subscription) this.#open();
      // Unless sharing failed meanwhile, and the subscription was replaced.
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
    onTrouble: (failed) => this.#tellError(failed),
  };

  /**
   * @param {DecodedEvent} decoded
   * @returns {void | Promise<void>}
   */
  #receive({ type, data: text, lastEventId, fields = [], origin = this.#origin }) {
    this.#lastEventId = lastEventId;
    if (this.#subscription instanceof Subscription && type === NOTICE_TYPE) heedNotice(text, this.#subscription);
    const { parse, topics: own = [] } = this.#options;
    /** @type {any} */
    let data = text;
    try {
      if (parse) data = parse(text, type);
    } catch (cause) {
      return this.#tellError(failure("parse", cause, { cause }));
    }
    const topics = topicsOf(fields);
    const topic = topics.find((one) => own.includes(one)) ?? topics[0];
    const message = new MessageEvent(type, { data, lastEventId, origin });
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
    // The browser's own class reports 204 as an error, and pages written for it expect that.
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

  // For types only: `describeInterface` defines them as Web IDL constants.
  static CONNECTING = CONNECTING;
  static OPEN = OPEN;
  static CLOSED = CLOSED;
}

describeInterface(EventSourceWrapper, ["url", "withCredentials", "readyState", "close", "onopen", "onmessage", "onerror"]);

/** @param {Options} options */
const methodOf = ({ body, method = body == null ? "GET" : "POST" }) => method;

/** @param {Options} options */
function canBeNative(options) {
  const { headers, topics, fetch, types } = options;
  return Boolean(NativeEventSource) && isPlainGet(options) && !(headers || topics || fetch || types === "*");
}

/** @param {Options} options */
const isPlainGet = (options) => methodOf(options) === "GET" && options.body == null;

/**
 * Whether a stream can be shared: not if it needs functions of this tab, or is requested once only.
 *
 * @param {Options} options
 */
function isShareable(options) {
  const { fetch, reconnect = true, shared, headers, identity } = options;
  const tellsWhose = typeof headers !== "function" || identity || shared === true;
  // Functions cannot be sent to the worker.
  const isPlain = !Object.values(Object(reconnect)).some((value) => typeof value === "function");
  return isPlainGet(options) && !fetch && reconnect && isPlain && tellsWhose;
}
