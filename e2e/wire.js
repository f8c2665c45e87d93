// A wire to the hub that can be cut, as if the network failed or a proxy restarted, while the hub continues.

import { once } from "node:events";
import { connect, createServer } from "node:net";

export class Wire {
  #server;
  /** @type {Set<import("node:net").Socket>} */
  #ends = new Set();
  #whole = true;

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
    if (address === null || typeof address === "string") throw new Error("the wire has no port");
    const wire = new Wire(server, `http://127.0.0.1:${address.port}`);
    server.on("connection", (near) => wire.#join(near, connect(Number(port), hostname)));
    test.after(() => {
      wire.cut();
      server.close();
    });
    return wire;
  }

  /** @param {string} path */
  url(path) {
    return new URL(path, this.origin).href;
  }

  /** Ends every connection at once, and every new one, until it is mended. */
  cut() {
    this.#whole = false;
    for (const end of this.#ends) end.destroy();
  }

  mend() {
    this.#whole = true;
  }

  /**
   * @param {import("node:net").Socket} near
   * @param {import("node:net").Socket} far
   */
  #join(near, far) {
    for (const [end, other] of /** @type {const} */ ([[near, far], [far, near]])) {
      this.#ends.add(end);
      end.on("error", () => {});
      end.on("close", () => {
        this.#ends.delete(end);
        other.destroy();
      });
      end.pipe(other);
    }
    if (!this.#whole) near.destroy();
  }
}
