// The page *Many tabs*: the limit of six connections, and one shared connection.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { launch } from "./chromium.js";
import { HubPage } from "./hub-page.js";
import { Hub } from "./hub.js";
import { until } from "./until.js";

/** @type {import("playwright-core").Browser} */
let browser;
before(async () => {
  browser = await launch();
});
after(() => browser.close());

test("of eight unshared streams six open, and a fetch hangs; shared, all eight open on one connection", async (t) => {
  const hub = await Hub.start(t);
  const { page, complaints } = await HubPage.open(t, browser, hub.origin);
  await page.getByRole("link", { name: "Many tabs" }).click();
  const wall = page.getByRole("region", { name: "Eight streams" });
  const meanwhile = page.getByRole("region", { name: "Meanwhile" });
  const says = (/** @type {RegExp} */ words) => {
    let said = "";
    return until(() => `${words}, but it says: ${said}`, async () => words.test((said = await wall.getByRole("status").innerText())));
  };
  const fetched = () => meanwhile.locator(".fetch").innerText();

  await wall.getByRole("button", { name: "Open unshared" }).click();
  await says(/^Unshared: 6 open, 2 connecting\.$/);
  await until("the fetch hangs", async () => /no answer for/.test(await fetched()));

  await wall.getByRole("button", { name: "Open shared" }).click();
  await says(/^Shared: 8 open, 0 connecting\.$/);
  await until("the fetch is answered", async () => /answered after/.test(await fetched()));
  await until("one stream", async () => (await hub.subscribers()) === 1);

  const second = (await HubPage.openIn(page.context(), hub.url("/tidings/page/many-tabs.html"))).page;
  await second.getByRole("button", { name: "Open shared" }).click();
  await until("two tabs", async () => (await meanwhile.locator(".tabs").innerText()) === "2");
  assert.equal(await hub.subscribers(), 1);
  await second.getByRole("button", { name: "Publish" }).click();
  await until("the event", async () => /8 for this tab/.test(await meanwhile.locator(".carried").innerText()));
  assert.match(await meanwhile.locator(".connections").innerText(), /^1, for all tabs$/);

  for (const each of [page, second]) await each.getByRole("button", { name: "Close" }).click();
  await until("no stream", async () => (await hub.subscribers()) === 0);
  assert.deepEqual(complaints, []);
});

for (const script of ["many-tabs.js", "page.js"]) {
  test(`no button can be pressed before ${script} listens`, async (t) => {
    const hub = await Hub.start(t);
    const context = await browser.newContext();
    t.after(() => context.close());
    /** @type {(value?: undefined) => void} */
    let load = () => {};
    const loading = new Promise((resolve) => (load = resolve));
    await context.route(`**/${script}`, async (route) => {
      await loading;
      await route.continue();
    });
    const page = await context.newPage();
    await page.goto(hub.url(`/tidings/page/${script === "page.js" ? "index" : "many-tabs"}.html`), { waitUntil: "commit" });
    const buttons = page.getByRole("button");
    await buttons.first().waitFor();
    assert.ok((await buttons.count()) > 3);
    for (const button of await buttons.all()) assert.ok(await button.isDisabled(), await button.innerText());
    load();
    for (const button of await buttons.all()) await until("it can be pressed", () => button.isEnabled());
  });
}

for (const width of [360, 1280]) {
  test(`${width} px wide, nothing overflows`, async (t) => {
    const hub = await Hub.start(t);
    const { page } = await HubPage.open(t, browser, hub.url("/tidings/page/many-tabs.html"), { viewport: { width, height: 800 } });
    await page.getByRole("button", { name: "Open shared" }).click();
    await page.getByText("8 open,").waitFor();
    assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), width);
  });
}
