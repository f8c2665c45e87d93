// The browsers that the tests drive, as far as their two drivers agree.

import { existsSync } from "node:fs";
import { after, before } from "node:test";
import puppeteer from "puppeteer-core";
import { launch as launchChromium } from "../../e2e/chromium.js";

/** It may find a machine that has much else to do. */
const START_MS_MAX = 120_000;
const FIREFOX = process.env.FIREFOX ?? "/usr/bin/firefox-esr";

/**
 * @typedef {"Chromium" | "Firefox"} BrowserName
 *
 * @typedef {object} Page
 * @property {(url: string, options?: any) => Promise<unknown>} goto
 * @property {(options?: any) => Promise<unknown>} goBack
 * @property {(expression: string) => Promise<any>} evaluate
 * @property {(tag: { type: string, content: string }) => Promise<unknown>} addScriptTag
 * @property {(expression: string) => Promise<unknown>} waitForFunction
 * @property {(type: any, listener: (about: any) => void) => unknown} on
 * @property {() => Promise<void>} close
 *
 * @typedef {object} Context shared by tabs: storage, connections, workers
 * @property {() => Promise<Page>} newPage
 * @property {() => Promise<void>} close
 *
 * @typedef {object} Browser
 * @property {() => Promise<Context>} newContext
 * @property {() => Promise<void>} close
 */

/** @type {BrowserName[]} */
export const BROWSERS = ["Chromium", "Firefox"];

/**
 * @param {BrowserName} name
 * @param {import("../../e2e/authority.js").Authority} [trusted] whose certificates it takes too
 * @returns {Promise<Browser>}
 */
export async function launch(name, trusted) {
  if (name === "Chromium") return launchChromium(trusted);
  if (!existsSync(FIREFOX)) throw new Error(`there is no Firefox at ${FIREFOX}: install it, or name one in FIREFOX`);
  const profile = trusted && { userDataDir: trusted.profile() };
  const browser = await puppeteer.launch({ browser: "firefox", executablePath: FIREFOX, headless: true, timeout: START_MS_MAX, ...profile });
  return { newContext: () => browser.createBrowserContext(), close: () => browser.close() };
}

/**
 * A browser for the tests of the suite around it.
 *
 * @param {BrowserName} name
 * @param {import("../../e2e/authority.js").Authority} [trusted] whose certificates it takes too
 */
export function browserOf(name, trusted) {
  /** @type {Browser} */
  let browser;
  /** @type {Context} */
  let context;
  /** @type {Page[]} */
  const idle = [];
  before(async () => {
    browser = await launch(name, trusted);
    context = await browser.newContext();
  });
  after(() => browser?.close());
  return {
    /** @param {import("node:test").TestContext} t at whose end it is closed */
    async newContext(t) {
      const own = await browser.newContext();
      t.after(() => own.close());
      return own;
    },
    /** @param {string} url */
    async newPage(url) {
      const page = await context.newPage();
      await page.goto(url);
      return page;
    },
    /**
     * A tab. Earlier tests may have used it, so only data that is separate for each origin is its own.
     *
     * @param {import("node:test").TestContext} t
     * @param {string} url
     */
    async page(t, url) {
      const page = idle.pop() ?? (await context.newPage());
      t.after(async () => {
        await page.goto("about:blank");
        idle.push(page);
      });
      await page.goto(url);
      return page;
    },
    /**
     * Such a tab, in which a module has run.
     *
     * @param {import("node:test").TestContext} t
     * @param {string} url
     * @param {string} module its text, which sets `ready` at its end
     * @param {string} [first] a script before it
     */
    async pageWith(t, url, module, first = "") {
      const page = await this.page(t, url);
      await page.evaluate(first);
      await page.addScriptTag({ type: "module", content: module });
      await page.waitForFunction("window.ready");
      return page;
    },
  };
}
