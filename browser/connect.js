// One connection with `fetch`.

import { headerValue, isTooLong, withCursor } from "./cursor.js";
import { Decoder, EVENT_CHARACTERS_MAX } from "./decode.js";
import { failure, wordsOf } from "./failure.js";
import { NOTICE_TYPE } from "./notice.js";
import { isForeign, nameOf } from "./url.js";

/** The maximum of characters kept of a response that is not a stream. */
const BODY_CHARACTERS_MAX = 64 * 1024;
const BODY_MS_MAX = 5000;
/** How often silence is checked for. */
const LOOK_MS = 1000;
/** The maximum time to find out whether a server is reachable but refuses CORS. Some send the head of a stream late. */
const KNOCK_MS_MAX = 60_000;
/** A URL of more characters may be refused for its length. */
const LONG_URL_CHARACTERS = 2048;

/**
 * @typedef {import("./failure.js").Failure} Failure
 * @typedef {import("./subscribe.js").StreamRequest} StreamRequest
 * @typedef {import("./subscribe.js").Subscription} Subscription
 * @typedef {{ response: Response, failed?: undefined } | { response?: undefined, failed: Failure }} Answer
 */

/**
 * Reads a stream with `fetch`, from the request to the end of its body.
 *
 * @type {import("./subscribe.js").Transport}
 */
export const readWithFetch = (subscription, signal) =>
  resume(subscription, signal, subscription.request.url, (url) => readOnce(subscription, signal, url, ""));

/**
 * Makes one connection that resumes from the last event ID, sent in the header `Last-Event-ID`. If the
 * header is not possible, sends the ID in the query.
 *
 * @param {Subscription} subscription
 * @param {AbortSignal} signal
 * @param {string} first the URL to try, with the header
 * @param {(url: string) => Promise<Failure>} otherwise
 * @returns {Promise<Failure>}
 */
export async function resume(subscription, signal, first, otherwise) {
  const { lastEventId, server, policy, request: { url } } = subscription;
  if (!server.refusesHeader || lastEventId === "") {
    server.isWithoutHeader = false;
    let failed = await readOnce(subscription, signal, server.refusesQuery ? url : first, lastEventId);
    const { status } = failed;
    if (!signal.aborted && first !== url && !server.refusesQuery && status >= 400 && status < 500 && !policy.isPassing(status)) {
      // The server may reject unknown parameters.
      server.refusesQuery = true;
      failed = await readOnce(subscription, signal, url, lastEventId);
    }
    const isRefused = failed.kind === "cors" || failed.kind === "unsupported";
    if (signal.aborted || lastEventId === "" || !isRefused) return failed;
  }
  if (server.repeats) {
    return failure("cors", `${new URL(url).origin} must allow the header Last-Event-ID, because without it the stream starts again each time`, { isFinal: true });
  }
  server.isWithoutHeader = true;
  const asked = withCursor(url, lastEventId);
  return server.mayRepeat ? readOnce(subscription, signal, asked, "") : otherwise(asked);
}

/**
 * @param {Subscription} subscription
 * @param {AbortSignal} signal
 * @param {string} url
 * @param {string} cursor for the header; none if empty
 * @param {boolean} [isSuspect] whether the same request has just failed
 * @returns {Promise<Failure>}
 */
export async function readOnce(subscription, signal, url, cursor, isSuspect) {
  const { policy, lastEventId, sink, server } = subscription;
  const request = { ...subscription.request, url };
  const { eventCharactersMax = EVENT_CHARACTERS_MAX } = request;
  // Ends this connection but not the stream. Only aborting frees the connection at once.
  const stop = linked(signal);
  let late = "";
  let seenAt = Date.now();
  let isOpen = false;
  const timer = setInterval(() => {
    const limitMs = isOpen ? subscription.silenceMaxMs : policy.once ? Infinity : policy.answerMaxMs;
    if (Date.now() - seenAt < limitMs) return;
    late = `${isOpen ? "no data" : `no response from ${nameOf(url)}`} for ${limitMs / 1000} s`;
    stop.abort();
  }, LOOK_MS);
  const tell = (/** @type {string} */ why) => sink.onTrouble?.(failure("cursor", `${why}, so events may be missing`));
  try {
    if (cursor !== "" && headerValue(cursor) === undefined) tell(`it has ${cursor.length} characters, too long for a header`);
    let { response, failed } = await connect(request, cursor, stop.signal, isSuspect);
    if (failed && isTooLong(cursor, failed.status) && !signal.aborted) {
      tell(`it has ${cursor.length} characters, and the server refused it with status ${failed.status}`);
      ({ response, failed } = await connect(request, "", stop.signal));
    }
    if (!response) return late ? failure("unreachable", late) : /** @type {Failure} */ (failed);
    signal.throwIfAborted();
    seenAt = Date.now();
    isOpen = true;
    subscription.opened(response.url || url);
    let taken = /** @type {void | Promise<void>} */ (undefined);
    const decoder = new Decoder(
      {
        onEvent: (event) => {
          // A listener may have closed the stream, and the chunk may contain more events.
          if (signal.aborted) return;
          // Only published events show it: a notice has the ID of the current position.
          if (server.isWithoutHeader && event.id === lastEventId && event.type !== NOTICE_TYPE) server.repeats = true;
          taken = subscription.receive(event);
        },
        onRetry: (milliseconds) => subscription.reconnect.retry(milliseconds),
        onDiscarded: () => sink.onTrouble?.(failure("discarded", `it has more than ${eventCharactersMax} characters`)),
      },
      { eventCharactersMax, lastEventId },
    );
    await read(response, async (chunk) => {
      decoder.push(chunk);
      if (signal.aborted) return false;
      subscription.lastEventId = decoder.lastEventId;
      // While the caller is slow to take an event, the server does not count as silent.
      seenAt = Infinity;
      await taken;
      taken = undefined;
      seenAt = Date.now();
      return true;
    });
    return decoder.isUnfinished ? failure("lost", "in the middle of an event") : failure("ended");
  } catch (cause) {
    return failure("lost", late || cause, { cause });
  } finally {
    clearInterval(timer);
    stop.abort();
  }
}

