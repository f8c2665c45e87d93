// Error answers as sentences.

const BODY_BYTES_MAX = 2_000;

/**
 * An error answer as a sentence: its status, and its body.
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
    // The part that arrived before the body broke off is shown all the same.
    return text;
  }
  reader.cancel().catch(() => {});
  return `${text.slice(0, BODY_BYTES_MAX)}…`;
}
