// The hub's live numbers, from `/metrics` where that is beside the page.

import { find } from "./find.js";
import { HUB } from "./hub.js";
import { BASE } from "./publish.js";

const PAUSE_MS = 2_000;
const METRICS_URL = new URL("metrics", BASE);

/** @param {HTMLElement} place */
export function showNumbers(place) {
  if (!HUB.metrics) return;
  const look = async () => {
    if (!document.hidden) await show(place);
    setTimeout(look, PAUSE_MS);
  };
  void look();
}

/** @param {HTMLElement} place */
async function show(place) {
  try {
    const response = await fetch(METRICS_URL, { headers: { Accept: "text/plain" }, signal: AbortSignal.timeout(PAUSE_MS) });
    if (!response.ok) throw new Error(`status ${response.status}`);
    const text = await response.text();
    say(find(place, ".streams"), sumOf(text, "tidings_subscribers"), "stream open", "streams open");
    say(find(place, ".updates"), sumOf(text, "tidings_updates_total"), "update published", "updates published");
    place.hidden = false;
  } catch {
    // Numbers that are not current are not shown. The stream's state says what is wrong.
    place.hidden = true;
  }
}

/**
 * @param {HTMLElement} place
 * @param {number} number
 * @param {string} one
 * @param {string} several
 */
function say(place, number, one, several) {
  place.textContent = number.toLocaleString("en");
  const after = place.nextSibling;
  if (after) after.textContent = ` ${number === 1 ? one : several}`;
}

/**
 * @param {string} text in the text format of Prometheus
 * @param {string} name
 */
function sumOf(text, name) {
  let sum = 0;
  for (const line of text.split("\n")) {
    if (line.startsWith(name) && /^(\{| )/.test(line.slice(name.length))) sum += Number(line.slice(line.lastIndexOf(" ") + 1));
  }
  return sum;
}
