// Tokens for the page: what they grant, and the list of subscriptions.

import { find, say as show, valueOf } from "./find.js";
import { takesTokens } from "./hub.js";
import { HUB_URL } from "./publish.js";
import { sayStatus } from "./refusal.js";
import { forgetTokens, headersTo, useToken } from "./token.js";

const ANSWER_MS_MAX = 10_000;
const SHOWN_MAX = 200;

/**
 * @param {HTMLElement} section
 * @param {() => void} changed called when other tokens are in use than before
 */
export function showAccess(section, changed) {
  const form = /** @type {HTMLFormElement} */ (find(section, "form"));
  const said = find(section, ".result");
  const say = (/** @type {string} */ words, isFailure = false) => show(said, words, isFailure);
  const subscribers = find(section, ".subscribers");
  const forget = () => {
    forgetTokens();
    subscribers.replaceChildren();
    say("No token is used.");
    changed();
  };
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    // A terminal's lines break where they end, and headers have a word before the token.
    const token = valueOf(form, "token").replace(/^\s*Bearer\s+/i, "").replace(/\s+/g, "");
    // The field shows no secret longer than it has to.
    form.reset();
    if (token === "") return forget();
    const claims = claimsOf(token);
    if (claims === null) return say("This is not a token (JWT), so the page does not use it.", true);
    say(use(token, claims), isExpired(claims));
    changed();
  });
  find(section, "[data-act=forget]").addEventListener("click", forget);
  find(section, "[data-act=who]").addEventListener("click", () => who(subscribers, say));
}

/**
 * Uses a token for the actions that it grants, since a hub may have one key for publishers and
 * another for subscribers. Returns the token's grants as a sentence; the hub decides whether the
 * token is valid.
 *
 * @param {string} token
 * @param {Record<string, any>} claims
 * @returns {string}
 */
function use(token, claims) {
  const { publish, subscribe } = grantsOf(claims);
  const nothing = publish.length + subscribe.length === 0;
  // A hub refuses every request with a token that none of its keys verifies.
  const uses = {
    publish: takesTokens("publish") && (nothing || publish.length > 0),
    subscribe: takesTokens("subscribe") && (nothing || subscribe.length > 0),
  };
  useToken(token, uses);
  if (!uses.publish && !uses.subscribe) return "Not used: this hub has no key for what the token grants.";
  const list = (/** @type {string[]} */ topics) => (topics.length === 0 ? "nothing" : topics.join(", "));
  const words = uses.publish && uses.subscribe ? "" : uses.publish ? " to publish" : " to read";
  return `Used${words} from now on${endOf(claims)}. It grants publishing to ${list(publish)}; reading private events of ${list(subscribe)}.`;
}

/** @param {Record<string, any>} claims */
function endOf(claims) {
  if (typeof claims.exp !== "number") return "";
  const end = new Date(claims.exp * 1_000).toLocaleString();
  return isExpired(claims) ? `, but it expired ${end}` : ` until ${end}`;
}

/** @param {Record<string, any>} claims */
const isExpired = ({ exp }) => typeof exp === "number" && exp * 1_000 < Date.now();

/**
 * @param {string} token
 * @returns {Record<string, any> | null}
 */
function claimsOf(token) {
  try {
    const part = (token.split(".")[1] ?? "").replaceAll("-", "+").replaceAll("_", "/");
    const bytes = Uint8Array.from(atob(part), (letter) => letter.charCodeAt(0));
    const claims = JSON.parse(new TextDecoder().decode(bytes));
    return typeof claims === "object" ? claims : null;
  } catch {
    return null;
  }
}

/**
 * The selectors, in either dialect of Mercure.
 *
 * @param {Record<string, any>} claims
 * @returns {{ publish: string[], subscribe: string[] }}
 */
function grantsOf(claims) {
  const granted = { publish: /** @type {string[]} */ ([]), subscribe: /** @type {string[]} */ ([]) };
  const claim = claims["https://mercure.rocks/"] ?? claims.mercure;
  const details = Array.isArray(claims.authorization_details) ? claims.authorization_details : [];
  for (const action of /** @type {const} */ (["publish", "subscribe"])) {
    if (Array.isArray(claim?.[action])) granted[action].push(...claim[action].map(String));
    for (const detail of details) {
      if (!Array.isArray(detail?.actions) || !detail.actions.includes(action)) continue;
      if (Array.isArray(detail.topics)) granted[action].push(...detail.topics.map((/** @type {any} */ one) => String(one?.match)));
    }
  }
  return granted;
}

/**
 * @param {HTMLElement} list
 * @param {(words: string, isFailure?: boolean) => void} say
 */
async function who(list, say) {
  list.replaceChildren();
  try {
    const response = await fetch(`${HUB_URL}/subscriptions`, {
      headers: headersTo("subscribe"),
      signal: AbortSignal.timeout(ANSWER_MS_MAX),
    });
    if (!response.ok) return say(await sayStatus(response), true);
    const subscriptions = subscriptionsIn(await response.text());
    if (subscriptions === null) {
      const type = response.headers.get("Content-Type") ?? "without a type";
      return say(`The answer (${response.status}, ${type}) is no list of subscriptions. A proxy may have answered in place of the hub.`, true);
    }
    for (const one of subscriptions.slice(0, SHOWN_MAX)) {
      const item = document.createElement("li");
      const payload = one.payload === undefined ? "" : ` ${JSON.stringify(one.payload)}`;
      item.textContent = `${one.topic ?? one.match} · ${one.subscriber}${payload}`;
      list.append(item);
    }
    const count = subscriptions.length;
    const rest = count > SHOWN_MAX ? `; the first ${SHOWN_MAX} are shown` : "";
    say(count === 1 ? "One subscription." : `${count} subscriptions${rest}.`);
  } catch {
    say("The hub can't be reached.", true);
  }
}

/**
 * @param {string} text
 * @returns {any[] | null}
 */
function subscriptionsIn(text) {
  try {
    const { subscriptions } = JSON.parse(text);
    return Array.isArray(subscriptions) ? subscriptions : null;
  } catch {
    return null;
  }
}
