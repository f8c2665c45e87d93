// Tables whose rows stay while they are updated: a button in focus keeps the focus.

import { find } from "../find.js";

/**
 * Gives a table these rows, in this order. A row that is there already is changed, not replaced.
 *
 * @template Item
 * @param {HTMLElement} table
 * @param {Item[]} items
 * @param {(item: Item) => string} keyOf
 * @param {(row: HTMLTableRowElement, item: Item) => void} create
 * @param {(row: HTMLTableRowElement, item: Item) => void} update
 */
export function fill(table, items, keyOf, create, update) {
  const body = find(table, "tbody");
  /** @type {Map<string, HTMLTableRowElement>} */
  const rows = new Map();
  for (const row of body.querySelectorAll("tr")) rows.set(row.dataset.key ?? "", row);
  /** @type {Element | null} */
  let next = body.firstElementChild;
  for (const item of items) {
    const key = keyOf(item);
    let row = rows.get(key);
    rows.delete(key);
    if (!row) {
      row = document.createElement("tr");
      row.dataset.key = key;
      create(row, item);
    }
    update(row, item);
    // A row that moves loses the focus, so only the others are moved around it.
    if (row === next) next = next.nextElementSibling;
    else if (row.contains(document.activeElement) && next) {
      while (next && next !== row) {
        const other = next;
        next = next.nextElementSibling;
        body.append(other);
      }
      next = row.nextElementSibling;
    } else body.insertBefore(row, next);
  }
  for (const row of rows.values()) row.remove();
  table.hidden = items.length === 0;
}

/**
 * @param {HTMLTableRowElement} row
 * @param {"th" | "td"} kind
 * @param {string} className
 * @returns {HTMLElement}
 */
export function cell(row, kind, className = "") {
  const made = document.createElement(kind);
  if (kind === "th") made.setAttribute("scope", "row");
  made.className = className;
  row.append(made);
  return made;
}

/**
 * Sets a text only if it is another one.
 *
 * @param {Element | null | undefined} place
 * @param {string} text
 */
export function write(place, text) {
  if (place && place.textContent !== text) place.textContent = text;
}
