// The constants and event handler attributes of the standard's `EventSource`.

import { CLOSED, CONNECTING, OPEN } from "./subscribe.js";

/** @typedef {((this: any, event: any) => any) | null} Handler */

/** Event handler attributes (HTML 8.1.8.1): any object is stored, and called if it is callable. */
export class Handlers {
  #target;
  /** @type {Record<string, Handler>} */
  #handlers = {};
  // One listener for all handlers. Its position among other listeners is where it was first added.
  #call = (/** @type {Event} */ event) => {
    const handler = this.#handlers[event.type];
    if (typeof handler === "function") handler.call(this.#target, event);
  };

  /** @param {EventTarget} target */
  constructor(target) {
    this.#target = target;
  }

  /** @param {string} type */
  get(type) {
    return this.#handlers[type] ?? null;
  }

  /**
   * @param {string} type
   * @param {Handler} value
   */
  set(type, value) {
    const handler = Object(value) === value ? value : null;
    this.#handlers[type] = handler;
    if (handler) this.#target.addEventListener(type, this.#call);
    else this.#target.removeEventListener(type, this.#call);
  }
}

/**
 * Gives a class the names, constants and enumerable members that Web IDL requires.
 *
 * @param {Function} source
 * @param {string[]} members
 */
export function describeInterface(source, members) {
  for (const [name, value] of Object.entries({ CONNECTING, OPEN, CLOSED })) {
    for (const target of [source, source.prototype]) {
      Object.defineProperty(target, name, { value, enumerable: true, writable: false, configurable: false });
    }
  }
  // Pages and test suites detect an `EventSource` by these two names.
  Object.defineProperty(source, "name", { value: "EventSource", configurable: true });
  Object.defineProperty(source.prototype, Symbol.toStringTag, { value: "EventSource", configurable: true });
  // Members of an interface are enumerable.
  for (const name of members) Object.defineProperty(source.prototype, name, { enumerable: true });
}
