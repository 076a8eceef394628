// @ts-check
import { h } from "../ui/html.js";
import { COLUMNS } from "./jobs_columns.js";

/** @typedef {import("../core/router.js").Query} Query */

const KEY = "fgd-columns";

/**
 * Return the columns that the address names; without any, those that were chosen last in this browser.
 * @param {Query} query
 */
export function chosenColumns(query) {
  const text = query.get("columns") || localStorage.getItem(KEY) || "";
  const names = text ? ["name", ...text.split(",")] : COLUMNS.filter(({ isExtra }) => !isExtra).map(({ name }) => name);
  return COLUMNS.filter(({ name }) => names.includes(name));
}

/**
 * Build the list of columns to choose from. A choice is kept in the address, for links, and in the browser.
 * @param {Query} query
 * @param {AbortSignal} life
 */
export function columnChoice(query, life) {
  const boxes = COLUMNS.slice(1).map(({ name }) => h("input", { type: "checkbox", name, on: { change: () => choose() } }));
  const choose = () => {
    const names = boxes.filter(({ checked }) => checked).map(({ name }) => name).join();
    localStorage.setItem(KEY, names);
    query.write({ columns: names }, { replace: true });
  };
  query.watch(() => {
    const chosen = chosenColumns(query).map(({ name }) => name);
    for (const box of boxes) box.checked = chosen.includes(box.name);
  }, life);
  const element = h("details", { className: "menu" }, h("summary", {}, "Columns"), h("ul", {}, boxes.map((box, index) => h("li", {}, h("label", {}, box, " ", COLUMNS[index + 1].label)))));
  document.addEventListener("pointerdown", (event) => { if (!element.contains(/** @type {Node} */ (event.target))) element.open = false; }, { signal: life });
  return element;
}
