// One connection with `fetch`.

import { Decoder } from "./decode.js";
import { failure } from "./failure.js";

/** Of an answer that is no stream, so much is kept to tell what it says. */
const BODY_CHARACTERS_MAX = 64 * 1024;
const BODY_MS_MAX = 5000;
const LOOK_MS = 5000;

/**
 * @typedef {import("./failure.js").Failure} Failure
 * @typedef {import("./subscribe.js").StreamRequest} StreamRequest
 */

/**
 * Reads a stream with `fetch`, from the request to the end of its body.
 *
 * @type {import("./subscribe.js").Transport}
 */
export async function readWithFetch(subscription, signal) {
  const { request, policy, lastEventId, sink, eventCharactersMax } = subscription;
  // Ends this connection and not the stream. Nothing else frees it at once.
  const stop = new AbortController();
  const abort = () => stop.abort();
  signal.addEventListener("abort", abort);
  let late = "";
  let seenAt = Date.now();
  let limitMs = policy.once ? Infinity : policy.answerMaxMs;
  const timer = setInterval(() => {
    if (Date.now() - seenAt < limitMs) return;
    late = "Nothing came for too long";
    abort();
  }, Math.min(LOOK_MS, limitMs, subscription.silenceMaxMs));
  try {
    const response = await connect(request, lastEventId, stop.signal);
    if (!(response instanceof Response)) return late ? failure("unreachable", late) : response;
    signal.throwIfAborted();
    seenAt = Date.now();
    subscription.opened(response.url || request.url);
    let taken = /** @type {void | Promise<void>} */ (undefined);
    const decoder = new Decoder(
      {
        // One chunk may hold more events after the one whose listener closed the stream.
        onEvent: (event) => signal.aborted || (taken = subscription.receive(event)),
        onRetry: (milliseconds) => subscription.reconnect.retry(milliseconds),
        onDiscarded: () => sink.onDiscarded?.(),
      },
      { eventCharactersMax },
    );
    decoder.lastEventId = lastEventId;
    const reader = response.body?.getReader();
    for (let chunk; !signal.aborted && (chunk = await reader?.read())?.value; ) {
      decoder.push(chunk.value);
      subscription.lastEventId = decoder.lastEventId;
      await taken;
      taken = undefined;
      seenAt = Date.now();
      limitMs = subscription.silenceMaxMs;
    }
    return decoder.end() ? failure("lost", "The stream ended in the middle of an event") : failure("ended", "The stream ended");
  } catch (cause) {
    return failure("lost", late || "The connection was lost", { cause });
  } finally {
    clearInterval(timer);
    abort();
  }
}

/**
 * One request: an open stream, or why there is none.
 *
 * @param {StreamRequest} request
 * @param {string} lastEventId sent unless empty
 * @param {AbortSignal} signal
 * @returns {Promise<Response | Failure>}
 */
export async function connect({ url, method = "GET", body, headers: given, withCredentials, fetch = globalThis.fetch }, lastEventId, signal) {
  /** @type {RequestInit} */
  let init;
  try {
    const headers = new Headers(typeof given === "function" ? await given() : given);
    if (!headers.has("Accept")) headers.set("Accept", "text/event-stream");
    // A header's value is bytes, which `fetch` takes as characters below 256.
    if (lastEventId) headers.set("Last-Event-ID", String.fromCharCode(...new TextEncoder().encode(lastEventId)));
    // As every browser's EventSource: on the wire it is `Cache-Control: no-cache`.
    init = { method, body: body ?? null, headers, signal, cache: "no-store", credentials: withCredentials ? "include" : "same-origin" };
  } catch (cause) {
    return failure("headers", "The request's headers could not be made", { cause });
  }
  try {
    return await judge(await fetch(url, init));
  } catch (cause) {
    try {
      // A request that may not read the answer succeeds where only CORS stands in between.
      if (method !== "GET" || new URL(url).origin === location.origin) throw cause;
      const stop = new AbortController();
      signal.addEventListener("abort", () => stop.abort());
      await fetch(url, { mode: "no-cors", cache: "no-store", credentials: "omit", signal: stop.signal });
      stop.abort();
    } catch {
      return failure("unreachable", "There was no answer", { cause });
    }
    // The server may have come back just now. If this fails once more, it is not the network.
    return fetch(url, init).then(judge, () => failure("cors", "The server does not let this page read the stream", { cause }));
  }
}

/**
 * @param {Response} response
 * @returns {Promise<Response | Failure>}
 */
async function judge(response) {
  const { status, headers, body: stream } = response;
  const type = headers.get("Content-Type") ?? "none";
  const isFine = status === 200;
  if (isFine && /^\s*text\/event-stream\s*(;|$)/i.test(type)) return response;
  const retryAfterMs = retryAfter(headers.get("Retry-After"), Date.now());
  let body = "";
  const reader = stream?.getReader();
  const cancel = () => reader?.cancel().catch(() => {});
  const timer = setTimeout(cancel, BODY_MS_MAX);
  try {
    const utf8 = new TextDecoder();
    for (let chunk; body.length < BODY_CHARACTERS_MAX && (chunk = await reader?.read())?.value; ) {
      body += utf8.decode(chunk.value, { stream: true });
    }
  } catch {
    // What had come before the body broke off is told all the same.
  }
  clearTimeout(timer);
  cancel();
  body = body.slice(0, BODY_CHARACTERS_MAX);
  return failure(isFine ? "not-a-stream" : "refused", `The answer is ${status}, of the type ${type}`, { status, body, retryAfterMs });
}

/**
 * Seconds, or a date (RFC 9110 10.2.3).
 *
 * @param {string | null} value
 * @param {number} now
 */
export function retryAfter(value, now) {
  const milliseconds = /^\d+$/.test(value ?? "") ? Number(value) * 1000 : Date.parse(value ?? "") - now;
  return milliseconds > 0 ? milliseconds : 0;
}
