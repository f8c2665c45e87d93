// Whether an event that this page published arrives on the page's own stream.

// A stream may be busy while the answer to the publish is on its way.
const IDS_MAX = 50_000;

export class Arrivals {
  /** Publishes that are under way. */
  #watching = 0;
  /** @type {Set<string>} */
  #ids = new Set();
  /** @type {Map<string, () => void>} */
  #expected = new Map();

  /** @param {string} id of an event that arrived */
  arrived(id) {
    if (this.#watching === 0) return;
    if (this.#ids.size < IDS_MAX) this.#ids.add(id);
    this.#expected.get(id)?.();
  }

  /** Begins to watch: an event can arrive before the answer that says its id. */
  watch() {
    this.#watching += 1;
  }

  /** Ends what `watch` began. */
  unwatch() {
    this.#watching -= 1;
    if (this.#watching === 0) this.#ids.clear();
  }

  /**
   * @param {string} id
   * @param {number} limitMs
   * @returns {Promise<boolean>} whether it arrived within the limit, or before
   */
  async waitFor(id, limitMs) {
    if (this.#ids.has(id)) return true;
    const hasArrived = await new Promise((resolve) => {
      this.#expected.set(id, () => resolve(true));
      setTimeout(() => resolve(false), limitMs);
    });
    this.#expected.delete(id);
    return hasArrived;
  }
}
