// Every configuration in the documentation is one that `tidings check` accepts.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { Authority } from "./authority.js";
import { binary } from "./hub.js";
import { folder, snippet } from "./snippets.js";

const CONFIGURATIONS = [
  ["interfaces.md", "configuration"],
  ["interfaces.md", "nats-configuration"],
  ["journal.md", "configuration"],
  ["operating.md", "configuration"],
  ["operating.md", "limits"],
  ["tokens.md", "config"],
  ["tokens.md", "both-keys"],
  ["tokens.md", "new-key"],
];

for (const [document = "", name = ""] of CONFIGURATIONS) {
  test(`the ${name} of docs/${document} is valid`, (test) => {
    const place = folder(test);
    // The files that configurations name.
    const { cert, key } = new Authority().issue();
    const files = {
      "cert.pem": cert, "key.pem": key, "publisher.pem": "p".repeat(32), "subscriber.pem": "s".repeat(32),
      "hub.key": "k".repeat(32), "hub-2.key": "K".repeat(32), "publisher.key": "p".repeat(32), "subscriber.key": "s".repeat(32) };
    for (const [file, text] of Object.entries(files)) writeFileSync(join(place, file), text, { mode: 0o600 });
    const text = snippet(document, name).replaceAll("/etc/tidings", place).replace('owner = "tidings"', `owner = "${process.getuid?.()}"`);
    // Some blocks show one part of a configuration.
    const whole = text.includes("[access]") ? text : `${text}\n[access]\nanonymous_subscribe = true\n`;
    writeFileSync(join(place, "tidings.toml"), whole);
    const checked = spawnSync(binary, ["check", "--config", "tidings.toml"], { cwd: place, encoding: "utf8" });
    assert.equal(checked.status, 0, `${checked.stdout}${checked.stderr}`);
  });
}
