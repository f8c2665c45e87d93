// Ports for servers that restart at the same address.

import { once } from "node:events";
import { createServer } from "node:net";

/**
 * Below the range from which Linux assigns ports to connections and to servers that accept any port. In that range
 * another process may get a server's port before the server restarts.
 */
const [FIRST, LAST] = [20_000, 32_767];
const TRIES_MAX = 100;

/**
 * A free port that the system assigns to no other socket.
 *
 * @param {string} [host]
 * @returns {Promise<number>}
 */
export async function keptPort(host = "127.0.0.1") {
  for (let tries = 0; tries < TRIES_MAX; tries += 1) {
    const port = FIRST + Math.floor(Math.random() * (LAST - FIRST + 1));
    const server = createServer().listen(port, host);
    const isFree = await once(server, "listening").then(
      () => true,
      () => false,
    );
    if (!isFree) continue;
    server.close();
    await once(server, "close");
    return port;
  }
  throw new Error(`no port from ${FIRST} to ${LAST} is free`);
}
