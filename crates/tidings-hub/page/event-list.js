// The events of a stream on the page: newest first, and no more than a page can hold.

import { indentJson } from "./json.js";
import { NOTICE_TYPE, readNotice } from "./notices.js";

/** Older events make room. */
export const EVENTS_MAX = 200;
// 200 events of a megabyte each would be too much for a phone.
const CHARACTERS_MAX = 2_000_000;
const CHARACTERS_SHOWN = 2_000;
// A hidden page paints no frames.
const HIDDEN_PAUSE_MS = 250;

/**
 * @typedef {object} Arrival
 * @property {Date} at
 * @property {string} type
 * @property {string} id the last event id as of this event
 * @property {string} data
 */

export class EventList {
  #list;
  #empty;
  /** @type {{ arrival: Arrival, item: HTMLLIElement }[]} newest first, as in the document */
  #shown = [];
  /** @type {Arrival[]} oldest first; at most as many as can be shown */
  #waiting = [];
  #characters = 0;
  #indented = false;

  /**
   * @param {HTMLElement} list
   * @param {HTMLElement} empty what to show while there is nothing
   */
  constructor(list, empty) {
    this.#list = list;
    this.#empty = empty;
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

  clear() {
    this.#waiting = [];
    this.#shown = [];
    this.#characters = 0;
    this.#list.replaceChildren();
    this.#empty.hidden = false;
  }

  /** @param {boolean} indented whether data that is JSON is shown on several lines */
  indent(indented) {
    this.#indented = indented;
    for (const { arrival, item } of this.#shown) {
      item.querySelector(".data")?.replaceWith(dataOf(arrival, indented));
    }
  }

  #show() {
    for (const arrival of this.#waiting.splice(0)) {
      const item = itemOf(arrival, this.#indented);
      this.#list.prepend(item);
      this.#shown.unshift({ arrival, item });
      this.#characters += arrival.data.length;
    }
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
  const notice = arrival.type === NOTICE_TYPE ? readNotice(arrival.data) : null;
  if (notice) item.className = "notice";
  const head = element("p", "head");
  const time = document.createElement("time");
  time.dateTime = arrival.at.toISOString();
  time.textContent = clockTime(arrival.at);
  const type = element("span", "type", notice ? `notice: ${notice.kind}` : arrival.type);
  const id = element("span", "id", arrival.id);
  head.append(time, " ", type, " ", id);
  item.append(head);
  if (notice) item.append(element("p", "meaning", notice.words));
  item.append(dataOf(arrival, indented));
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
