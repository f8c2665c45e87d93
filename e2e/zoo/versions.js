// The version of each client, from the file that pins it.

import { readFileSync } from "node:fs";

const read = (/** @type {string} */ name) => readFileSync(new URL(name, import.meta.url), "utf8");
const escaped = (/** @type {string} */ text) => text.replaceAll(/[.*+?^${}()|[\]\\/]/g, "\\$&");

/**
 * @param {RegExp} pattern whose first group is the version
 * @param {string} file
 */
function find(pattern, file) {
  const version = read(file).match(pattern)?.[1];
  if (version === undefined) throw new Error(`${file} has nothing like ${pattern}`);
  return version;
}

/** @type {Record<import("./setups.js").Program, (name: string) => string>} */
const FOUND = {
  javascript: (name) => JSON.parse(read("../package-lock.json")).packages[`node_modules/${name}`].version,
  chromium: (name) => FOUND.javascript(name),
  firefox: (name) => FOUND.javascript(name),
  python: (name) => find(new RegExp(`^${escaped(name)}==(\\S+)`, "m"), "../requirements.txt"),
  go: (name) => find(new RegExp(`^\\t${escaped(name)} v(\\S+)`, "m"), "go/go.mod"),
  java: (name) => {
    const [group = "", artifact = ""] = name.split(":");
    // Dependencies that Spring Boot manages have Spring Boot's version.
    if (group.startsWith("org.springframework")) return `Boot ${find(/<version>([^<]+)/, "java/pom.xml")}`;
    return find(new RegExp(`<artifactId>${escaped(artifact)}</artifactId>\\s*<version>([^<]+)`), "java/pom.xml");
  },
  rust: (name) => find(new RegExp(`name = "${escaped(name)}"\nversion = "([^"]+)"`), "rust/Cargo.lock"),
  php: () => "Debian's",
};

/**
 * @param {import("./setups.js").SetUp} setUp
 * @returns {string} nothing for a part of the platform
 */
export function versionOf({ program, package: name }) {
  return name ? FOUND[program](name) : "";
}
