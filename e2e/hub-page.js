// The hub's page as a person sees it: parts by their labels, states by their words.

import assert from "node:assert/strict";
import { until } from "./until.js";

export class HubPage {
  /**
   * @param {import("playwright-core").Page} page
   * @param {string[]} complaints warnings and errors of the browser
   */
  constructor(page, complaints) {
    this.page = page;
    this.complaints = complaints;
    this.clock = new StreamPart(page.getByRole("region", { name: "Demo clock", exact: true }));
    this.topic = new StreamPart(page.getByRole("region", { name: "Topic", exact: true }));
    this.publishing = page.getByRole("region", { name: "Publish", exact: true });
    this.result = this.publishing.getByRole("status");
    this.hint = this.publishing.locator(".hint");
    this.access = page.getByRole("region", { name: "Token", exact: true });
    /** What a hub that needs a token says. */
    this.closed = page.locator("#closed");
  }

  /**
   * A separate browser context for each test, with its own connections and storage.
   *
   * @param {import("node:test").TestContext} test
   * @param {import("playwright-core").Browser} browser
   * @param {string} url
   * @param {import("playwright-core").BrowserContextOptions} [options]
   */
  static async open(test, browser, url, options) {
    const context = await browser.newContext(options);
    test.after(() => context.close());
    return HubPage.openIn(context, url);
  }

  /**
   * One more tab.
   *
   * @param {import("playwright-core").BrowserContext} context
   * @param {string} url
   */
  static async openIn(context, url) {
    const page = await context.newPage();
    /** @type {string[]} */
    const complaints = [];
    page.on("pageerror", (error) => complaints.push(String(error)));
    page.on("console", (message) => {
      // A lost connection and a refusal are in the console too, and meant to be.
      const expected = /Failed to load resource|EventSource's response has/.test(message.text());
      if (message.type() === "error" && !expected) complaints.push(message.text());
    });
    await page.goto(url);
    return new HubPage(page, complaints);
  }

  /** @param {string} name */
  field(name) {
    return this.publishing.getByLabel(name, { exact: true });
  }

  async pressPublish() {
    await this.publishing.getByRole("button", { name: "Publish" }).click();
  }

  /** @param {RegExp} words */
  async says(words) {
    return until(`the publish form says ${words}`, async () => (await this.result.innerText()).match(words));
  }
}

export class StreamPart {
  /** @param {import("playwright-core").Locator} part */
  constructor(part) {
    this.part = part;
    /** Opens and closes the stream. */
    this.toggle = part.locator("[data-act=toggle]");
    this.events = part.locator(".events > li");
    this.received = part.locator(".received");
    this.topicField = part.getByRole("textbox", { name: /^Topic/ });
  }

  /** Presses the button when it opens the stream. */
  async open() {
    assert.match(await this.toggle.innerText(), /^Open/);
    await this.toggle.click();
  }

  /** Presses the button when it closes the stream. */
  async close() {
    assert.match(await this.toggle.innerText(), /^Close/);
    await this.toggle.click();
  }

  /** @param {"connecting" | "open" | "closed"} state */
  async reaches(state) {
    await until(`the state ${state}`, async () => (await this.state()) === state);
  }

  async state() {
    const current = this.part.locator(".state");
    assert.equal(await current.count(), 1);
    return current.innerText();
  }

  async words() {
    return this.part.locator(".said").innerText();
  }

  /** @param {RegExp} words */
  async says(words) {
    return until(`it says ${words}`, async () => (await this.words()).match(words));
  }

  /** Records each text of the status from now on: the next one may replace it before the test looks. */
  async recordWords() {
    await this.part.locator(".words").evaluate((words) => {
      const recorded = (/** @type {any} */ (words).recorded = /** @type {string[]} */ ([]));
      new MutationObserver(() => recorded.push(words.textContent ?? "")).observe(words, { childList: true, characterData: true, subtree: true });
    });
  }

  /** @returns {Promise<string[]>} */
  async recordedWords() {
    return this.part.locator(".words").evaluate((words) => /** @type {any} */ (words).recorded);
  }

  async lastEventId() {
    return this.part.locator(".last-event-id").innerText();
  }

  /** Data of the events, without notices, newest first. */
  async data() {
    return this.part.locator(".events > li:not(.notice) .data pre").allTextContents();
  }

  /** @param {string} data */
  async shows(data) {
    await until(`the event ${data}`, async () => (await this.data()).includes(data));
  }

  /** @param {string} kind */
  async showsNotice(kind) {
    await this.part.locator(`.notice[data-kind=${kind}]`).first().waitFor();
  }
}
