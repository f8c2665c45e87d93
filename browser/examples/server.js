// Serves the examples, with a clock, a stream that asks for a token, and words that answer a
// POST: `node server.js`, then open the address that it prints.

import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { fileURLToPath } from "node:url";

const root = new URL("../", import.meta.url);
/** Ten seconds a token is good for, so that one sees it renewed. */
const TOKEN_MS = 10_000;
const tokens = new Map();

/** @type {Record<string, (request: import("node:http").IncomingMessage, response: import("node:http").ServerResponse, body: string) => void>} */
const routes = {
  "/sse": (request, response) => {
    open(response);
    const tick = () => response.write(`id: ${Date.now()}\ndata: {"time":"${new Date().toISOString()}"}\n\n`);
    tick();
    const timer = setInterval(tick, 2000);
    request.on("close", () => clearInterval(timer));
  },
  "/token": (_, response) => {
    const token = crypto.randomUUID();
    tokens.set(token, Date.now() + TOKEN_MS);
    setTimeout(() => tokens.delete(token), TOKEN_MS);
    response.end(token);
  },
  "/private": (request, response) => {
    const ends = tokens.get(request.headers.authorization?.replace("Bearer ", ""));
    if (!ends) return void response.writeHead(401).end("the token is none, or has ended");
    open(response);
    const timer = setInterval(() => response.write(`data: ${Math.round((ends - Date.now()) / 1000)} s of this token are left\n\n`), 1000);
    const end = setTimeout(() => response.end(), ends - Date.now());
    request.on("close", () => (clearInterval(timer), clearTimeout(end)));
  },
  "/answer": async (request, response, body) => {
    open(response);
    const { question } = JSON.parse(body);
    for (const word of `You asked: ${question} Good tidings travel over one connection.`.split(/(?<= )/)) {
      if (response.destroyed) return;
      response.write(`data: ${JSON.stringify({ word })}\n\n`);
      await new Promise((resolve) => setTimeout(resolve, 80));
    }
    response.end("data: [DONE]\n\n");
  },
};

/** @param {import("node:http").ServerResponse} response */
function open(response) {
  response.writeHead(200, { "Content-Type": "text/event-stream", "Cache-Control": "no-cache" });
  response.write("retry: 1000\n\n");
}

const server = createServer(async (request, response) => {
  const { pathname } = new URL(request.url ?? "/", "http://localhost");
  let body = "";
  for await (const chunk of request) body += chunk;
  const route = routes[pathname];
  if (route) return route(request, response, body);
  const page = pathname === "/" ? "classic.html" : pathname.match(/^\/(\w+\.html)$/)?.[1];
  if (page) return void response.writeHead(302, { Location: `/examples/${page}` }).end();
  const file = new URL(`.${pathname}`, root);
  const isOurs = fileURLToPath(file).startsWith(fileURLToPath(root)) && /\.(js|html)$/.test(pathname);
  const text = isOurs ? await readFile(file).catch(() => null) : null;
  if (!text) return void response.writeHead(404).end("nothing is here");
  response.writeHead(200, { "Content-Type": pathname.endsWith(".js") ? "text/javascript" : "text/html; charset=utf-8" }).end(text);
});
server.listen(Number(process.env.PORT ?? 3000), "localhost", () => {
  const address = server.address();
  if (address && typeof address === "object") console.log(`http://localhost:${address.port}`);
});
