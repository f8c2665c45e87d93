// One stream's place on the page: its button, its state, its events.

import { Announcer } from "./announcer.js";
import { EVENTS_MAX, EventList } from "./event-list.js";
import { find, say } from "./find.js";
import { NOTICE_TYPE } from "./notices.js";
import { CLOSED, Stream } from "./stream.js";

const COUNTDOWN_STEP_MS = 100;
const RATE_MS = 1_000;
const STATES = ["connecting", "open", "closed"];
const ACTS = ["Close", "Close", "Open"];

export class Panel {
  stream;
  #section;
  #events;
  #received = 0;
  /** All of them, also those that *Clear* removed. */
  #total = 0;
  /** How many events the last *Clear* removed. */
  #cleared = 0;
  #wanted;
  #callbacks;
  /** @type {Announcer | undefined} */
  #announcer;
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #countdown;

  /**
   * @param {HTMLElement} section
   * @param {(stream: Stream) => { url: URL, lastEventId?: string }} wanted what *Open* opens
   * @param {object} [callbacks]
   * @param {() => boolean} [callbacks.mayOpen] whether the form is complete
   * @param {() => void} [callbacks.onStatus]
   * @param {(event: import("./stream.js").ReceivedEvent) => void} [callbacks.onEvent]
   */
  constructor(section, wanted, callbacks = {}) {
    this.#section = section;
    this.#wanted = wanted;
    this.#callbacks = callbacks;
    this.#events = new EventList(find(section, ".events"), find(section, ".empty"), () => this.#showNumbers());
    const announced = section.querySelector(".arrivals");
    if (announced instanceof HTMLElement) this.#announcer = new Announcer(announced);
    this.stream = new Stream({
      onStatus: (status) => this.#show(status),
      onEvent: (event) => this.#receive(event),
    });
    section.dataset.readyState = String(CLOSED);
    find(section, "[data-act=toggle]").addEventListener("click", () => {
      if (this.stream.readyState === CLOSED) this.open();
      else this.stream.close();
    });
    find(section, "[data-act=clear]").addEventListener("click", () => this.#clear());
    find(section, "[data-act=undo]").addEventListener("click", () => this.#undo());
    const indent = /** @type {HTMLInputElement} */ (find(section, "[data-act=indent]"));
    indent.addEventListener("change", () => this.#events.indent(indent.checked));
    // Browsers keep a form's state over a reload.
    this.#events.indent(indent.checked);
    this.#watchRate();
  }

  open() {
    if (this.#callbacks.mayOpen?.() === false) return;
    const { url, lastEventId } = this.#wanted(this.stream);
    this.stream.open(url, lastEventId);
  }

  /** @param {import("./stream.js").Status} status */
  #show({ readyState, words, retryAt, isFailure }) {
    this.#section.dataset.readyState = String(readyState);
    find(this.#section, ".state").textContent = STATES[readyState] ?? "";
    find(this.#section, "[data-act=toggle] .act").textContent = ACTS[readyState] ?? "";
    say(find(this.#section, ".words"), words, isFailure);
    this.#showNumbers();
    this.#count(retryAt);
    this.#callbacks.onStatus?.();
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

  /** @param {import("./stream.js").ReceivedEvent} event */
  #receive(event) {
    const { type, data, lastEventId: id, topics } = event;
    // A notice is the hub's own word, not a published event.
    if (type !== NOTICE_TYPE) {
      this.#received += 1;
      this.#total += 1;
      this.#announcer?.arrived(data);
      this.#callbacks.onEvent?.(event);
    }
    this.#events.add({ at: new Date(), type, id, data, topics });
  }

  #clear() {
    // A second press must not remove what *Undo* would restore.
    if (this.#events.isEmpty) return;
    this.#events.clear();
    this.#cleared = this.#received;
    this.#received = 0;
    const place = find(this.#section, ".cleared");
    place.hidden = false;
    find(place, "[role=status]").textContent = `Cleared ${count(this.#cleared)}.`;
    this.#showNumbers();
  }

  #undo() {
    this.#events.restore();
    this.#received += this.#cleared;
    this.#cleared = 0;
    find(this.#section, ".cleared").hidden = true;
    // The button that had the focus is no longer there.
    find(this.#section, "[data-act=clear]").focus();
    this.#showNumbers();
  }

  #showNumbers() {
    find(this.#section, ".last-event-id").textContent = this.stream.lastEventId || "none";
    const received = this.#received;
    find(this.#section, ".received").textContent =
      received === 0 ? "none yet" : `${count(received)}${received > EVENTS_MAX ? `, the newest ${EVENTS_MAX} shown` : ""}`;
  }

  #watchRate() {
    const place = find(this.#section, ".rate");
    let [before, at] = [0, performance.now()];
    setInterval(() => {
      const now = performance.now();
      const rate = Math.round(((this.#total - before) * 1_000) / (now - at));
      [before, at] = [this.#total, now];
      const text = rate > 0 ? `${rate.toLocaleString("en")} a second` : "";
      if (place.textContent !== text) place.textContent = text;
    }, RATE_MS);
  }
}

/** @param {number} events */
const count = (events) => `${events.toLocaleString("en")} ${events === 1 ? "event" : "events"}`;
