/**
 * Elements that the page's HTML always has.
 *
 * @param {ParentNode} within
 * @param {string} selector
 * @returns {HTMLElement}
 */
export function find(within, selector) {
  const found = within.querySelector(selector);
  if (!(found instanceof HTMLElement)) throw new Error(`the page has no ${selector}`);
  return found;
}

/**
 * The text in a form's field.
 *
 * @param {HTMLFormElement} form
 * @param {string} name
 * @returns {string}
 */
export function valueOf(form, name) {
  const value = new FormData(form).get(name);
  return typeof value === "string" ? value : "";
}

/**
 * Shows a text, as a failure or not. A text that is already there is not set again: a screen reader
 * reads every change aloud.
 *
 * @param {HTMLElement} place
 * @param {string} words
 * @param {boolean} [isFailure]
 */
export function say(place, words, isFailure = false) {
  place.classList.toggle("failed", isFailure);
  if (place.textContent !== words) place.textContent = words;
}

/**
 * Shows a text in which backticks mark code.
 *
 * @param {HTMLElement} place
 * @param {string} words
 */
export function sayWithCode(place, words) {
  const parts = words.split("`").map((text, n) => {
    const part = document.createElement(n % 2 === 1 ? "code" : "span");
    if (n % 2 === 1) showCommand(part, text);
    else part.textContent = text;
    return part;
  });
  place.replaceChildren(...parts);
}

/**
 * Shows a command whose lines break only between words: a break behind the hyphens of a flag is hard
 * to read. The text stays one line.
 *
 * @param {HTMLElement} place
 * @param {string} command
 */
export function showCommand(place, command) {
  if (place.textContent === command) return;
  const parts = command.split(" ").flatMap((text, n) => {
    const word = document.createElement("span");
    word.className = "word";
    word.textContent = text;
    return n === 0 ? [word] : [" ", word];
  });
  place.replaceChildren(...parts);
}

/**
 * Lets the buttons be pressed. The HTML has them disabled: a press before the scripts listen would
 * be lost, or would send a form, with its token, as the query of a page.
 */
export function enableButtons() {
  for (const button of document.querySelectorAll("button")) button.disabled = false;
}
