// @ts-check
import { h } from "./html.js";

/**
 * @template Item
 * @typedef {object} Column
 * @property {string} label
 * @property {(item: Item) => import("./html.js").Child | import("./html.js").Child[]} cell
 * @property {string} [className] `number`: aligned to the right. `wide`: hidden on narrow screens.
 */

/**
 * A table for lists that are short, or that come in pages.
 * @template Item
 * @param {object} options
 * @param {string} options.caption For screen readers; no other list of a page has it.
 * @param {Column<Item>[]} options.columns
 * @param {readonly Item[]} options.items
 * @param {(item: Item) => string} [options.key] Which row is the same one when the list is shown again by `revise`.
 * @param {import("./html.js").Child | import("./html.js").Child[]} [options.empty] Shown if there are no items.
 */
export function rows({ caption, columns, items, key, empty = "None." }) {
  if (items.length === 0) return h("p", { className: "faint" }, empty);
  const row = (/** @type {Item} */ item) => h("tr", { "data-key": key?.(item) }, columns.map(({ cell, className }) => h("td", { className: className ?? "" }, cell(item))));
  return h(
    "div", { className: "rows", "data-key": caption, tabIndex: 0, role: "region", "aria-label": caption },
    h("table", {}, h("caption", { className: "unseen" }, caption), h("thead", {}, h("tr", {}, columns.map(({ label, className }) => h("th", { scope: "col", className: className ?? "" }, label)))), h("tbody", {}, items.map(row))),
  );
}

/**
 * A bar that shows a share, with its number in words beside it.
 * @param {number} share In [0, 1].
 * @param {string} label For screen readers.
 */
export function shareBar(share, label) {
  return h("meter", { min: 0, max: 1, value: Math.min(1, Math.max(0, share || 0)), "aria-label": label });
}
