// The tables of docs/clients.md, made from the list of set-ups. `--write` puts them there.

import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { BLOCKS, FORMS } from "./blocks.js";
import { FAULTS } from "./faults.js";
import { SET_UPS } from "./setups.js";
import { versionOf } from "./versions.js";

/**
 * @typedef {import("./faults.js").FaultName} FaultName
 * @typedef {import("./blocks.js").Block} Block
 * @typedef {import("./blocks.js").Form} Form
 * @typedef {import("./setups.js").SetUp} SetUp
 */

const DOCUMENT = fileURLToPath(new URL("../../docs/clients.md", import.meta.url));

/** @type {Record<import("./setups.js").Program, string>} */
const PLATFORMS = {
  javascript: "Node.js",
  chromium: "Chromium",
  firefox: "Firefox",
  python: "Python",
  go: "Go",
  java: "Java",
  rust: "Rust",
  php: "PHP",
};

const faults = /** @type {FaultName[]} */ (Object.keys(FAULTS));
const blocks = /** @type {Block[]} */ (Object.keys(BLOCKS));
const forms = /** @type {Form[]} */ (Object.keys(FORMS));

/**
 * @param {string[]} head
 * @param {string[][]} rows
 */
function table(head, rows) {
  const lines = [head, head.map(() => "---"), ...rows].map((cells) => `| ${cells.join(" | ")} |\n`);
  return lines.join("");
}

/** @param {SetUp} setUp */
function clientOf(setUp) {
  const version = versionOf(setUp).replace(/^0\.0\.0-\d{14}-/, "");
  return [setUp.shown || setUp.package || setUp.name, version].filter(Boolean).join(" ");
}

/** The faults that each set-up survives. */
function results() {
  const whole = SET_UPS.filter(({ breaks }) => faults.every((fault) => fault === "tail" || !breaks?.includes(fault)));
  const clients = new Set(SET_UPS.map(({ program, name, shown, package: client }) => `${program} ${shown || client || name}`));
  const rows = SET_UPS.map((setUp) => [
    clientOf(setUp),
    PLATFORMS[setUp.program],
    setUp.how ?? "",
    ...faults.map((fault) => (setUp.breaks?.includes(fault) ? "✗" : "✓")),
    [setUp.own, setUp.avoid && `Workaround: ${setUp.avoid}.`].filter(Boolean).join(" "),
  ]);
  const sum = `${whole.length} of ${SET_UPS.length} set-ups of ${clients.size} clients receive the exact sequence under all faults but \`tail\`.\n\n`;
  return sum + table(["client", "runs on", "set-up", ...faults.map((fault) => `\`${fault}\``), "cause of failures, or other faults"], rows);
}

/** How each client reports blocks that are not events, and data. Clients that follow the standard are omitted. */
function handed() {
  const others = SET_UPS.filter(({ events, lost }) => events || lost);
  const rows = others.map((setUp) => [
    clientOf(setUp),
    setUp.how ?? "",
    ...blocks.map((block) => (setUp.events?.includes(block) ? "reported" : "")),
    ...forms.map((form) => (setUp.lost?.includes(form) ? "altered" : "")),
  ]);
  const names = { id: "id alone", end: "`id: tidings:end`", type: "type alone", retry: "retry alone", comment: "comment" };
  const data = { lines: "two lines of data", text: "text beyond ASCII", empty: "empty data" };
  const head = ["client", "set-up", ...blocks.map((block) => names[block]), ...forms.map((form) => data[form])];
  return `Clients that are not in this table report only events, and data unchanged.\n\n${table(head, rows)}`;
}

/** The text for the marks of this name in the document. */
export const TABLES = { zoo: results, blocks: handed };

/**
 * The current text between the marks of this name.
 *
 * @param {string} name
 * @param {string} [made] to be put there
 */
export function shown(name, made) {
  const text = readFileSync(DOCUMENT, "utf8");
  const begin = `<!-- ${name}: the table is made by e2e/zoo/table.js -->\n`;
  const end = `<!-- ${name}: end -->\n`;
  const [before, rest = ""] = text.split(begin);
  const [old, after] = rest.split(end);
  if (after === undefined) throw new Error(`${DOCUMENT} has no place for ${name}`);
  if (made !== undefined) writeFileSync(DOCUMENT, before + begin + made + end + after);
  return old;
}

if (process.argv[1] === fileURLToPath(import.meta.url) && process.argv[2] === "--write") {
  for (const [name, make] of Object.entries(TABLES)) shown(name, make());
}
