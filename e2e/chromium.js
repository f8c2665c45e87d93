// The installed Chromium, driven from outside: nothing is downloaded.

import { existsSync } from "node:fs";
import { chromium } from "playwright-core";

const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium";

/**
 * @param {import("./authority.js").Authority} [trusted] whose certificates it trusts in addition to the usual ones
 * @returns {Promise<import("playwright-core").Browser>}
 */
export async function launch(trusted) {
  if (!existsSync(executablePath)) {
    throw new Error(`there is no Chromium at ${executablePath}: install it, or name one in CHROMIUM`);
  }
  return chromium.launch({
    executablePath,
    env: trusted ? { ...process.env, HOME: trusted.home() } : process.env,
    args: [
      "--no-sandbox",
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
    ],
    // A page that the user leaves must be kept as in a normal browser: only then does it keep its streams.
    ignoreDefaultArgs: ["--disable-back-forward-cache"],
  });
}
