// How clients report blocks that are not events, and unusual forms of data. The server is not a hub: it sends exactly
// these bytes.

import { once } from "node:events";
import { createServer } from "node:http";
import { until } from "../until.js";

/**
 * @typedef {import("./readers.js").Stream} Stream
 * @typedef {"id" | "end" | "type" | "retry" | "comment"} Block that is not an event
 * @typedef {"lines" | "text" | "empty"} Form of data
 */

/** @type {Record<Block, string>} */
export const BLOCKS = {
  id: "id: place\n\n",
  end: "id: tidings:end\n\n",
  type: "event: price\n\n",
  retry: "retry: 1000\n\n",
  comment: ": a comment\n\n",
};

/** @type {Record<Form, { bytes: string, data: string }>} */
export const FORMS = {
  lines: { bytes: "data: one\ndata: two\n\n", data: "one\ntwo" },
  text: { bytes: "data: ä ☂ 漢\n\n", data: "ä ☂ 漢" },
  empty: { bytes: "data:\n\n", data: "" },
};

const OPEN_MS_MAX = 60_000;
const names = /** @type {Block[]} */ (Object.keys(BLOCKS));
const forms = /** @type {Form[]} */ (Object.keys(FORMS));

/** A number before and after each, so that every item in between belongs to that block. */
function body() {
  const parts = [...names.map((name) => BLOCKS[name]), ...forms.map((form) => FORMS[form].bytes)];
  return `${parts.map((bytes, index) => `data: ${index}\n\n${bytes}`).join("")}data: ${parts.length}\n\n`;
}

/**
 * @param {import("node:test").TestContext} test
 * @param {string} pages the origin of the pages that read in browsers
 * @param {import("./setups.js").SetUp[]} setUps
 * @param {import("./faults.js").Open} open
 * @returns {Promise<Map<string, { events: Block[], lost: Form[] }>>} which blocks each reports, and
 *   which forms of data do not arrive as they are
 */
export async function read(test, pages, setUps, open) {
  const server = createServer((request, response) => {
    const headers = { "Access-Control-Allow-Origin": pages, "Access-Control-Allow-Credentials": "true", "Access-Control-Allow-Headers": "last-event-id,cache-control" };
    if (request.method === "OPTIONS") return response.writeHead(204, headers).end();
    response.writeHead(200, { ...headers, "Content-Type": "text/event-stream", "Cache-Control": "no-cache" });
    response.write(body());
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  test.after(() => {
    server.close();
    server.closeAllConnections();
  });
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("the server has no port");

  const last = String(names.length + forms.length);
  const streams = new Map(setUps.map((setUp) => [setUp.name, open(setUp, `http://127.0.0.1:${address.port}/`)]));
  const all = () => [...streams.values()].every(({ events }) => events.some(({ data }) => data === last));
  await until("all have read all blocks", all, OPEN_MS_MAX).catch(() => {});
  return new Map([...streams].map(([name, { events }]) => [name, made(events.map(({ data }) => data))]));
}

/** @param {(string | null)[]} data that a client handed over, in order */
function made(data) {
  const between = (/** @type {number} */ index) => {
    const first = data.indexOf(String(index));
    const next = data.indexOf(String(index + 1));
    return first < 0 || next < 0 ? [] : data.slice(first + 1, next);
  };
  return {
    events: names.filter((_, index) => between(index).length > 0),
    lost: forms.filter((form, index) => {
      const got = between(names.length + index);
      return got.length !== 1 || got[0] !== FORMS[form].data;
    }),
  };
}
