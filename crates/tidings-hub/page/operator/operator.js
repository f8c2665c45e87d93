// The operator's page: the hub as it is now, once a second.

import { enableButtons, find } from "../find.js";
import { endStream, showAccess, showWhatIsAllowed, tokenRefused, tokenToRead } from "./actions.js";
import { BASE, Feed, SILENT_MS } from "./feed.js";
import { History } from "./history.js";
import { sayFeed, show } from "./panels.js";
import { write } from "./tables.js";
import { showTopicForm } from "./topic.js";

const history = new History();
const showTopic = showTopicForm(tokenToRead);
const stateBox = find(document, "#state");

/** @type {number | null} */
let retryAt = null;
let heardAt = performance.now();
/** Said until something else happens. */
let restarted = "";
let isLive = false;

const feed = new Feed({
  onReading(reading) {
    heardAt = performance.now();
    if (history.add(reading)) {
      restarted = `The hub was restarted ${new Date(reading.time - reading.uptimeMs).toLocaleTimeString()}: all counts began anew.`;
    }
    show(reading, history, { onEnd: endStream, onTopic: showTopic });
    showWhatIsAllowed(reading);
    sayFeed(restarted, false);
  },
  onNotShown(why) {
    heardAt = performance.now();
    document.body.classList.add("stale");
    sayFeed(`The hub's newest state could not be shown, so this page is out of date: ${why}`, true);
  },
  onState(state) {
    isLive = state.readyState === 1;
    retryAt = state.retryAt;
    stateBox.dataset.readyState = String(state.readyState);
    write(find(document, "#feed-state"), ["connecting", "live", "closed"][state.readyState] ?? "");
    document.body.classList.toggle("stale", !isLive);
    if (!isLive) {
      find(document, "#readiness").hidden = true;
      sayFeed(state.words, state.isFailure);
    }
    tick();
  },
  onTokenRefused: tokenRefused,
});

/** Shows the seconds until the next attempt, and that a hub is silent. */
function tick() {
  const place = find(document, "#countdown");
  if (retryAt !== null && !isLive) {
    write(place, `Reconnecting in ${Math.max(0, Math.ceil((retryAt - performance.now()) / 1000))} s.`);
  } else if (isLive && performance.now() - heardAt > SILENT_MS) {
    document.body.classList.add("stale");
    write(place, `Nothing was heard of the hub for ${Math.round((performance.now() - heardAt) / 1000)} s.`);
  } else write(place, "");
}

find(document, "#origin").textContent = BASE.host;
showAccess(() => feed.open(tokenToRead()));
enableButtons();
setInterval(tick, 500);
feed.open();
