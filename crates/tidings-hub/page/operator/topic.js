// The last events of a topic, read from the journal when they are asked for.

import { find, say, valueOf } from "../find.js";
import { indentJson } from "../json.js";
import { sayStatus } from "../refusal.js";
import { bytes, moment, number } from "./amounts.js";
import { send } from "./feed.js";

/**
 * @typedef {object} FoundEvent
 * @property {string} id
 * @property {string} type
 * @property {number} time
 * @property {boolean} isPrivate
 * @property {number} topics
 * @property {string} data
 * @property {boolean} isWhole
 * @property {number} bytes
 */

/** @param {() => string} tokenToRead */
export function showTopicForm(tokenToRead) {
  const form = /** @type {HTMLFormElement} */ (find(document, "#topic-form"));
  const box = find(document, "#topic-events");
  const said = find(box, ".result");
  let asked = 0;
  const look = async (/** @type {string} */ topic) => {
    asked += 1;
    const turn = asked;
    box.hidden = false;
    find(box, "h3").textContent = `Last events of ${topic}`;
    const list = find(box, ".events");
    list.replaceChildren();
    say(said, "Reading the journal.");
    try {
      const response = await send("topic", { topic }, tokenToRead());
      // A later request has taken its place.
      if (turn !== asked) return;
      if (!response.ok) return say(said, await sayStatus(response), true);
      const { events, isComplete } = /** @type {{ events: FoundEvent[], isComplete: boolean }} */ (await response.json());
      if (turn !== asked) return;
      say(said, summary(events.length, isComplete));
      list.replaceChildren(...events.map(entry));
    } catch {
      if (turn === asked) say(said, "The hub can't be reached.", true);
    }
  };
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    void look(valueOf(form, "topic"));
  });
  return (/** @type {string} */ topic) => {
    /** @type {HTMLInputElement} */ (find(form, "input")).value = topic;
    void look(topic);
    box.focus();
  };
}

/**
 * @param {number} count
 * @param {boolean} isComplete
 */
function summary(count, isComplete) {
  const found = count === 0 ? "" : `${count === 1 ? "One event" : `${number(count)} events`}, newest first.`;
  if (isComplete) return found || "The journal has no event of it that may be read here.";
  return `${found || "No event was found."} The search ended at its limit: the journal may have others.`;
}

/** @param {FoundEvent} event */
function entry({ id, type, time, isPrivate, topics, data, isWhole, bytes: size }) {
  const item = document.createElement("li");
  const head = document.createElement("p");
  head.className = "head";
  const when = document.createElement("time");
  when.dateTime = new Date(time).toISOString();
  when.textContent = moment(time);
  const facts = [type, isPrivate ? "private" : "", topics > 1 ? `${topics} topics` : "", isWhole ? "" : `the beginning of ${bytes(size)}`];
  const words = document.createElement("span");
  words.textContent = facts.filter((one) => one !== "").join(", ");
  const name = document.createElement("span");
  name.className = "id";
  name.textContent = id;
  head.append(when, words, name);
  const box = document.createElement("div");
  box.className = "data";
  const text = document.createElement("pre");
  text.textContent = indentJson(data) ?? data;
  box.append(text);
  item.append(head, box);
  return item;
}
