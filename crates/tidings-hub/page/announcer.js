// Tells a screen reader that events arrive, without reading each of them aloud.

const PAUSE_MS = 4_000;
const CHARACTERS_READ = 120;

export class Announcer {
  #place;
  #count = 0;
  #newest = "";
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #pause;

  /** @param {HTMLElement} place a live region */
  constructor(place) {
    this.#place = place;
  }

  /** @param {string} data of an event that arrived */
  arrived(data) {
    this.#count += 1;
    this.#newest = data;
    if (this.#pause === undefined) this.#say();
  }

  #say() {
    this.#pause = undefined;
    if (this.#count === 0) return;
    const data = this.#newest.slice(0, CHARACTERS_READ);
    this.#place.textContent = this.#count === 1 ? `New event: ${data}` : `${this.#count} new events, the newest: ${data}`;
    this.#count = 0;
    // What comes meanwhile is announced together.
    this.#pause = setTimeout(() => this.#say(), PAUSE_MS);
  }
}
