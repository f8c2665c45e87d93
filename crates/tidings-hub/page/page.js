// The hub's own page: one topic to publish to and to watch, and what goes with it.

import { showAccess } from "./access.js";
import { Arrivals } from "./arrivals.js";
import { clockCommand, publishCommand, subscribeCommand, TOKEN_UNKNOWN } from "./commands.js";
import { clockTime } from "./event-list.js";
import { enableButtons, find, say, sayWithCode, showCommand, valueOf } from "./find.js";
import { HUB, takesTokens, whatIsClosed } from "./hub.js";
import { showNumbers } from "./numbers.js";
import { Panel } from "./panel.js";
import { BASE, HUB_URL, publish, updateOf } from "./publish.js";
import { CLOSED, OPEN } from "./stream.js";
import { hasToken, tokenTo } from "./token.js";

/** How long an event may take from its publisher to this page before the page says that it has not arrived. */
const ARRIVAL_MS_MAX = 2_000;
/** How long the page still looks for it after that. */
const LATE_ARRIVAL_MS_MAX = 60_000;
/**
 * How long a hidden tab keeps its streams. Over HTTP/1.1 a browser opens six connections to a host:
 * without this, the seventh tab with this page would hang.
 */
const HIDDEN_MS_MAX = 20_000;

const topicForm = /** @type {HTMLFormElement} */ (find(document, "#topic form"));
const publishForm = /** @type {HTMLFormElement} */ (find(document, "#publish form"));
const arrivals = new Arrivals();

const topic = new Panel(
  find(document, "#topic"),
  (stream) => {
    const url = new URL(HUB_URL);
    url.searchParams.set("topic", topicNow());
    url.searchParams.set("tidings", "notices,topics,place");
    const starts = { now: "", last: stream.lastEventId, earliest: "earliest" };
    const start = valueOf(topicForm, "start");
    return { url, lastEventId: start === "last" || start === "earliest" ? starts[start] : starts.now };
  },
  { mayOpen: () => topicForm.reportValidity(), onStatus: () => showState(), onEvent: ({ lastEventId }) => arrivals.arrived(lastEventId) },
);

const topicNow = () => valueOf(topicForm, "topic");
/** What the stream here selects; empty if none is open. */
const watched = () => (topic.stream.readyState === OPEN ? (topic.stream.url?.searchParams.get("topic") ?? "") : "");

/** @returns {string} why what would be published now is not going to show; empty if it may */
function whyUnseen() {
  const now = topicNow();
  const selector = watched();
  if (!mayPublish()) return "Publishing to this hub needs a token.";
  if (now === "*") return "* selects all topics. To publish, enter one topic.";
  if (/\{.*\}/.test(now)) return "A template selects topics. To publish, enter one topic.";
  if (topic.stream.readyState === CLOSED) return "No stream is open here, so the event will not show.";
  if (topic.stream.isWaiting) return "The stream here has lost its connection, so the event may show later, or not at all.";
  if (isPrivate() && !hasToken("subscribe") && !HUB.callback) return "It is private: without a token that grants the topic, the stream here will not get it.";
  if (selector !== "" && selector !== now && isOneTopic(selector)) return `The stream here is of ${selector}, so the event will not show.`;
  return "";
}

const isPrivate = () => new FormData(publishForm).has("private");
const isOneTopic = (/** @type {string} */ selector) => selector !== "*" && !/[{}]/.test(selector);

/** Shows what depends on the stream and the forms together. */
function showState() {
  const { stream } = topic;
  const isOther = stream.readyState !== CLOSED && stream.url?.searchParams.get("topic") !== topicNow();
  const change = find(topicForm, "[data-act=switch]");
  change.hidden = !isOther && !stream.isWaiting;
  change.textContent = isOther ? "Open this topic" : "Retry now";
  const why = whyUnseen();
  say(find(publishForm, ".hint"), why);
  const canOpen = why !== "" && (stream.readyState === CLOSED || isOther) && maySubscribe();
  find(publishForm, "[data-act=open-it]").hidden = !canOpen;
}

const maySubscribe = () => HUB.anonymousSubscribe || HUB.callback || hasToken("subscribe");
const mayPublish = () => HUB.anonymousPublish || HUB.callback || hasToken("publish");

function showClosed() {
  const box = find(document, "#closed");
  box.hidden = maySubscribe() && mayPublish();
  if (!box.hidden) sayWithCode(box, whatIsClosed());
}

function showCommands() {
  showCommand(find(document, "#command-clock"), clockCommand(BASE));
  showCommand(find(document, "#command-subscribe"), subscribeCommand(BASE, topicNow(), tokenTo("subscribe") || (maySubscribe() ? "" : TOKEN_UNKNOWN)));
  showCommand(find(document, "#command-publish"), publishCommand(BASE, update(), tokenTo("publish") || (mayPublish() ? "" : TOKEN_UNKNOWN)));
}

