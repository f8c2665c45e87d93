// The hub's own page: the clock, any topic, and publishing.

import { showAccess } from "./access.js";
import { clockCommand, publishCommand, subscribeCommand } from "./commands.js";
import { clockTime } from "./event-list.js";
import { enableButtons, find, valueOf } from "./find.js";
import { Panel } from "./panel.js";
import { BASE, HUB_URL, publish, updateOf } from "./publish.js";

const topicForm = /** @type {HTMLFormElement} */ (find(document, "#topic form"));
const publishForm = /** @type {HTMLFormElement} */ (find(document, "#publish form"));

const clock = new Panel(find(document, "#clock"), () => ({ url: new URL("sse", BASE) }));

const topic = new Panel(find(document, "#topic"), (stream) => {
  const url = new URL(HUB_URL);
  url.searchParams.set("topic", valueOf(topicForm, "topic"));
  // The option `topics` is not requested: an `EventSource` can't read the lines it adds.
  url.searchParams.set("tidings", "notices");
  const starts = { now: "", last: stream.lastEventId, earliest: "earliest" };
  const start = valueOf(topicForm, "start");
  return { url, lastEventId: start === "last" || start === "earliest" ? starts[start] : starts.now };
});

/** The types that the topic's stream listens for: those named, and the one about to be published. */
function listen() {
  const named = valueOf(topicForm, "types").split(/[\s,]+/);
  const types = [...named, valueOf(publishForm, "type")].filter((type) => type !== "");
  find(topicForm, ".listening").textContent = topic.stream.listen(types).join(", ");
}

function showCommands() {
  find(document, "#command-clock").textContent = clockCommand(BASE);
  find(document, "#command-subscribe").textContent = subscribeCommand(BASE, valueOf(topicForm, "topic"));
  find(document, "#command-publish").textContent = publishCommand(BASE, updateOf(new FormData(publishForm)));
}

let publishing = false;
publishForm.addEventListener("submit", async (event) => {
  event.preventDefault();
  // One at a time, so that the answer shown is that of the last press.
  if (publishing) return;
  publishing = true;
  const result = find(publishForm, ".result");
  result.textContent = "Publishing.";
  result.classList.remove("failed");
  const answer = await publish(updateOf(new FormData(publishForm)));
  publishing = false;
  result.classList.toggle("failed", !answer.ok);
  result.textContent = answer.ok ? `Published at ${clockTime(new Date())} as ${answer.id}` : `Not published. ${answer.words}`;
});

for (const button of document.querySelectorAll("[data-copies]")) {
  button.addEventListener("click", () => copy(find(document, `#${button.getAttribute("data-copies")}`)));
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

topicForm.addEventListener("input", () => (listen(), showCommands()));
publishForm.addEventListener("input", () => (listen(), showCommands()));

find(document, "#origin").textContent = BASE.href.replace(/\/$/, "");
listen();
showCommands();
showAccess(find(document, "#access"));
enableButtons();
