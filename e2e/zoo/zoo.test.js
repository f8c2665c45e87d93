// Third-party clients read the hub through five faults. Each receives the exact sequence, or fails as
// docs/clients.md says.

import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { test } from "node:test";
import { read } from "./blocks.js";
import { FAULTS, suffer } from "./faults.js";
import { PageReader, servePages } from "./pages.js";
import { programs } from "./programs.js";
import { Reader } from "./readers.js";
import { SET_UPS } from "./setups.js";
import { shown, TABLES } from "./table.js";

/**
 * @typedef {import("./faults.js").FaultName} FaultName
 * @typedef {import("./faults.js").Outcome} Outcome
 * @typedef {import("./setups.js").Program} Program
 */

const only = process.env.TIDINGS_ZOO?.split(",");
const setUps = SET_UPS.filter(({ name, program }) => !only || only.includes(program) || only.includes(name));
const faults = /** @type {FaultName[]} */ (Object.keys(FAULTS));

test("third-party clients read the hub", async (t) => {
  const pages = await servePages(t);
  /** @type {Map<Program, Pick<Reader, "open">>} */
  const readers = new Map();
  const start = async (/** @type {Program} */ name) => {
    if (name === "chromium") return PageReader.start(t, "Chromium", pages);
    if (name === "firefox") return PageReader.start(t, "Firefox", pages);
    return new Reader(t, programs[name] ?? []);
  };
  const wanted = [...new Set(setUps.filter(({ alone }) => !alone).map(({ program }) => program))];
  // One after the other: browsers take long to start beside each other.
  for (const name of wanted) readers.set(name, await start(name));

  /**
   * @param {string} what the stream is for
   * @returns {import("./faults.js").Open}
   */
  const opener = (what) => ({ name, program, alone }, url) => {
    const reader = alone ? new Reader(t, programs[program] ?? []) : readers.get(program);
    if (!reader) throw new Error(`nothing reads for ${name}`);
    return reader.open(`${name}: ${what}`, name, url);
  };

  /** @type {Map<FaultName, Map<string, Outcome>>} */
  const outcomes = new Map();
  await Promise.all(
    faults.map(async (fault) => {
      outcomes.set(fault, await suffer(t, fault, setUps, opener(fault), pages));
    }),
  );
  const made = await read(t, pages, setUps, opener("blocks"));
  const results = process.env.TIDINGS_ZOO_RESULTS;
  if (results) writeFileSync(results, JSON.stringify({ faults: Object.fromEntries([...outcomes].map(([fault, of]) => [fault, Object.fromEntries(of)])), made: Object.fromEntries(made) }, null, 1));

  for (const { name, breaks, varies, events = [], lost = [] } of setUps) {
    await t.test(`${name} reports as events the blocks that docs/clients.md lists`, () => {
      assert.deepEqual(made.get(name), { events, lost });
    });
    for (const fault of faults) {
      const fails = breaks?.includes(fault);
      await t.test(`${name} ${fails ? "fails as listed" : "gets the exact sequence"} when ${FAULTS[fault]}`, () => {
        const wrong = outcomes.get(fault)?.get(name)?.wrong;
        if (fails && varies) return;
        if (fails) assert.notEqual(wrong, "", "it comes through now");
        else assert.equal(wrong, "");
      });
    }
  }
});

for (const [name, make] of Object.entries(TABLES)) {
  test(`docs/clients.md shows the list of set-ups, in its table ${name}`, () => {
    assert.equal(shown(name), make(), "run `node zoo/table.js --write`");
  });
}
