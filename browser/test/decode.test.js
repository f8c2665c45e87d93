// The decoder against the cases that each of our decoders must pass, and against its limits.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { Decoder } from "../decode.js";

/**
 * @typedef {object} Case
 * @property {string} name
 * @property {string[]} chunks_hex
 * @property {{ event: string, data: string, id: string }[]} events
 * @property {number | null} retry
 * @property {string} last_event_id
 * @property {string[]} [comments]
 */

/** @type {Case[]} */
const cases = JSON.parse(readFileSync(new URL("../../conformance/decode.json", import.meta.url), "utf8"));

/** @param {Uint8Array[]} chunks */
function decode(chunks, options = {}) {
  /** @type {import("../decode.js").DecodedEvent[]} */
  const events = [];
  /** @type {string[]} */
  const comments = [];
  /** @type {number | null} */
  let retry = null;
  let discarded = 0;
  const decoder = new Decoder(
    {
      onEvent: (event) => events.push(event),
      onRetry: (milliseconds) => (retry = milliseconds),
      onComment: (text) => comments.push(text),
      onDiscarded: () => (discarded += 1),
    },
    options,
  );
  for (const chunk of chunks) decoder.push(chunk);
  return { events, comments, retry: /** @type {number | null} */ (retry), discarded, lastEventId: decoder.lastEventId };
}

/** @param {Uint8Array} bytes */
function* cuts(bytes) {
  yield [bytes];
  yield [...bytes].map((byte) => Uint8Array.of(byte));
  // Of a long stream, every cut would take quadratic time.
  const step = bytes.length > 4096 ? Math.ceil(bytes.length / 512) : 1;
  for (let at = 0; at <= bytes.length; at += step) yield [bytes.subarray(0, at), bytes.subarray(at)];
}

/** @param {string} text */
const bytes = (text) => new TextEncoder().encode(text);

test("there are cases", () => assert.ok(cases.length > 50, String(cases.length)));

for (const { name, chunks_hex, events, retry, last_event_id, comments } of cases) {
  test(name, () => {
    const given = chunks_hex.map((hex) => new Uint8Array(Buffer.from(hex, "hex")));
    for (const chunks of [given, ...cuts(new Uint8Array(Buffer.concat(given)))]) {
      const decoded = decode(chunks);
      const plain = decoded.events.map(({ type, data, lastEventId }) => ({ event: type, data, id: lastEventId }));
      assert.deepEqual(plain, events);
      const capped = decoded.retry === null ? null : Math.min(decoded.retry, Number.MAX_SAFE_INTEGER);
      assert.equal(capped, retry);
      assert.equal(decoded.lastEventId, last_event_id);
      if (comments) assert.deepEqual(decoded.comments, comments);
    }
  });
}

test("fields that the standard does not define come with their event", () => {
  const { events } = decode([bytes("topic: a\ntopic: b\nx\ndata: 1\n\ndata: 2\n\n")]);
  assert.deepEqual(events[0]?.fields, [["topic", "a"], ["topic", "b"], ["x", ""]]);
  assert.equal(events[1]?.fields, undefined);
});

test("an event's own id is distinguished from one that is carried over", () => {
  const { events } = decode([bytes("id: 7\ndata\n\ndata\n\n")]);
  assert.deepEqual(events.map(({ id, lastEventId }) => [id, lastEventId]), [["7", "7"], [undefined, "7"]]);
});

test("the last event id is carried over to the next connection's stream", () => {
  /** @type {string[]} */
  const seen = [];
  const sink = { onEvent: (/** @type {any} */ { data, lastEventId }) => seen.push(`${data} ${lastEventId}`) };
  const first = new Decoder(sink);
  first.push(bytes("id: 7\ndata: a\n\nid: 8\ndata: b"));
  assert.equal(first.isUnfinished, true);
  const second = new Decoder(sink, { lastEventId: first.lastEventId });
  second.push(bytes("data: c\n\n"));
  assert.equal(second.isUnfinished, false);
  assert.deepEqual(seen, ["a 7", "c 7"]);
});

test("an event of a mebibyte is whole, in one chunk and in many", () => {
  const data = "x".repeat(1024 * 1024);
  const stream = bytes(`data: ${data}\n\n`);
  for (const size of [stream.length, 16 * 1024, 1000]) {
    const chunks = [];
    for (let at = 0; at < stream.length; at += size) chunks.push(stream.subarray(at, at + size));
    assert.equal(decode(chunks).events[0]?.data, data);
  }
});

test("ten thousand events in one chunk are ten thousand events", () => {
  const { events } = decode([bytes(Array.from({ length: 10_000 }, (_, n) => `id: ${n}\ndata: ${n}\n\n`).join(""))]);
  assert.equal(events.length, 10_000);
  assert.ok(events.every(({ data, id }, n) => data === String(n) && id === data));
});

test("an event beyond the limit is discarded and reported, and the next one is whole", () => {
  for (const large of [`data: ${"x".repeat(50)}\n`, `${"data: x\n".repeat(20)}`, `id: ${"7".repeat(50)}\n`, `${"y".repeat(50)}\n`]) {
    const text = `data: a\n\n${large}data: rest\n\ndata: b\n\n`;
    for (const chunks of cuts(bytes(text))) {
      const { events, discarded } = decode(chunks, { eventCharactersMax: 40 });
      assert.deepEqual(events.map(({ data }) => data), ["a", "b"], text);
      assert.equal(discarded, 1);
    }
  }
});

test("a comment beyond the limit costs no event", () => {
  for (const chunks of cuts(bytes(`data: a\n:${"x".repeat(90)}\ndata: b\n\n`))) {
    assert.deepEqual(decode(chunks, { eventCharactersMax: 40 }).events.map(({ data }) => data), ["a\nb"]);
  }
});
