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
 * Lets the buttons be pressed. The HTML has them disabled: a press before the scripts listen would
 * be lost, or would send a form, with its token, as the query of a page.
 */
export function enableButtons() {
  for (const button of document.querySelectorAll("button")) button.disabled = false;
}
