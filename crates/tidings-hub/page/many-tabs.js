// Shows the limit of six connections: eight streams of one page, unshared and shared.

import EventSourceWrapper from "../browser/index.js";
import { sharing } from "../browser/share.js";
import { enableButtons, find, say } from "./find.js";
import { HUB_URL, publish } from "./publish.js";

const COUNT = 8;
const LOOK_MS = 500;
const STATES = ["connecting 0", "open 1", "closed 2"];

const wall = find(document, "#wall");
const meanwhile = find(document, "#meanwhile");
const list = find(wall, ".streams");

/** @type {EventSourceWrapper[]} */
let sources = [];
let received = 0;
/** @type {AbortController | null} */
let asking = null;
let isShared = false;

const topics = Array.from({ length: COUNT }, (_, n) => `https://example.com/many-tabs/${n + 1}`);
const items = topics.map((_, n) => {
  const item = document.createElement("li");
  const state = document.createElement("span");
  const data = document.createElement("span");
  data.className = "data";
  item.append(`Stream ${n + 1} `, state, " ", data);
  list.append(item);
  return { item, state, data };
});

/** @param {boolean} shared */
function open(shared) {
  close();
  isShared = shared;
  received = 0;
  sources = topics.map((topic, n) => {
    const source = new EventSourceWrapper(HUB_URL, { topics: [topic], shared });
    source.on("open", show);
    source.on("error", show);
    source.onMessage(({ data }) => {
      received += 1;
      const item = items[n];
      if (item) item.data.textContent = data.slice(0, 100);
    });
    return source;
  });
  show();
  ask();
}

function close() {
  for (const source of sources) source.close();
  sources = [];
  asking?.abort();
  find(meanwhile, ".fetch").textContent = "not sent yet";
  for (const { data } of items) data.textContent = "";
  show();
}

/** One more request to this address: behind six open streams it is never sent. */
async function ask() {
  const { signal } = (asking = new AbortController());
  const place = find(meanwhile, ".fetch");
  // The streams first: the first requests get the connections.
  await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
  if (signal.aborted) return;
  const start = performance.now();
  const waited = () => `${((performance.now() - start) / 1000).toFixed(1)} s`;
  const timer = setInterval(() => (place.textContent = `no answer for ${waited()}, and no error`), LOOK_MS);
  try {
    await fetch(new URL("icon.svg", import.meta.url), { cache: "no-store", signal });
    place.textContent = `answered after ${waited()}`;
  } catch {
    if (!signal.aborted) place.textContent = "failed";
  } finally {
    clearInterval(timer);
  }
}

function show() {
  const counts = [0, 0, 0];
  for (const [n, { item, state }] of items.entries()) {
    const readyState = sources[n]?.readyState ?? 2;
    counts[readyState] = (counts[readyState] ?? 0) + 1;
    item.dataset.readyState = String(readyState);
    state.textContent = STATES[readyState] ?? "";
  }
  const words =
    sources.length === 0 ? "Nothing is open."
    : `${isShared ? "Shared" : "Unshared"}: ${counts[1]} open, ${counts[0]} connecting.`;
  const said = find(wall, ".said");
  if (said.textContent !== words) said.textContent = words;
}

async function showSharing() {
  const shared = sources.length > 0 && isShared ? await sharing() : null;
  const open = sources.filter(({ readyState }) => readyState === 1).length;
  find(meanwhile, ".tabs").textContent = shared ? String(shared.tabs) : "none";
  find(meanwhile, ".connections").textContent = shared ? `${shared.connections}, for all tabs` : open > 0 ? `${open}, of this tab` : "none";
  find(meanwhile, ".carried").textContent =
    shared ? `${shared.events} over the shared connection, ${shared.characters} characters; ${received} for this tab` : String(received || "none");
}
setInterval(showSharing, LOOK_MS);

find(wall, "[data-act=unshared]").addEventListener("click", () => open(false));
find(wall, "[data-act=shared]").addEventListener("click", () => open(true));
find(wall, "[data-act=close]").addEventListener("click", close);
find(meanwhile, "[data-act=publish]").addEventListener("click", async () => {
  const update = new URLSearchParams(topics.map((topic) => ["topic", topic]));
  update.append("data", new Date().toISOString());
  const result = find(meanwhile, ".result");
  say(result, "Publishing. While six streams are open, this request waits too.");
  const answer = await publish(update);
  say(result, answer.ok ? `Published as ${answer.id}` : `Not published. ${answer.words}`, !answer.ok);
});
enableButtons();
