// One connection with `fetch`.

import { Decoder } from "./decode.js";
import { failure } from "./failure.js";

/** Of an answer that is no stream, so much is kept to tell what it says. */
const BODY_CHARACTERS_MAX = 64 * 1024;
const BODY_MS_MAX = 5000;
/** How late it may be noticed that nothing comes. */
const LOOK_MS = 1000;

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
  const { request, policy, lastEventId, sink } = subscription;
  // Ends this connection and not the stream. Nothing else frees it at once.
  const stop = new AbortController();
  const abort = () => stop.abort();
  signal.addEventListener("abort", abort);
  let late = "";
  let seenAt = Date.now();
  let isOpen = false;
  const timer = setInterval(() => {
    const limitMs = isOpen ? subscription.silenceMaxMs : policy.once ? Infinity : policy.answerMaxMs;
    if (Date.now() - seenAt < limitMs) return;
    late = "silence";
    abort();
  }, LOOK_MS);
  try {
    const response = await connect(request, lastEventId, stop.signal);
    if (!(response instanceof Response)) return late ? failure("unreachable", late) : response;
    signal.throwIfAborted();
    seenAt = Date.now();
    isOpen = true;
    subscription.opened(response.url || request.url);
    let taken = /** @type {void | Promise<void>} */ (undefined);
    const decoder = new Decoder(
      {
        // One chunk may hold more events after the one whose listener closed the stream.
        onEvent: (event) => signal.aborted || (taken = subscription.receive(event)),
        onRetry: (milliseconds) => subscription.reconnect.retry(milliseconds),
        onDiscarded: sink.onDiscarded,
      },
      { ...request, lastEventId },
    );
    await read(response, async (chunk) => {
      decoder.push(chunk);
      if (signal.aborted) return false;
      subscription.lastEventId = decoder.lastEventId;
      // It is not the server that is silent while somebody is slow to take an event.
      seenAt = Infinity;
      await taken;
      taken = undefined;
      seenAt = Date.now();
      return true;
    });
    return decoder.isUnfinished ? failure("lost", "unfinished") : failure("ended");
  } catch (cause) {
    return failure("lost", late, { cause });
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
  /** @type {Headers} */
  let headers;
  try {
    headers = new Headers(typeof given === "function" ? await given() : given);
    if (!headers.has("Accept")) headers.set("Accept", "text/event-stream");
    // A header's value is bytes, which `fetch` takes as characters below 256.
    if (lastEventId) headers.set("Last-Event-ID", String.fromCharCode(...new TextEncoder().encode(lastEventId)));
  } catch (cause) {
    return failure("headers", "", { cause });
  }
  /** @param {RequestInit} [more] */
  const ask = (more) =>
    // As every browser's EventSource: on the wire `no-store` is `Cache-Control: no-cache`.
    fetch(url, { method, body, headers, signal, cache: "no-store", credentials: withCredentials ? "include" : "same-origin", ...more });
  let kind = /** @type {Failure["kind"]} */ ("unreachable");
  try {
    return await judge(await ask());
  } catch (cause) {
    try {
      // A request that may not read the answer succeeds where only CORS stands in between.
      if (method !== "GET" || new URL(url).origin === location.origin) throw cause;
      // That answer may be an endless stream, which would hold one of the browser's few connections.
      await ask({ mode: "no-cors", signal: AbortSignal.timeout(BODY_MS_MAX) });
      // The server may have come back just now. If this fails once more, it is not the network.
      kind = await ask().then(() => kind, () => "cors");
    } catch {
      // Not even that.
    }
    return failure(kind, "", { cause });
  }
}

/**
 * @param {Response} response
 * @returns {Promise<Response | Failure>}
 */
async function judge(response) {
  const { status, headers } = response;
  const type = headers.get("Content-Type") ?? "none";
  const isFine = status === 200;
  if (isFine && /^\s*text\/event-stream\s*(;|$)/i.test(type)) return response;
  const retryAfterMs = retryAfter(headers.get("Retry-After") ?? "", Date.now());
  const utf8 = new TextDecoder();
  let body = "";
  const beginning = read(response, (chunk) => {
    body += utf8.decode(chunk, { stream: true });
    return body.length < BODY_CHARACTERS_MAX;
  });
  // What comes before the body breaks off is told all the same.
  await Promise.race([beginning.catch(() => {}), new Promise((resolve) => setTimeout(resolve, BODY_MS_MAX))]);
  body = body.slice(0, BODY_CHARACTERS_MAX);
  return failure(isFine ? "not-a-stream" : "refused", `status ${status}, ${type}`, { status, body, retryAfterMs });
}

/**
 * @param {Response} response
 * @param {(chunk: Uint8Array) => boolean | Promise<boolean>} take whether to go on
 */
async function read({ body }, take) {
  const reader = body?.getReader();
  for (let chunk; (chunk = await reader?.read())?.value && (await take(chunk.value)); );
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
