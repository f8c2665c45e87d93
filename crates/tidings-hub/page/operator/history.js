// The last two minutes of readings: rates, latencies, and what the small charts show.

/**
 * @typedef {import("./feed.js").Reading} Reading
 * @typedef {import("./feed.js").Counts} Counts
 * @typedef {import("./feed.js").Buckets} Buckets
 * @typedef {import("./feed.js").ByLabel} ByLabel
 */

const READINGS_MAX = 121;
/** Rates are those of so many seconds, so that a number can be read before it changes. */
const RATE_SECONDS = 5;
const WINDOW_MS = 60_000;

export class History {
  /** @type {Reading[]} the newest last */
  #readings = [];

  /**
   * @param {Reading} reading
   * @returns {boolean} whether it is of another run of the hub than the one before it
   */
  add(reading) {
    const isOther = this.newest !== undefined && this.newest.instance !== reading.instance;
    if (isOther) this.#readings = [];
    this.#readings.push(reading);
    if (this.#readings.length > READINGS_MAX) this.#readings.shift();
    return isOther;
  }

  get newest() {
    return this.#readings.at(-1);
  }

  /**
   * How much a count grows in a second.
   *
   * @param {(counts: Counts) => number} count
   * @param {number} [at] how many readings ago
   * @returns {number}
   */
  rate(count, at = 0) {
    const last = this.#readings.at(-1 - at);
    const first = this.#readings[Math.max(0, this.#readings.length - 1 - at - RATE_SECONDS)];
    if (!last || !first || last.uptimeMs <= first.uptimeMs) return 0;
    return ((count(last.counts) - count(first.counts)) * 1000) / (last.uptimeMs - first.uptimeMs);
  }

  /** The points of a chart: a number for each reading, the oldest first. */
  series(/** @type {(counts: Counts) => number} */ count, isRate = true) {
    return this.#readings.map(({ counts }, index) => (isRate ? this.rate(count, this.#readings.length - 1 - index) : count(counts)));
  }

  /** The reading of a minute ago, or the oldest. */
  get #minuteAgo() {
    const newest = this.newest;
    return this.#readings.find((one) => newest !== undefined && newest.uptimeMs - one.uptimeMs <= WINDOW_MS);
  }

  /**
   * A latency that so large a part of the last minute's did not exceed, in seconds. Between the two
   * bounds of its bucket it is interpolated, as Prometheus does. Null if there were none.
   *
   * @param {"publishAck" | "delivery"} histogram
   * @param {number} part
   * @returns {number | null}
   */
  quantile(histogram, part) {
    const [now, before] = [this.newest?.counts[histogram], this.#minuteAgo?.counts[histogram]];
    if (!now || !before) return null;
    const counts = now.map(([, count], index) => count - (before[index]?.[1] ?? 0));
    const total = counts.reduce((sum, count) => sum + count, 0);
    if (total <= 0) return null;
    let left = part * total;
    for (const [index, count] of counts.entries()) {
      const bound = now[index]?.[0];
      const lower = index === 0 ? 0 : (now[index - 1]?.[0] ?? 0);
      if (left <= count || index === counts.length - 1) {
        if (bound === null || bound === undefined) return lower;
        return count === 0 ? bound : lower + (bound - lower) * Math.min(1, left / count);
      }
      left -= count;
    }
    return null;
  }

  /**
   * Counts with a label: since the start, and of the last minute.
   *
   * @param {(counts: Counts) => ByLabel} labelled
   */
  byLabel(labelled) {
    const [now, before] = [this.newest, this.#minuteAgo];
    if (!now || !before) return [];
    const earlier = new Map(labelled(before.counts));
    return labelled(now.counts).map(([label, count]) => ({ label, count, recent: count - (earlier.get(label) ?? 0) }));
  }
}
