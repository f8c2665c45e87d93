// Bytes to events, in whatever pieces they arrive (HTML 9.2.6, "interpreting an event stream").
//
// The standard's algorithm, to the letter, but for these:
// - The last event id is carried over to the next connection, as browsers do it.
// - An event has a largest size. One beyond it is discarded, and reported.

const LF = 10;
const SPACE = 32;
const COLON = 58;
const LETTER_D = 100;
const LETTER_E = 101;
const LETTER_I = 105;

/** Characters that an event may have, all of its lines together, unless the options say otherwise. */
const EVENT_CHARACTERS_MAX = 16 * 1024 * 1024;

/**
 * @typedef {object} DecodedEvent
 * @property {string} type `message` unless the event has one
 * @property {string} data its data lines, with a line feed between them
 * @property {string} lastEventId the last event id in force
 * @property {string} [id] the event's own id, if it has one
 * @property {[name: string, value: string][]} [fields] those that the standard has no
 *   name for, in their order
 *
 * @typedef {object} DecoderSink what a stream brings, called from within `push`
 * @property {(event: DecodedEvent) => void} onEvent
 * @property {(milliseconds: number) => void} [onRetry]
 * @property {(text: string) => void} [onComment] the text after the colon, nothing trimmed
 * @property {() => void} [onDiscarded] an event was larger than the limit
 */

/** Reads one event stream, in chunks of any size. */
export class Decoder {
  /** That of the last event that had one and has ended: what to send as `Last-Event-ID`. */
  lastEventId;

  #sink;
  #charactersMax;
  #utf8 = new TextDecoder();
  /** What has come of a line that has no end yet. */
  #begun = "";
  /** Whether the last character was a CR, so that an LF is a part of that line break. */
  #afterCr = false;
  /** @type {string | undefined} */
  #data;
  #type = "";
  /** @type {string | undefined} */
  #id;
  /** @type {[string, string][] | undefined} */
  #fields;
  /** Characters that the event may still have; below 0 it is too large. */
  #room;

  /**
   * @param {DecoderSink} sink
   * @param {object} [options]
   * @param {number} [options.eventCharactersMax] default: 16 Mi
   * @param {string} [options.lastEventId] that of the connection before, which goes on here
   */
  constructor(sink, { eventCharactersMax = EVENT_CHARACTERS_MAX, lastEventId = "" } = {}) {
    this.lastEventId = lastEventId;
    this.#sink = sink;
    this.#charactersMax = this.#room = eventCharactersMax;
  }

  /**
   * Takes the next bytes of the stream. It takes time linear in them, however they are cut.
   *
   * @param {Uint8Array} chunk
   */
  push(chunk) {
    // Takes a byte order mark off the start, and makes U+FFFD of what is no UTF-8, as the standard has it.
    const text = this.#utf8.decode(chunk, { stream: true });
    if (text === "") return;
    let start = 0;
    if (this.#afterCr) {
      this.#afterCr = false;
      if (text.charCodeAt(0) === LF) start = 1;
    }
    // Each is looked for again only once it is passed: a stream may have none of the other.
    let lf = text.indexOf("\n", start);
    let cr = text.indexOf("\r", start);
    while (lf >= 0 || cr >= 0) {
      const end = cr < 0 || (lf >= 0 && lf < cr) ? lf : cr;
      if (this.#begun === "") this.#readLine(text, start, end);
      else {
        this.#begun += text.slice(start, end);
        this.#readLine(this.#begun, 0, this.#begun.length);
        this.#begun = "";
      }
      start = end + 1;
      if (end === lf) {
        lf = text.indexOf("\n", start);
      } else {
        // The line has ended, whatever comes next: nobody waits for an LF that may never come.
        if (start === text.length) this.#afterCr = true;
        else if (start === lf) {
          start += 1;
          lf = text.indexOf("\n", start);
        }
        cr = text.indexOf("\r", start);
      }
    }
    if (start < text.length) this.#begin(text.slice(start));
  }

  /**
   * Whether something has begun and not ended. At the end of the stream that is no event, and its
   * id does not count.
   */
  get isUnfinished() {
    return this.#begun !== "" || this.#room < this.#charactersMax;
  }

  /** @param {string} text of a line whose end has not come yet */
  #begin(text) {
    this.#begun += text;
    if (this.#begun.length > this.#room) {
      // A comment that is too long costs the event around it nothing.
      if (this.#begun.charCodeAt(0) !== COLON) this.#room = -1;
      this.#begun = this.#begun.slice(0, 1);
    }
  }

  /**
   * @param {string} text
   * @param {number} start
   * @param {number} end of the line, at its line break
   */
  #readLine(text, start, end) {
    if (start === end) return this.#endEvent();
    const first = text.charCodeAt(start);
    if (first === COLON) return this.#sink.onComment?.(text.slice(start + 1, end));
    if ((this.#room -= end - start) < 0) return;
    // What streams consist of for the most part needs no look for the colon, and no name.
    const known =
      first === LETTER_D && isData(text, start) ? "data"
      : first === LETTER_I && text.startsWith("id:", start) ? "id"
      : first === LETTER_E && text.startsWith("event:", start) ? "event"
      : "";
    let colon = start + known.length;
    if (!known) while (colon < end && text.charCodeAt(colon) !== COLON) colon += 1;
    // One space after the colon is no part of the value. A line without a colon is a name alone.
    const value = text.slice(text.charCodeAt(colon + 1) === SPACE ? colon + 2 : colon + 1, end);
    this.#readField(known || text.slice(start, colon), value);
  }

  /**
   * @param {string} name
   * @param {string} value
   */
  #readField(name, value) {
    switch (name) {
      case "data":
        this.#data = this.#data === undefined ? value : `${this.#data}\n${value}`;
        return;
      case "event":
        this.#type = value;
        return;
      case "id":
        if (!value.includes("\0")) this.#id = value;
        return;
      case "retry":
        // ASCII digits and nothing else: `Number` alone would also take "+5", "0x5" and "".
        if (/^[0-9]+$/.test(value)) this.#sink.onRetry?.(Number(value));
        return;
      default:
        (this.#fields ??= []).push([name, value]);
    }
  }

  #endEvent() {
    const data = this.#data;
    const id = this.#id;
    const fields = this.#fields;
    const type = this.#type || "message";
    const isTooLarge = this.#room < 0;
    this.#data = this.#id = this.#fields = undefined;
    this.#type = "";
    this.#room = this.#charactersMax;
    if (id !== undefined) this.lastEventId = id;
    if (isTooLarge) this.#sink.onDiscarded?.();
    else if (data !== undefined) this.#sink.onEvent({ type, data, lastEventId: this.lastEventId, id, fields });
  }
}

/**
 * Letter by letter: a call of `startsWith` takes as long as all the rest of a short line.
 *
 * @param {string} text
 * @param {number} at where a d is
 * @returns {boolean} whether it is that of `data:`
 */
function isData(text, at) {
  return text.charCodeAt(at + 4) === COLON && text.charCodeAt(at + 1) === 97 && text.charCodeAt(at + 2) === 116 && text.charCodeAt(at + 3) === 97;
}