/**
 * Sends one request, and returns its stream or the reason for its failure.
 *
 * @param {StreamRequest} request
 * @param {string} cursor the last event ID to send; none if empty
 * @param {AbortSignal} signal
 * @param {boolean} [isSuspect] whether the same request has just failed
 * @returns {Promise<Answer>}
 */
export async function connect(request, cursor, signal, isSuspect = false) {
  const { url, method = "GET", body, headers: given, withCredentials, fetch = globalThis.fetch } = request;
  /** @type {Record<string, string>} */
  let headers;
  try {
    headers = fieldsOf(typeof given === "function" ? await given() : given, cursor);
  } catch (cause) {
    return { failed: failure("headers", cause, { cause }) };
  }
  if (new URL(url).username !== "") {
    return { failed: failure("unsupported", `the URL ${nameOf(url)} contains a login, which fetch does not send; use an Authorization header`) };
  }
  const isPiped = typeof (/** @type {any} */ (body)?.getReader) === "function";
  /** @type {RequestInit} */
  const init = {
    method,
    body,
    headers,
    // Sends `Cache-Control: no-cache`, as every browser's EventSource does.
    cache: "no-store",
    credentials: withCredentials ? "include" : "same-origin",
    ...(isPiped && { duplex: "half" }),
  };
  try {
    // An invalid request, such as a GET with a body, fails here.
    if (!request.fetch) new Request(url, { ...init, body: isPiped ? null : body });
  } catch (cause) {
    return { failed: failure("unsupported", cause, { cause }) };
  }
  // The browser hides why a request to another origin failed. Only a GET may be repeated to find out whether
  // the server is reachable; no other request is sent twice.
  const mayKnock = method === "GET" && isForeign(url);
  const watch = new AbortController();
  const forbiddenBy = watchPolicy(url, watch.signal);
  /** @type {Promise<boolean> | undefined} */
  let isThere;
  try {
    for (let isLast = isSuspect || !mayKnock; ; isLast = true) {
      // It is sent first: if it reaches the server, the server was reachable for the next request too.
      if (isLast && mayKnock) isThere = knock(fetch, url, init, signal);
      try {
        return await judge(await fetch(url, { ...init, signal }), url);
      } catch (cause) {
        if (!isLast) continue;
        const directive = await forbiddenBy();
        if (directive) return { failed: failure("unsupported", `the page's content security policy (${directive}) does not allow ${nameOf(url)}`, { cause }) };
        const details = (await isThere) ? `${new URL(url).origin} must allow ${whatToAllow(headers)} with CORS` : `${nameOf(url)} (${wordsOf(cause)})`;
        return { failed: failure((await isThere) ? "cors" : "unreachable", details, { cause }) };
      }
    }
  } finally {
    watch.abort();
  }
}

/**
 * Watches for a block by the page's own policy, which is permanent.
 *
 * @param {string} url
 * @param {AbortSignal} signal ends the watch
 * @returns {() => Promise<string>} the directive that blocked it; empty if none did
 */
function watchPolicy(url, signal) {
  const [asked] = url.split("#");
  let directive = "";
  const see = (/** @type {any} */ { disposition, blockedURI, effectiveDirective }) => {
    if (disposition === "enforce" && blockedURI === asked) directive = effectiveDirective;
  };
  const target = globalThis.document ?? globalThis;
  target.addEventListener?.("securitypolicyviolation", see, { signal });
  return async () => {
    // The event is dispatched in a separate task.
    await new Promise((resolve) => setTimeout(resolve));
    return directive;
  };
}

/**
 * @param {Record<string, string>} headers
 * @returns {string} the header that the other origin must allow
 */
