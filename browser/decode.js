// Decodes event streams in chunks of any size (HTML 9.2.6, "interpreting an event stream").
//
// It implements the standard's algorithm with these differences:
// - The last event ID is kept for the next connection, as in browsers.
// - Events have a maximum size. Larger ones are discarded, and reported.

const BYTE_ORDER_MARK = 0xfeff;
const LF = 10;
const SPACE = 32;
const COLON = 58;
const LETTER_D = 100;
const LETTER_E = 101;
const LETTER_I = 105;

/** The default maximum of characters of an event, all of its lines together. */
export const EVENT_CHARACTERS_MAX = 16 * 1024 * 1024;

/**
 * @typedef {object} DecodedEvent
 * @property {string} type `message` unless the event has one
 * @property {string} data its data lines, with a line feed between them
 * @property {string} lastEventId the last event ID
 * @property {string} [id] the event's own ID, if it has one
 * @property {[name: string, value: string][]} [fields] fields that the standard does not define, in
 *   their order
 * @property {string} [origin] the origin of the stream after redirects, if the event carries it
 *
 * @typedef {object} DecoderSink callbacks, called from within `push`
 * @property {(event: DecodedEvent) => void} onEvent
 * @property {(milliseconds: number) => void} [onRetry]
 * @property {(text: string) => void} [onComment] the text after the colon, not trimmed
 * @property {() => void} [onDiscarded] an event was larger than the limit
 */

/** Decodes one event stream, in chunks of any size. */
export class Decoder {
  /** The ID of the last complete event with an ID: send it as `Last-Event-ID`. */
  lastEventId;

  #sink;
  #charactersMax;
  // The byte order mark is removed here: Node 24 removes two if the first one arrives in pieces.
  #utf8 = new TextDecoder("utf-8", { ignoreBOM: true });
  #isStart = true;
  /** The beginning of an unfinished line. */
  #begun = "";
  /** Whether the last character was a CR, so that a following LF belongs to that line break. */
  #afterCr = false;
  /** @type {string | undefined} */
  #data;
  #type = "";
  /** @type {string | undefined} */
  #id;
  /** @type {[string, string][] | undefined} */
  #fields;
  /** The number of characters left for the event; below 0 it is too large. */
  #room;

  /**
   * @param {DecoderSink} sink
   * @param {object} [options]
   * @param {number} [options.eventCharactersMax] default: 16 Mi
   * @param {string} [options.lastEventId] the last event ID of the previous connection
   */
  constructor(sink, { eventCharactersMax = EVENT_CHARACTERS_MAX, lastEventId = "" } = {}) {
    this.lastEventId = lastEventId;
    this.#sink = sink;
    this.#charactersMax = this.#room = eventCharactersMax;
  }

  /**
   * Decodes the next bytes of the stream, in linear time for chunks of any size.
   *
   * @param {Uint8Array} chunk
   */
  push(chunk) {
    // Invalid UTF-8 becomes U+FFFD, as in the standard.
    const text = this.#utf8.decode(chunk, { stream: true });
    if (text === "") return;
    let start = this.#isStart && text.charCodeAt(0) === BYTE_ORDER_MARK ? 1 : 0;
    this.#isStart = false;
    if (this.#afterCr) {
      this.#afterCr = false;
      if (text.charCodeAt(0) === LF) start = 1;
    }
    // Each is searched for again only after it was passed, because a stream may use only one of them.
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
        // The CR ends the line: waiting for an LF, which may never come, would delay its event.
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
   * Whether there is an unfinished line or event. At the end of the stream it is ignored, and so is its
   * ID.
   */
  get isUnfinished() {
    return this.#begun !== "" || this.#room < this.#charactersMax;
  }

  /** @param {string} text of an unfinished line */
  #begin(text) {
    this.#begun += text;
    if (this.#begun.length > this.#room) {
      // A comment that is too long does not discard the event around it.
      if (this.#begun.charCodeAt(0) !== COLON) this.#discard();
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
    const room = this.#room - (end - start);
    if (room < 0) return this.#discard();
    this.#room = room;
    // Fast path for the most frequent fields: their colon need not be searched for.
    const known =
      first === LETTER_D && isData(text, start) ? "data"
      : first === LETTER_I && text.startsWith("id:", start) ? "id"
      : first === LETTER_E && text.startsWith("event:", start) ? "event"
      : "";
    let colon = start + known.length;
    if (!known) while (colon < end && text.charCodeAt(colon) !== COLON) colon += 1;
    // One space after the colon is not part of the value. A line without a colon is a name only.
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
        // ASCII digits only: `Number` would also accept "+5", "0x5" and "".
        if (/^[0-9]+$/.test(value)) this.#sink.onRetry?.(Number(value));
        return;
      default:
        (this.#fields ??= []).push([name, value]);
    }
  }

  /** Reports the event at once, because its end may never come. */
  #discard() {
    if (this.#room < 0) return;
    this.#room = -1;
    this.#data = this.#fields = undefined;
    this.#sink.onDiscarded?.();
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
    if (data !== undefined && !isTooLarge) this.#sink.onEvent({ type, data, lastEventId: this.lastEventId, id, fields });
  }
}

/**
 * Compares letter by letter: calling `startsWith` takes as long as the rest of a short line.
 *
 * @param {string} text
 * @param {number} at the index of a d
 * @returns {boolean} whether it begins `data:`
 */
function isData(text, at) {
  return text.charCodeAt(at + 4) === COLON && text.charCodeAt(at + 1) === 97 && text.charCodeAt(at + 2) === 116 && text.charCodeAt(at + 3) === 97;
}