/**
 * @param {string} selector
 * @param {boolean} isThere
 */
function showParts(selector, isThere) {
  for (const part of document.querySelectorAll(selector)) if (part instanceof HTMLElement) part.hidden = !isThere;
}

const update = () => updateOf(new FormData(publishForm), topicNow());

let publishing = false;
publishForm.addEventListener("submit", async (event) => {
  event.preventDefault();
  // One at a time, so that the answer shown is that of the last press.
  if (publishing || !topicForm.reportValidity()) return;
  publishing = true;
  const result = find(publishForm, ".result");
  say(result, "Publishing.");
  const start = performance.now();
  arrivals.watch();
  const answer = await publish(update());
  publishing = false;
  if (!answer.ok) say(result, `Not published. ${answer.words}`, true);
  else {
    const words = `Published at ${clockTime(new Date())} as ${answer.id}.`;
    const isExpected = whyUnseen() === "";
    say(result, words);
    const late = `${words} It has not arrived here: the stream may not select this topic, or its token may not grant it.`;
    const tell = (/** @type {string} */ told) => {
      // Unless there is a newer answer.
      if ([words, late].includes(result.textContent ?? "")) say(result, told);
    };
    const arrived = () => tell(`${words} It arrived here after ${Math.round(performance.now() - start)} ms.`);
    if (await arrivals.waitFor(answer.id, isExpected ? ARRIVAL_MS_MAX : 0)) arrived();
    else if (isExpected) {
      tell(late);
      if (await arrivals.waitFor(answer.id, LATE_ARRIVAL_MS_MAX)) arrived();
    }
  }
  arrivals.unwatch();
});

for (const button of document.querySelectorAll("[data-copies]")) {
  button.addEventListener("click", () => copy(find(document, `#${button.getAttribute("data-copies")}`)));
}

/** @type {ReturnType<typeof setTimeout> | undefined} */
let hiding;
function pauseIfHidden() {
  clearTimeout(hiding);
  if (document.hidden) hiding = setTimeout(() => panels.forEach(({ stream }) => stream.pause()), HIDDEN_MS_MAX);
  else for (const { stream } of panels) stream.resume();
}

/** @param {HTMLElement} command */
async function copy(command) {
  const said = find(document, ".copied");
  try {
    await navigator.clipboard.writeText(command.textContent ?? "");
    said.textContent = "Copied.";
  } catch {
    // The clipboard is missing without https or localhost, or if its use was denied.
    getSelection()?.selectAllChildren(command);
    said.textContent = "Selected: this page may not copy, so press Ctrl+C or Cmd+C.";
  }
}

topicForm.addEventListener("submit", (event) => {
  event.preventDefault();
  topic.open();
});
// While the form's submit button is hidden, browsers do not submit it for this key.
find(topicForm, "[name=topic]").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.isComposing) return;
  event.preventDefault();
  topic.open();
});
find(topicForm, "[name=start]").addEventListener("change", () => {
  if (topic.stream.readyState === CLOSED) return;
  // An open stream cannot begin elsewhere.
  topic.stream.close();
  topic.open();
});
find(publishForm, "[data-act=open-it]").addEventListener("click", () => topic.open());
for (const form of [topicForm, publishForm]) form.addEventListener("input", () => (showState(), showCommands()));

showAccess(find(document, "#access"), () => {
  showClosed();
  showCommands();
  if (topic.stream.readyState !== CLOSED) {
    if (maySubscribe()) topic.stream.reopen();
    else topic.stream.close("Closed: subscribing to this hub needs a token.");
  } else if (hasToken("subscribe")) topic.open();
  showState();
});

const panels = [topic];
if (HUB.clock) panels.push(new Panel(find(document, "#clock"), () => ({ url: new URL("sse", BASE) })));
const hasTokens = takesTokens("publish") || takesTokens("subscribe");
showParts(".with-clock", HUB.clock);
// On a hub that needs a token, that is the first thing to enter.
if (hasTokens && whatIsClosed() !== "") find(document, ".columns").prepend(find(document, "#access"));
showParts(".with-tokens", hasTokens);
// Only a token lets a subscriber read private events, or the list of subscriptions.
showParts(".with-private", takesTokens("subscribe"));
find(document, ".version").textContent = HUB.version;
find(document, "#origin").textContent = BASE.href.replace(/\/$/, "");
showNumbers(find(document, "#numbers"));
showCommands();
showClosed();
showState();
enableButtons();
document.addEventListener("visibilitychange", pauseIfHidden);
if (maySubscribe()) topic.open();
else say(find(document, "#topic .words"), "Needs a token.");
// A tab may be opened in the background.
pauseIfHidden();
