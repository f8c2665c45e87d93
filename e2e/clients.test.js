// The hub's streams, read by clients that we did not write.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { CLIENTS } from "./clients.js";
import { Command } from "./command.js";
import { Hub } from "./hub.js";
import { until } from "./until.js";
import { Wire } from "./wire.js";

const TOPIC = "https://example.com/books/1";
const PATH = `/.well-known/mercure?topic=${encodeURIComponent(TOPIC)}`;

for (const { name, open } of CLIENTS) {
  describe(name, () => {
    test("gets events with their id, their type and all lines of their data, and no comments", async (t) => {
      const hub = await Hub.start(t, { flags: ["--heartbeat", "1s"] });
      const seen = await open(t, hub.url(PATH));
      await until("it is subscribed", async () => (await hub.subscribers()) === 1);

      const first = await hub.publish({ topic: TOPIC, data: "one line" });
      const second = await hub.publish({ topic: TOPIC, data: "two\nlines", type: "price", id: "my-own ☂" });
      const third = await hub.publish({ topic: TOPIC, data: "" });
      const fourth = await hub.publish({ topic: TOPIC, data: ' {"a": [1, 2]}\n\n: no comment\r\nid: no id ' });
      await until("a heartbeat on a stream opened after these", () => heartbeat(t, hub));
      const fifth = await hub.publish({ topic: TOPIC, data: "last", type: "price" });

      const expected = [
        { type: "message", id: first, data: "one line" },
        { type: "price", id: second, data: "two\nlines" },
        { type: "message", id: third, data: "" },
        { type: "message", id: fourth, data: ' {"a": [1, 2]}\n\n: no comment\nid: no id ' },
        { type: "price", id: fifth, data: "last" },
      ];
      assert.equal(second, "my-own ☂");
      await until("all five", async () => (await seen()).some(({ data }) => data === "last"));
      assert.deepEqual(await seen(), expected);
    });

    test("resumes from the last event id when its connection was cut", async (t) => {
      const hub = await Hub.start(t);
      const wire = await Wire.to(t, hub.origin);
      const seen = await open(t, wire.url(PATH));
      await until("it is subscribed", async () => (await hub.subscribers()) === 1);

      /** @type {import("./clients.js").Seen[]} */
      const expected = [];
      const publish = async (/** @type {string} */ data) => {
        expected.push({ type: "message", id: await hub.publish({ topic: TOPIC, data }), data });
      };
      await publish("before");
      await until("the first", async () => (await seen()).length === 1);
      wire.cut();
      await until("the hub noticed", async () => (await hub.subscribers()) === 0);
      await publish("meanwhile, 1");
      await publish("meanwhile, 2");
      wire.mend();
      await until("what it missed", async () => (await seen()).length === 3);
      await publish("after");
      await until("what is new", async () => (await seen()).length === 4);
      assert.deepEqual(await seen(), expected);
    });

    test("is told of the reset when the hub has restarted with an empty memory", async (t) => {
      const hub = await Hub.start(t, { returns: true });
      const seen = await open(t, hub.url(PATH));
      await until("it is subscribed", async () => (await hub.subscribers()) === 1);
      const first = await hub.publish({ topic: TOPIC, data: "before" });
      await until("the first", async () => (await seen()).length === 1);

      await hub.kill();
      const next = await Hub.start(t, { listen: hub.listen });
      await until("it is subscribed again", async () => (await next.subscribers()) === 1);
      const last = await next.publish({ topic: TOPIC, data: "after" });
      await until("the last", async () => (await seen()).some(({ data }) => data === "after"));

      const [before, notice, after, ...more] = await seen();
      assert.deepEqual(before, { type: "message", id: first, data: "before" });
      assert.equal(notice?.type, "tidings");
      const { v, kind, asked } = JSON.parse(notice?.data ?? "");
      assert.deepEqual({ v, kind, asked }, { v: 1, kind: "reset", asked: first });
      assert.notEqual(notice?.id, first);
      assert.deepEqual(after, { type: "message", id: last, data: "after" });
      assert.deepEqual(more, []);
    });
  });
}

/** @type {WeakMap<Hub, Command>} */
const watches = new WeakMap();

/**
 * Whether a heartbeat has arrived on a stream that the first call opens. A stream's first bytes are a comment too, so
 * two comments are needed.
 *
 * @param {import("node:test").TestContext} test
 * @param {Hub} hub
 */
function heartbeat(test, hub) {
  const watch = watches.get(hub) ?? new Command(test, "curl", ["-sN", hub.url(PATH)]);
  watches.set(hub, watch);
  return (watch.output.match(/^:/gm) ?? []).length >= 2;
}
