// The state machine: when it tries again, and when no more. No clock, no waiting.

import assert from "node:assert/strict";
import { test } from "node:test";
import { retryAfter } from "../connect.js";
import { DEFAULT_POLICY, isPassing, Reconnect } from "../reconnect.js";

/** @param {Partial<import("../reconnect.js").Policy>} [policy] */
const machine = (policy = {}, random = () => 1) => new Reconnect({ ...DEFAULT_POLICY, ...policy }, random);

test("after a stream with an event, only the reconnection time is waited", () => {
  const reconnect = machine();
  reconnect.opened(0);
  reconnect.received();
  assert.deepEqual(reconnect.lost(10), { delayMs: 3000 });
  assert.equal(reconnect.attempt, 1);
});

test("each fruitless attempt doubles the random wait, up to a limit", () => {
  const reconnect = machine();
  const delays = Array.from({ length: 8 }, () => reconnect.lost(0)?.delayMs);
  assert.deepEqual(delays, [4000, 5000, 7000, 11000, 19000, 33000, 33000, 33000]);
  assert.equal(reconnect.attempt, 9);
});

test("the random wait may be zero", () => {
  const reconnect = machine({}, () => 0);
  assert.deepEqual([reconnect.lost(0), reconnect.lost(0)], [{ delayMs: 3000 }, { delayMs: 3000 }]);
});

test("an empty answer is fruitless, until it has been open for long", () => {
  const reconnect = machine();
  reconnect.opened(0);
  assert.equal(reconnect.lost(10)?.delayMs, 4000);
  reconnect.opened(0);
  assert.equal(reconnect.lost(10_000)?.delayMs, 3000);
});

test("the server's retry counts, within 100 ms and an hour", () => {
  const reconnect = machine({}, () => 0);
  for (const [asked, waited] of [[500, 500], [0, 100], [1e12, 3_600_000]]) {
    reconnect.retry(Number(asked));
    assert.equal(reconnect.lost(0)?.delayMs, waited);
  }
});

test("Retry-After is the shortest wait", () => {
  const reconnect = machine({}, () => 0);
  assert.equal(reconnect.refused(0, 429, 20_000, false)?.delayMs, 20_000);
  assert.equal(reconnect.refused(0, 503, 20, false)?.delayMs, 3000);
});

test("Retry-After is read as seconds and as a date", () => {
  const now = Date.parse("2026-01-01T00:00:00Z");
  assert.equal(retryAfter("2", now), 2000);
  assert.equal(retryAfter("Thu, 01 Jan 2026 00:00:05 GMT", now), 5000);
  for (const nothing of ["", "soon", "-1", "Thu, 01 Jan 2020 00:00:05 GMT"]) assert.equal(retryAfter(nothing, now), 0);
});

test("temporary statuses are retried, all others are final", () => {
  for (const status of [408, 425, 429, 500, 502, 503, 504, 529]) assert.equal(isPassing(status), true, String(status));
  for (const status of [201, 204, 301, 400, 403, 404, 410, 501, 505]) assert.equal(isPassing(status), false, String(status));
  assert.equal(machine().refused(0, 404, 0, true), null);
  assert.equal(machine().refused(0, 204, 0, true), null);
  assert.notEqual(machine().refused(0, 503, 0, false), null);
});

test("401 is retried once if the next request has other credentials", () => {
  assert.equal(machine().refused(0, 401, 0, false), null);
  const reconnect = machine();
  assert.notEqual(reconnect.refused(0, 401, 0, true), null);
  assert.equal(reconnect.refused(0, 401, 0, true), null);
});

test("401 is retried once after each stream that was open", () => {
  const reconnect = machine();
  for (let round = 0; round < 3; round += 1) {
    assert.notEqual(reconnect.refused(0, 401, 0, true), null);
    reconnect.opened(0);
    reconnect.received();
    reconnect.lost(1);
  }
});

test("it gives up after as many attempts as the policy allows", () => {
  const reconnect = machine({ attemptsMax: 3 });
  assert.deepEqual([1, 2, 3].map(() => reconnect.lost(0) === null), [false, false, true]);
});

test("it gives up when the next attempt would be beyond the budget", () => {
  const reconnect = machine({ budgetMs: 10_000 }, () => 0);
  assert.notEqual(reconnect.lost(0), null);
  assert.notEqual(reconnect.lost(6000), null);
  assert.equal(reconnect.lost(9000), null);
});

test("a single request is not repeated", () => assert.equal(machine({ once: true }).lost(0), null));
