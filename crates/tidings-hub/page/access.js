// A token for the page: what it grants, and who is subscribed.
//
// An `EventSource` can't send headers, so the token goes as Mercure's cookie, which the browser
// adds to the streams and the publishes of this page by itself.

import { find, valueOf } from "./find.js";
import { HUB_PATH } from "./publish.js";
import { sayStatus } from "./refusal.js";

const COOKIE = "mercureAuthorization";
const ANSWER_MS_MAX = 10_000;
const SHOWN_MAX = 200;

/** @param {HTMLElement} section */
export function showAccess(section) {
  const form = /** @type {HTMLFormElement} */ (find(section, "form"));
  const said = find(section, ".result");
  const say = (/** @type {string} */ words) => {
    said.textContent = words;
  };
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const token = valueOf(form, "token").trim();
    keep(token);
    // The field shows no secret longer than it has to.
    form.reset();
    say(token === "" ? "No token is used." : describe(token));
  });
  find(section, "[data-act=forget]").addEventListener("click", () => {
    keep("");
    say("No token is used.");
  });
  find(section, "[data-act=who]").addEventListener("click", () => who(find(section, ".subscribers"), say));
}

/** @param {string} token which is no token if it is empty */
function keep(token) {
  const secure = location.protocol === "https:" ? "; Secure" : "";
  const value = token === "" ? "=; Max-Age=0" : `=${encodeURIComponent(token)}`;
  document.cookie = `${COOKIE}${value}; Path=${HUB_PATH}; SameSite=Strict${secure}`;
}

/**
 * What the token says of itself, in words. Whether it is good is for the hub to say.
 *
 * @param {string} token
 * @returns {string}
 */
function describe(token) {
  const claims = claimsOf(token);
  if (claims === null) return "That is no token (JWT), and the hub will refuse it.";
  const { publish, subscribe } = grantsOf(claims);
  const list = (/** @type {string[]} */ topics) => (topics.length === 0 ? "nothing" : topics.join(", "));
  const end = typeof claims.exp === "number" ? ` until ${new Date(claims.exp * 1_000).toLocaleString()}` : "";
  return `Used from now on${end}. It grants publishing to ${list(publish)}; reading private events of ${list(subscribe)}. Streams that are open keep what they had.`;
}

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
 * @param {(words: string) => void} say
 */
async function who(list, say) {
  list.replaceChildren();
  try {
    const response = await fetch(`${HUB_PATH}/subscriptions`, { signal: AbortSignal.timeout(ANSWER_MS_MAX) });
    if (!response.ok) return say(await sayStatus(response));
    const { subscriptions } = /** @type {{ subscriptions: any[] }} */ (await response.json());
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
    say("The hub can't be reached.");
  }
}
