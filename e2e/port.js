// Ports for servers that go and come back at the same address.

import { once } from "node:events";
import { createServer } from "node:net";

/**
 * Below what Linux hands out to connections and to servers that ask for any port: from there,
 * another process may get a server's port before the server is back.
 */
const [FIRST, LAST] = [20_000, 32_767];
const TRIES_MAX = 100;

/**
 * A port that is free, and that the system gives to no other socket by chance.
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
