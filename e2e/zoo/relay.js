// A wire to the hub that is cut at exact places of the stream: right after an event, or at a named
// place inside one.

import { once } from "node:events";
import { connect, createServer } from "node:net";

/**
 * @typedef {"after" | "data" | "id" | "lines" | "blank"} Place of a cut: after an event and its framing; in
 *   the middle of its data or its id; between two of its lines; before the blank line that ends it
 *
 * @typedef {object} Cut
 * @property {string} data the event whose data this is
 * @property {Place} place
 * @property {"end" | "reset"} how the connection is closed (FIN), or reset (RST)
 */

const HEAD_END = Buffer.from("\r\n\r\n");
const EVENT_END = Buffer.from("\n\n");
const CHUNK_END = Buffer.from("\r\n");
/** The bytes kept of a cut id: `tidings:` and the epoch. */
const ID_BYTES_THROUGH = 15;
/** The limit of bytes that are held back until an event is complete. */
const HELD_BYTES_MAX = 1 << 20;

export class Relay {
  #server;
  /** @type {Set<import("node:net").Socket>} */
  #sockets = new Set();
  /** @type {Cut[]} those still to come, in order */
  cuts = [];
  /** Whether a stream has begun on it. */
  open = false;

  /**
   * @param {import("node:net").Server} server
   * @param {string} origin
   */
  constructor(server, origin) {
    this.#server = server;
    this.origin = origin;
  }

  /**
   * @param {import("node:test").TestContext} test at whose end it is taken down
   * @param {string} origin of the hub
   */
  static async to(test, origin) {
    const { hostname, port } = new URL(origin);
    const server = createServer();
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const address = server.address();
    if (address === null || typeof address === "string") throw new Error("the relay has no port");
    const relay = new Relay(server, `http://127.0.0.1:${address.port}`);
    server.on("connection", (near) => relay.#join(near, connect(Number(port), hostname)));
    test.after(() => relay.#end());
    return relay;
  }

  #end() {
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
  }

  /**
   * @param {import("node:net").Socket} near the client's
   * @param {import("node:net").Socket} far the hub's
   */
  #join(near, far) {
    for (const socket of [near, far]) {
      socket.setNoDelay(true);
      this.#sockets.add(socket);
      socket.on("error", () => {});
      socket.on("close", () => this.#sockets.delete(socket));
    }
    near.on("close", () => far.destroy());
    // Bytes on their way to the client are sent first.
    far.on("close", () => near.end());
    near.pipe(far);
    const cutter = new Cutter(this.cuts);
    far.on("data", (bytes) => {
      const { forward, cut } = cutter.take(bytes);
      this.open ||= cutter.inBody;
      if (!cut) {
        if (forward.length > 0) near.write(forward);
        return;
      }
      far.removeAllListeners();
      far.on("error", () => {});
      far.destroy();
      this.#sockets.delete(far);
      // A reset must not overtake earlier bytes.
      near.write(forward, () => {
        if (cut.how === "reset") near.resetAndDestroy();
        else near.end();
      });
    });
  }
}

/** Decides which bytes of a connection are forwarded, and where it is cut. */
export class Cutter {
  #held = Buffer.alloc(0);
  #chunked = false;
  inBody = false;

  /** @param {Cut[]} cuts from which those that are made are taken */
  constructor(cuts) {
    this.cuts = cuts;
  }

  /**
   * @param {Buffer} bytes
   * @returns {{ forward: Buffer, cut?: Cut }}
   */
  take(bytes) {
    this.#held = Buffer.concat([this.#held, bytes]);
    let done = 0;
    if (!this.inBody) {
      const end = this.#held.indexOf(HEAD_END);
      if (end < 0) return { forward: Buffer.alloc(0) };
      done = end + HEAD_END.length;
      this.#chunked = /^transfer-encoding: *chunked/im.test(this.#held.toString("latin1", 0, end));
      this.inBody = true;
    }
    if (this.cuts.length === 0 || this.#held.length > HELD_BYTES_MAX) return { forward: this.#release(this.#held.length) };
    for (;;) {
      const end = this.#held.indexOf(EVENT_END, done);
      if (end < 0) return { forward: this.#release(done) };
      let next = end + EVENT_END.length;
      // The framing after the event belongs to it.
      if (this.#chunked) {
        if (this.#held.length < next + CHUNK_END.length) return { forward: this.#release(done) };
        if (this.#held.subarray(next, next + CHUNK_END.length).equals(CHUNK_END)) next += CHUNK_END.length;
      }
      const [cut] = this.cuts;
      const at = cut ? placeOf(cut, this.#held.subarray(done, next)) : undefined;
      if (cut && at !== undefined) {
        this.cuts.shift();
        return { forward: this.#release(done + at), cut };
      }
      done = next;
    }
  }

  /** @param {number} length */
  #release(length) {
    const forward = this.#held.subarray(0, length);
    this.#held = this.#held.subarray(length);
    return forward;
  }
}

/**
 * How many bytes of the event, with its framing, are forwarded; nothing if it is another event.
 *
 * @param {Cut} cut
 * @param {Buffer} event
 */
function placeOf({ data, place }, event) {
  const line = event.indexOf(`data: ${data}\n`);
  if (line < 0) return undefined;
  const lineEnd = event.indexOf("\n", line) + 1;
  if (place === "after") return event.length;
  if (place === "data") return line + "data: ".length + Math.floor(Buffer.byteLength(data) / 2);
  if (place === "id") return event.indexOf("\nid: ") + "\nid: ".length + ID_BYTES_THROUGH;
  if (place === "blank") return event.indexOf(EVENT_END) + 1;
  // Between the data and the following field, or else the preceding one.
  return event[lineEnd] === 0x0a ? line : lineEnd;
}
