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
    this.clock = new StreamPart(page.getByRole("region", { name: "Clock", exact: true }));
    this.topic = new StreamPart(page.getByRole("region", { name: "Topic", exact: true }));
    this.publishing = page.getByRole("region", { name: "Publish", exact: true });
    this.result = this.publishing.getByRole("status");
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
    this.openButton = part.getByRole("button", { name: "Open" });
    this.closeButton = part.getByRole("button", { name: "Close" });
    this.events = part.locator(".events > li");
  }

  /** @param {"connecting 0" | "open 1" | "closed 2"} state */
  async reaches(state) {
    await until(`the state ${state}`, async () => (await this.state()) === state);
  }

  async state() {
    const current = this.part.locator(".states [aria-current]");
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
    await this.part.locator(".notice .type", { hasText: `notice: ${kind}` }).first().waitFor();
  }
}
