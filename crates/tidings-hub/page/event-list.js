// The events of a stream on the page: newest first, and no more than a page can hold.
//
// At any rate of events it does the same work per frame: it makes at most as many entries as it shows.

import { indentJson } from "./json.js";
import { NOTICE_TYPE, readNotice } from "./notices.js";

/** Older events make room. */
export const EVENTS_MAX = 200;
// 200 events of a megabyte each would be too much for a phone.
const CHARACTERS_MAX = 2_000_000;
const CHARACTERS_SHOWN = 2_000;
// A hidden page paints no frames.
const HIDDEN_PAUSE_MS = 250;
// More arrivals in a frame are not marked: too many marks at once are no help.
const MARKED_MAX = 10;
/** Notices that report a loss. */
const LOSSES = ["gap", "reset", "revoked"];

/**
 * @typedef {object} Arrival
 * @property {Date} at
 * @property {string} type
 * @property {string} id the last event id as of this event
 * @property {string} data
 * @property {string[]} topics
 */

export class EventList {
  #list;
  #empty;
  /** @type {{ arrival: Arrival, item: HTMLLIElement }[]} newest first, as in the document */
  #shown = [];
  /** @type {Arrival[]} oldest first; at most as many as can be shown */
  #waiting = [];
  /** @type {{ arrival: Arrival, item: HTMLLIElement }[]} what the last `clear` removed */
  #cleared = [];
  #characters = 0;
  #indented = false;
  #onShown;

  /**
   * @param {HTMLElement} list
   * @param {HTMLElement} empty what to show while there is nothing
   * @param {() => void} onShown called after each frame that shows events
   */
  constructor(list, empty, onShown) {
    this.#list = list;
    this.#empty = empty;
    this.#onShown = onShown;
  }

  /** @param {Arrival} arrival */
  add(arrival) {
    this.#waiting.push(arrival);
    if (this.#waiting.length > EVENTS_MAX) this.#waiting.shift();
    // One pass per frame: a burst of thousands costs the page no more than it can show.
    if (this.#waiting.length === 1) {
      if (document.hidden) setTimeout(() => this.#show(), HIDDEN_PAUSE_MS);
      else requestAnimationFrame(() => this.#show());
    }
  }

  /** Whether there is nothing to clear. */
  get isEmpty() {
    return this.#shown.length === 0 && this.#waiting.length === 0;
  }

  clear() {
    this.#show();
    this.#cleared = this.#shown;
    this.#shown = [];
    this.#characters = 0;
    this.#list.replaceChildren();
    this.#empty.hidden = false;
  }

  /** Shows again what the last `clear` removed, below what arrived since. */
  restore() {
    for (const entry of this.#cleared) {
      entry.item.classList.remove("new");
      entry.item.querySelector(".data")?.replaceWith(dataOf(entry.arrival, this.#indented));
      this.#list.append(entry.item);
      this.#shown.push(entry);
      this.#characters += entry.arrival.data.length;
    }
    this.#cleared = [];
    this.#trim();
  }

  /** @param {boolean} indented whether data that is JSON is shown on several lines */
  indent(indented) {
    this.#indented = indented;
    for (const { arrival, item } of this.#shown) {
      item.querySelector(".data")?.replaceWith(dataOf(arrival, indented));
    }
  }

  #show() {
    const arrivals = this.#waiting.splice(0);
    if (arrivals.length === 0) return;
    const entries = arrivals.map((arrival) => ({ arrival, item: itemOf(arrival, this.#indented) })).reverse();
    if (arrivals.length <= MARKED_MAX) for (const { item } of entries) item.classList.add("new");
    this.#list.prepend(...entries.map(({ item }) => item));
    this.#shown.unshift(...entries);
    for (const { data } of arrivals) this.#characters += data.length;
    this.#trim();
    this.#onShown();
  }

  #trim() {
    while (this.#shown.length > EVENTS_MAX || (this.#characters > CHARACTERS_MAX && this.#shown.length > 1)) {
      const oldest = this.#shown.pop();
      oldest?.item.remove();
      this.#characters -= oldest?.arrival.data.length ?? 0;
    }
    this.#empty.hidden = this.#shown.length > 0;
  }
}

/**
 * @param {Arrival} arrival
 * @param {boolean} indented
 * @returns {HTMLLIElement}
 */
function itemOf(arrival, indented) {
  const item = document.createElement("li");
  const time = document.createElement("time");
  time.dateTime = arrival.at.toISOString();
  time.textContent = clockTime(arrival.at);
  if (arrival.type === NOTICE_TYPE) {
    const { kind, words } = readNotice(arrival.data);
    item.className = LOSSES.includes(kind) ? "notice loss" : "notice";
    item.dataset.kind = kind;
    item.append(time, " ", element("span", "meaning", words));
    return item;
  }
  const head = element("p", "head");
  const spoken = (/** @type {string} */ word) => element("span", "spoken", `${word} `);
  const type = element("span", "type");
  if (arrival.type !== "message") type.classList.add("own");
  type.append(spoken("type"), arrival.type);
  const topic = element("span", "topic");
  topic.append(spoken("topic"), arrival.topics.join(", "));
  const id = element("span", "id");
  id.append(spoken("id"), arrival.id);
  head.append(time, " ", type, " ", topic, " ", id);
  item.append(head, dataOf(arrival, indented));
  return item;
}

/**
 * @param {Arrival} arrival
 * @param {boolean} indented
 */
function dataOf({ data }, indented) {
  const text = (indented && indentJson(data)) || data;
  const box = element("div", "data");
  const shown = document.createElement("pre");
  shown.textContent = text.length > CHARACTERS_SHOWN ? `${text.slice(0, CHARACTERS_SHOWN)}…` : text;
  box.append(shown);
  if (text.length > CHARACTERS_SHOWN) {
    const all = /** @type {HTMLButtonElement} */ (element("button", "quiet", `Show all ${text.length} characters`));
    all.type = "button";
    all.onclick = () => {
      shown.textContent = text;
      shown.tabIndex = -1;
      shown.focus();
      all.remove();
    };
    box.append(all);
  }
  return box;
}

/**
 * @param {string} name
 * @param {string} className
 * @param {string} [text]
 */
function element(name, className, text = "") {
  const made = document.createElement(name);
  made.className = className;
  made.textContent = text;
  return made;
}

/** @param {Date} date */
export function clockTime(date) {
  const two = (/** @type {number} */ number) => String(number).padStart(2, "0");
  const milliseconds = String(date.getMilliseconds()).padStart(3, "0");
  return `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}.${milliseconds}`;
}
