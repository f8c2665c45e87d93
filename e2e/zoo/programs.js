// The programs that the clients run in, but for browsers: how each is started.

import { fileURLToPath } from "node:url";

const path = (/** @type {string} */ name) => fileURLToPath(new URL(name, import.meta.url));

/** @type {Partial<Record<import("./setups.js").Program, string[]>>} */
export const programs = {
  javascript: [process.execPath, path("javascript/reader.js")],
  python: [process.env.PYTHON ?? "python3", path("python/reader.py")],
  go: [path("../../target/zoo/go")],
  java: ["java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx256m", "-cp", `${path("java/target/zoo.jar")}:${path("java/target/dependencies")}/*`, "tidings.zoo.Reader"],
  rust: [path("../../target/zoo/rust/debug/tidings-zoo")],
  php: ["php", path("php/reader.php")],
};