function whatToAllow({ Accept: _, ...headers }) {
  const names = Object.keys(headers);
  return `the origin ${globalThis.location.origin}${names.length > 0 ? ` and the headers ${names.join(", ")}` : ""}`;
}

/**
 * Sends a request that need not read its response. It succeeds if only CORS was the problem.
 *
 * @param {typeof globalThis.fetch} fetch
 * @param {string} url
 * @param {RequestInit} init
 * @param {AbortSignal} signal
 * @returns {Promise<boolean>} whether the server is reachable
 */
export async function knock(fetch, url, init, signal) {
  const stop = linked(signal);
  const timer = setTimeout(() => stop.abort(), KNOCK_MS_MAX);
  try {
    await fetch(url, { ...init, headers: {}, mode: "no-cors", signal: stop.signal });
    return true;
  } catch {
    return false;
  } finally {
    clearTimeout(timer);
    // The response may be an endless stream, which would occupy one of the browser's few connections.
    stop.abort();
  }
}

/**
 * @param {AbortSignal} signal
 * @returns {AbortController} aborted together with the signal; once aborted, its listener is removed
 */
export function linked(signal) {
  const stop = new AbortController();
  signal.addEventListener("abort", () => stop.abort(), { signal: stop.signal });
  if (signal.aborted) stop.abort();
  return stop;
}

/**
 * The headers of a request, as a plain object: wrappers of `fetch` add headers with `{ ...headers }`.
 *
 * @param {any} given by the caller: an object, or pairs of names and values
 * @param {string} cursor
 * @returns {Record<string, string>}
 * @throws {TypeError} if a name or a value is invalid
 */
export function fieldsOf(given, cursor = "") {
  /** @type {Record<string, string>} */
  const fields = Object.fromEntries(typeof given?.[Symbol.iterator] === "function" ? given : Object.entries(given ?? {}));
  const has = (/** @type {string} */ name) => Object.keys(fields).some((one) => one.toLowerCase() === name);
  if (!has("accept")) fields["Accept"] = "text/event-stream";
  const value = headerValue(cursor);
  if (value !== undefined && !has("last-event-id")) fields["Last-Event-ID"] = value;
  new Headers(fields);
  return fields;
}

/**
 * @param {Response} response
 * @param {string} url
 * @returns {Promise<Answer>}
 */
async function judge(response, url) {
  const { status, headers } = response;
  const type = headers.get("Content-Type") ?? "none";
  const isFine = status === 200;
  if (isFine && mediaType(type) === "text/event-stream") return { response };
  const retryAfterMs = retryAfter(headers.get("Retry-After") ?? "", Date.now());
  const utf8 = new TextDecoder();
  let body = "";
  const beginning = read(response, (chunk) => {
    body += utf8.decode(chunk, { stream: true });
    return body.length < BODY_CHARACTERS_MAX;
  });
  // If the body fails, its beginning is still reported.
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  await Promise.race([beginning.catch(() => {}), new Promise((resolve) => (timer = setTimeout(resolve, BODY_MS_MAX)))]);
  clearTimeout(timer);
  body = body.slice(0, BODY_CHARACTERS_MAX);
  const isLong = url.length > LONG_URL_CHARACTERS && [400, 413, 414, 431].includes(status);
  const details = `status ${status}, ${type}${isLong ? `; the URL has ${url.length} characters` : ""}`;
  return { failed: failure(isFine ? "not-a-stream" : "refused", details, { status, body, retryAfterMs }) };
}

/**
 * The last valid value of a content type (Fetch, "extract a MIME type").
 *
 * @param {string} header
 * @returns {string | undefined} without parameters
 */
export function mediaType(header) {
  const values = header.match(/(?:"(?:\\.|[^"\\])*"?|[^",])+/gs) ?? [];
  const types = values.map((value) => /^\s*([^\s()<>@,;:\\"/[\]?={}]+\/[^\s()<>@,;:\\"/[\]?={}]+)\s*(?:;|$)/.exec(value)?.[1]?.toLowerCase());
  return types.filter((type) => type && type !== "*/*").at(-1);
}

/**
 * @param {{ body: any }} response may be of another realm, or of a `fetch` whose bodies are only iterable
 * @param {(chunk: Uint8Array) => boolean | Promise<boolean>} take returns whether to continue
 */
async function read({ body }, take) {
  if (typeof body?.getReader !== "function") {
    for await (const chunk of body ?? []) if (!(await take(chunk))) return;
    return;
  }
  const reader = body.getReader();
  for (let chunk; (chunk = await reader.read()).value && (await take(chunk.value)); );
}

/**
 * Seconds, or a date (RFC 9110 10.2.3).
 *
 * @param {string} value
 * @param {number} now
 */
export function retryAfter(value, now) {
  const milliseconds = /^\d+$/.test(value) ? Number(value) * 1000 : Date.parse(value) - now;
  return Math.max(milliseconds, 0) || 0;
}
