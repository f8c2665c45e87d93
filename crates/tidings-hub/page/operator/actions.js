// Tokens, which are in the page's memory only, and what they allow: ending a stream, revoking a token.

import { find, say, valueOf } from "../find.js";
import { sayStatus } from "../refusal.js";
import { send } from "./feed.js";

/** @typedef {import("./feed.js").SlowReader} SlowReader */

/** A hub may have one key for subscribers, who read, and another for publishers, who may act. */
const tokens = { read: "", act: "" };

export const tokenToRead = () => tokens.read;

/** @param {(words: string, isFailure?: boolean) => void} tell */
const unreachable = (tell) => tell("The hub can't be reached.", true);

/** @param {() => void} changed called when another token to read is in use */
export function showAccess(changed) {
  const form = /** @type {HTMLFormElement} */ (find(document, "#token-form"));
  const said = find(form, ".result");
  const tell = (/** @type {string} */ words, isFailure = false) => say(said, words, isFailure);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const token = valueOf(form, "token").trim();
    // The field shows no secret longer than it has to.
    form.reset();
    if (token === "") return tell("Enter a token.", true);
    // What is no token could not be sent as a header.
    if (!/^[\x21-\x7e]+$/.test(token)) return tell("This is not a token: it has characters that a token cannot have.", true);
    tell("Asking the hub.");
    try {
      const response = await send("token", {}, token);
      if (!response.ok) return tell(await sayStatus(response), true);
      const good = /** @type {{ read: boolean, private: boolean, act: boolean }} */ (await response.json());
      // A token to act that grants no topic does not replace one that does.
      const reads = good.read && (good.private || !good.act || tokens.read === "");
      if (reads) tokens.read = token;
      if (good.act) tokens.act = token;
      tell(`Used ${reads && good.act ? "to read and to act" : good.act ? "to act" : "to read"}, until the page is closed.`);
      if (reads) changed();
    } catch {
      unreachable(tell);
    }
  });
  find(form, "[data-act=forget]").addEventListener("click", () => {
    tokens.read = tokens.act = "";
    tell("No token is used.");
    changed();
  });
  const revoke = /** @type {HTMLFormElement} */ (find(document, "#revoke-form"));
  revoke.addEventListener("submit", (event) => {
    event.preventDefault();
    const jti = valueOf(revoke, "jti");
    void act({
      title: "Revoke this token?",
      words: `The token with the id ${jti} is accepted no more, and all its streams end. This cannot be undone.`,
      button: "Revoke the token",
      path: "revoke",
      body: { jti },
      done: "The token is revoked.",
    });
  });
}

/**
 * Asks, and then ends a stream.
 *
 * @param {SlowReader} one
 */
export function endStream(one) {
  const words = one.byToken
    ? `Its token is revoked: all streams of this token end, and it is accepted no more. This cannot be undone.`
    : `It has no token, so its client may reconnect at once.`;
  void act({
    title: `End stream ${one.stream}?`,
    words,
    button: "End the stream",
    path: "end",
    body: { stream: one.stream },
    done: `Stream ${one.stream} has ended.`,
  });
}

/**
 * @typedef {object} Act
 * @property {string} title
 * @property {string} words
 * @property {string} button
 * @property {string} path
 * @property {object} body
 * @property {string} done
 */

/** @param {Act} what */
async function act({ title, words, button, path, body, done }) {
  const said = find(document, "#act-result");
  const tell = (/** @type {string} */ text, isFailure = false) => {
    say(said, text, isFailure);
    said.scrollIntoView({ block: "nearest" });
  };
  if (tokens.act === "") {
    const field = find(document, "#token");
    tell(canAct ? "This needs a token that may publish to the subscription's path. Enter one first." : whyNot(), true);
    if (canAct) field.focus();
    return;
  }
  if (!(await confirmed(title, words, button))) return tell("Nothing was changed.");
  try {
    const response = await send(path, body, tokens.act);
    if (response.ok) tell(done);
    else tell(await sayStatus(response), true);
  } catch {
    unreachable(tell);
  }
}

/**
 * @param {string} title
 * @param {string} words
 * @param {string} button
 * @returns {Promise<boolean>}
 */
function confirmed(title, words, button) {
  const dialog = /** @type {HTMLDialogElement} */ (find(document, "#confirm"));
  find(dialog, "h2").textContent = title;
  find(dialog, "#confirm-words").textContent = words;
  find(dialog, "[data-act=act]").textContent = button;
  dialog.returnValue = "keep";
  dialog.showModal();
  find(dialog, "[data-act=keep]").focus();
  return new Promise((resolve) => dialog.addEventListener("close", () => resolve(dialog.returnValue === "act"), { once: true }));
}

let canAct = false;

const whyNot = () =>
  "This hub has no keys, so no token is valid, and nothing can be ended or revoked here. Give it a key for publishers' tokens, and make a token with that key.";

/** @param {import("./feed.js").Reading} reading */
export function showWhatIsAllowed({ access, view }) {
  canAct = access.canAct;
  for (const id of ["#token-form", "#revoke-form"]) find(document, id).hidden = !canAct;
  const shown = { counts: "Without a token the page shows counts.", public: "Without a token the page shows counts and public topics.", token: "The page shows what the token may read." }[view];
  const acts = !canAct ? whyNot() : tokens.act === "" ? "Ending a stream or revoking a token needs a token." : "A token to act is in use.";
  say(find(document, "#access-words"), `${shown} ${acts}`);
}

/**
 * The hub refused the token to read.
 *
 * @param {string} why
 */
export function tokenRefused(why) {
  if (tokens.act === tokens.read) tokens.act = "";
  tokens.read = "";
  say(find(document, "#token-form .result"), `The token is used no more. ${why}`, true);
}
