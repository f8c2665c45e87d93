// Throughput of the decoder compared with npm `eventsource-parser`, in one run: bytes in, events out, interleaved, the
// median of several rounds. Time is that of the processor, because other programs disturb it less than wall-clock
// time. `node bench/decode.js`.

import { createParser } from "eventsource-parser";
import { Decoder } from "../decode.js";

const ROUNDS = 9;
const REPEATS = 5;
const CHUNK_BYTES = 16 * 1024;

/** @type {Record<string, string>} */
const streams = {
  "tokens of a language model": Array.from({ length: 40_000 }, (_, n) => `data: {"id":"chatcmpl-7","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":" word${n}"}}]}\n\n`).join(""),
  "events with id and type": Array.from({ length: 40_000 }, (_, n) => `id: tidings:abcdef.${n}.wxyz\nevent: price\ndata: {"name":"tea","price":${n}}\n\n`).join(""),
  "events of many lines, CRLF": Array.from({ length: 10_000 }, (_, n) => `id: ${n}\r\n${"data: a line of text that is not long\r\n".repeat(8)}\r\n`).join(""),
};

/** @param {Uint8Array[]} chunks */
function ours(chunks) {
  let count = 0;
  const decoder = new Decoder({ onEvent: () => (count += 1) });
  for (const chunk of chunks) decoder.push(chunk);
  return count;
}

/** @param {Uint8Array[]} chunks */
function theirs(chunks) {
  let count = 0;
  const utf8 = new TextDecoder();
  const parser = createParser({ onEvent: () => (count += 1) });
  for (const chunk of chunks) parser.feed(utf8.decode(chunk, { stream: true }));
  return count;
}

for (const [name, text] of Object.entries(streams)) {
  const bytes = new TextEncoder().encode(text);
  /** @type {Uint8Array[]} */
  const chunks = [];
  for (let at = 0; at < bytes.length; at += CHUNK_BYTES) chunks.push(bytes.subarray(at, at + CHUNK_BYTES));
  if (ours(chunks) !== theirs(chunks)) throw new Error(`${name}: not the same events`);
  /** @type {[number, number]} */
  const best = [Infinity, Infinity];
  const ratios = [];
  for (let round = 0; round < ROUNDS; round += 1) {
    const times = [ours, theirs].map((decode, n) => {
      const start = process.cpuUsage();
      for (let n = 0; n < REPEATS; n += 1) decode(chunks);
      const { user, system } = process.cpuUsage(start);
      const time = (user + system) / 1000 / REPEATS;
      best[n] = Math.min(/** @type {number} */ (best[n]), time);
      return time;
    });
    ratios.push(Number(times[1]) / Number(times[0]));
  }
  const ratio = ratios.sort((a, b) => a - b)[Math.floor(ROUNDS / 2)];
  const [mine, other] = best.map((time) => Math.round(bytes.length / 1000 / time));
  console.log(`${name}: ${mine} MB/s, eventsource-parser ${other} MB/s; ratio ${ratio?.toFixed(2)} (median of ${ROUNDS})`);
}
