// One stream's place on the page: its buttons, its state, its events.

import { EVENTS_MAX, EventList } from "./event-list.js";
import { find } from "./find.js";
import { Stream } from "./stream.js";

const COUNTDOWN_STEP_MS = 100;

export class Panel {
  stream;
  #section;
  #events;
  #received = 0;
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #countdown;

  /**
   * @param {HTMLElement} section
   * @param {(stream: Stream) => { url: URL, lastEventId?: string }} wanted what Open opens
   */
  constructor(section, wanted) {
    this.#section = section;
    this.#events = new EventList(find(section, ".events"), find(section, ".empty"));
    this.stream = new Stream({
      onStatus: (status) => this.#show(status),
      onEvent: (event) => this.#receive(event),
    });
    find(section, "form").addEventListener("submit", (event) => {
      event.preventDefault();
      const { url, lastEventId } = wanted(this.stream);
      this.stream.open(url, lastEventId);
    });
    find(section, "[data-act=close]").addEventListener("click", () => this.stream.close());
    find(section, "[data-act=clear]").addEventListener("click", () => this.#clear());
    const indent = /** @type {HTMLInputElement} */ (find(section, "[data-act=indent]"));
    indent.addEventListener("change", () => this.#events.indent(indent.checked));
    // Browsers keep a form's state over a reload.
    this.#events.indent(indent.checked);
  }

  /** @param {import("./stream.js").Status} status */
  #show({ readyState, words, retryAt }) {
    this.#section.dataset.readyState = String(readyState);
    for (const item of this.#section.querySelectorAll(".states li")) {
      if (item.getAttribute("data-state") === String(readyState)) item.setAttribute("aria-current", "true");
      else item.removeAttribute("aria-current");
    }
    const said = find(this.#section, ".words");
    // Set only once: a screen reader reads every change aloud, even if the text is the same.
    if (said.textContent !== words) said.textContent = words;
    this.#showId();
    this.#count(retryAt);
  }

  /**
   * The seconds until the next attempt stand outside the status text, which would be read
   * aloud every second.
   *
   * @param {number | null} retryAt
   */
  #count(retryAt) {
    clearInterval(this.#countdown);
    const place = find(this.#section, ".countdown");
    if (retryAt === null) {
      place.textContent = "";
      return;
    }
    const step = () => {
      const seconds = Math.ceil((retryAt - performance.now()) / 1_000);
      const text = seconds > 0 ? `Reconnecting in ${seconds} s.` : "Reconnecting now.";
      if (place.textContent !== text) place.textContent = text;
      if (seconds <= 0) clearInterval(this.#countdown);
    };
    this.#countdown = setInterval(step, COUNTDOWN_STEP_MS);
    step();
  }

  /** @param {MessageEvent<string>} event */
  #receive(event) {
    this.#received += 1;
    this.#events.add({ at: new Date(), type: event.type, id: event.lastEventId, data: event.data });
    this.#showId();
    this.#showReceived();
  }

  #clear() {
    this.#received = 0;
    this.#events.clear();
    this.#showReceived();
  }

  #showId() {
    find(this.#section, ".last-event-id").textContent = this.stream.lastEventId || "none";
  }

  #showReceived() {
    find(this.#section, ".received").textContent =
      this.#received === 0 ? "nothing"
      : this.#received <= EVENTS_MAX ? String(this.#received)
      : `${this.#received}; the newest ${EVENTS_MAX} are kept`;
  }
}
