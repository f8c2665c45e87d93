// A certificate authority for tests. The browsers of the tests trust it like one that a developer has installed with
// `mkcert`.
//
// To ignore certificate errors instead would not do: Chromium then ignores those of pages alone.
// A SharedWorker's own connection is refused, and its script is loaded only where a connection of
// a page happens to be idle.

import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"];

export class Authority {
  /** Removed when the process ends. */
  #folder = mkdtempSync(join(tmpdir(), "tidings-authority-"));

  constructor() {
    process.once("exit", () => rmSync(this.#folder, { recursive: true, force: true }));
    const use = ["-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign"];
    this.#openssl("req", "-x509", ...KEY, "-subj", "/CN=Tidings tests", ...use, "-keyout", this.#path("ca-key.pem"), "-out", this.#certificate);
  }

  get #certificate() {
    return this.#path("ca.pem");
  }

  /** @param {string} name */
  #path(name) {
    return join(this.#folder, name);
  }

  /** @param {string[]} args */
  #openssl(...args) {
    execFileSync("openssl", args, { stdio: "pipe" });
  }

  /**
   * A certificate for loopback, and its key: files in PEM, and their contents.
   *
   * @returns {{ files: { cert: string, key: string }, cert: Buffer, key: Buffer }}
   */
  issue() {
    const files = { cert: this.#path("cert.pem"), key: this.#path("key.pem") };
    const signer = ["-CA", this.#certificate, "-CAkey", this.#path("ca-key.pem")];
    const names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"];
    const use = ["-addext", "basicConstraints=critical,CA:FALSE", "-addext", "extendedKeyUsage=serverAuth"];
    this.#openssl("req", "-x509", ...KEY, ...signer, ...names, ...use, "-keyout", files.key, "-out", files.cert);
    return { files, cert: readFileSync(files.cert), key: readFileSync(files.key) };
  }

  /** A folder that, as `HOME`, makes Chromium trust it. */
  home() {
    this.#trustIn(this.#path("home/.pki/nssdb"));
    return this.#path("home");
  }

  /** A folder that, as its profile, makes Firefox trust it. */
  profile() {
    this.#trustIn(this.#path("profile"));
    return this.#path("profile");
  }

  /** @param {string} folder of a certificate database as both browsers read it */
  #trustIn(folder) {
    mkdirSync(folder, { recursive: true });
    const database = ["-d", `sql:${folder}`];
    try {
      execFileSync("certutil", [...database, "-N", "--empty-password"], { stdio: "pipe" });
      execFileSync("certutil", [...database, "-A", "-n", "Tidings tests", "-t", "C,,", "-i", this.#certificate], { stdio: "pipe" });
    } catch (error) {
      if (/** @type {NodeJS.ErrnoException} */ (error).code !== "ENOENT") throw error;
      throw new Error("there is no certutil: install libnss3-tools", { cause: error });
    }
  }
}
