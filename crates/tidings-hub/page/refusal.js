// Why a stream could not be opened. `EventSource` only says that it gave up, so one request
// is made with `fetch`, and dropped as soon as its head has told.

const PROBE_MS_MAX = 10_000;
const BODY_BYTES_MAX = 2_000;

/**
 * @typedef {{ kind: "unreachable" }
 *   | { kind: "fine" }
 *   | { kind: "busy", words: string, retryMs: number | null }
 *   | { kind: "refused", words: string }} Refusal
 *
 * `unreachable`: no answer. `fine`: by now there is a stream. `busy`: later may do.
 * `refused`: the same request would be refused again.
 */

/**
 * @param {string} url the stream's
 * @param {AbortSignal} signal
 * @returns {Promise<Refusal>}
 */
export async function probe(url, signal) {
  const stop = new AbortController();
  const stopped = AbortSignal.any([signal, stop.signal, AbortSignal.timeout(PROBE_MS_MAX)]);
  try {
    const response = await fetch(url, {
      headers: { Accept: "text/event-stream" },
      cache: "no-store",
      signal: stopped,
    });
    return await explain(response);
  } catch {
    return { kind: "unreachable" };
  } finally {
    // If a stream was opened after all, it would hold one of the browser's few connections.
    stop.abort();
  }
}

/**
 * @param {Response} response
 * @returns {Promise<Refusal>}
 */
async function explain(response) {
  const type = response.headers.get("Content-Type") ?? "";
  if (response.status === 200) {
    if (/^text\/event-stream\s*(;|$)/i.test(type)) return { kind: "fine" };
    return { kind: "refused", words: `The answer is no event stream but ${type || "of no stated type"}.` };
  }
  if (response.status === 204) {
    return { kind: "refused", words: "The hub says that there is nothing to come (204)." };
  }
  const answered = await sayStatus(response);
  if (response.status === 408 || response.status === 425 || response.status === 429 || response.status >= 500) {
    const seconds = Number(response.headers.get("Retry-After") ?? "x");
    return { kind: "busy", words: answered, retryMs: Number.isFinite(seconds) ? seconds * 1_000 : null };
  }
  return { kind: "refused", words: answered };
}

/**
 * An error answer in words: its status, and what its body says.
 *
 * @param {Response} response
 * @returns {Promise<string>}
 */
export async function sayStatus(response) {
  const status = `${response.status}${response.statusText ? ` ${response.statusText}` : ""}`;
  const body = (await beginning(response)).trim();
  if (body === "") return `The hub answered ${status}.`;
  return `The hub answered ${status}: ${body}${/[.!?…]$/.test(body) ? "" : "."}`;
}

/**
 * The beginning of a body: an error's text may come from anything between here and the hub.
 *
 * @param {Response} response
 * @returns {Promise<string>}
 */
async function beginning(response) {
  const reader = response.body?.getReader();
  if (!reader) return "";
  const decoder = new TextDecoder();
  let text = "";
  try {
    while (text.length < BODY_BYTES_MAX) {
      const { done, value } = await reader.read();
      if (done) return text;
      text += decoder.decode(value, { stream: true });
    }
  } catch {
    // What had come before the body broke off is said all the same.
    return text;
  }
  reader.cancel().catch(() => {});
  return `${text.slice(0, BODY_BYTES_MAX)}…`;
}
