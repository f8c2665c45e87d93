// The page for everybody: without a mouse, in the dark, on a phone.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { launch } from "./chromium.js";
import { faintTexts } from "./faint-texts.js";
import { HubPage } from "./hub-page.js";
import { Hub } from "./hub.js";

const TOPIC = "https://example.com/books/1";
const TAB_STOPS_MAX = 60;

/** @type {import("playwright-core").Browser} */
let browser;
before(async () => {
  browser = await launch();
});
after(() => browser.close());

test("the whole page works by keyboard alone", async (t) => {
  const hub = await Hub.start(t);
  const { page, clock, topic, field, says } = bound(await HubPage.open(t, browser, hub.origin));

  await topic.reaches("open");
  await tabTo(page, topic.toggle);
  await page.keyboard.press("Space");
  await topic.reaches("closed");
  await tabTo(page, topic.topicField);
  await page.keyboard.press("Enter");
  await topic.reaches("open");

  await tabTo(page, field("Data"));
  await page.keyboard.press("ControlOrMeta+A");
  await page.keyboard.type("typed");
  await tabTo(page, page.getByRole("button", { name: "Publish", exact: true }));
  await page.keyboard.press("Enter");
  await says(/^Published/);
  await topic.shows("typed");

  await tabTo(page, page.getByRole("button", { name: "Clear the events" }));
  await page.keyboard.press("Enter");
  await tabTo(page, topic.part.getByRole("button", { name: "Undo" }));
  await page.keyboard.press("Enter");
  await topic.shows("typed");

  await tabTo(page, clock.toggle);
  await page.keyboard.press("Enter");
  await clock.reaches("open");
  await page.keyboard.press("Enter");
  await clock.reaches("closed");

  await tabTo(page, page.getByRole("button", { name: "Copy the publish command" }));
  await page.keyboard.press("Enter");
  await page.getByText(/^(Copied\.|Selected: .*)$/).waitFor();
});

test("every control has a name, and an outline when it is in focus", async (t) => {
  // With all that a hub can have: the clock, and keys.
  const key = "a key for this test alone, 32 bytes";
  const flags = ["--demo", "--anonymous-subscribe", "--anonymous-publish", "--publisher-key", key, "--subscriber-key", key];
  const hub = await Hub.start(t, { flags });
  const { page, topic } = await HubPage.open(t, browser, hub.origin);
  await topic.reaches("open");
  await topic.topicField.fill("https://example.com/books/2");
  await topic.part.getByRole("button", { name: "Clear the events" }).click();
  await page.locator("summary").click();
  let controls = 0;
  for (const control of await page.locator("button, input, select, textarea, summary, [tabindex='0']").all()) {
    if (!(await control.isVisible())) continue;
    controls += 1;
    const snapshot = await control.ariaSnapshot();
    assert.match(snapshot, /"[^"]+"|^- text: \S/, `no name: ${snapshot}`);
  }
  assert.ok(controls > 25, `${controls} controls`);

  await page.locator("body").press("Tab");
  for (let stop = 0; stop < 12; stop += 1) {
    const outline = await page.evaluate(() => {
      const style = getComputedStyle(document.activeElement ?? document.body);
      return `${style.outlineStyle} ${style.outlineWidth}`;
    });
    assert.equal(outline, "solid 2px");
    await page.keyboard.press("Tab");
  }
});

for (const colorScheme of /** @type {const} */ (["light", "dark"])) {
  for (const width of [360, 768, 1280, 2560]) {
    test(`${colorScheme}, ${width} px wide: nothing overflows, and all text is readable`, async (t) => {
      const hub = await Hub.start(t);
      const options = { colorScheme, viewport: { width, height: 800 }, reducedMotion: /** @type {const} */ ("reduce") };
      const hubPage = await HubPage.open(t, browser, hub.origin, options);
      const { page, topic } = hubPage;
      await page.locator("summary").click();
      await topic.reaches("open");
      const long = "unbroken".repeat(80);
      await hub.publish({ topic: TOPIC, data: long, id: long });
      await topic.shows(long);
      await hubPage.field("Data").fill(long);
      await hubPage.field("Type").fill("tidings");
      await hubPage.pressPublish();
      await hubPage.says(/^Not published/);

      const wide = await page.evaluate(() =>
        [...document.querySelectorAll("*")]
          .filter((element) => element.getBoundingClientRect().right > innerWidth + 0.5)
          .map((element) => element.outerHTML.slice(0, 100)),
      );
      assert.deepEqual(wide, []);
      assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), width);
      assert.deepEqual(await page.evaluate(faintTexts), []);

      const background = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
      const [red = 0] = (background.match(/\d+/) ?? []).map(Number);
      assert.ok(colorScheme === "dark" ? red < 64 : red > 192, background);
    });
  }
}

/**
 * @param {import("playwright-core").Page} page
 * @param {import("playwright-core").Locator} target
 */
async function tabTo(page, target) {
  for (let stop = 0; stop < TAB_STOPS_MAX; stop += 1) {
    if (await target.evaluate((element) => element === document.activeElement)) return;
    await page.keyboard.press("Tab");
  }
  assert.fail(`not reached by the Tab key: ${target}`);
}

/** @param {HubPage} hubPage */
function bound(hubPage) {
  const { page, clock, topic } = hubPage;
  return {
    page,
    clock,
    topic,
    field: hubPage.field.bind(hubPage),
    says: hubPage.says.bind(hubPage),
  };
}
