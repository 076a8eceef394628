// @ts-check
import { h } from "./html.js";

/** @typedef {{ name: string, label: string }} Tab */

/**
 * A row of tabs; the arrow keys move between them, and the address holds the open one.
 * @param {object} options
 * @param {Tab[]} options.tabs The first one is open if the address names none.
 * @param {string} options.label
 * @param {HTMLElement} options.panel Shows what belongs to the open tab.
 * @param {import("../core/router.js").Query} options.query
 * @param {AbortSignal} life
 * @returns {HTMLElement}
 */
export function tabList({ tabs, label, panel, query }, life) {
  const open = (/** @type {number} */ index) => query.write({ tab: index === 0 ? "" : tabs[index].name });
  const buttons = tabs.map((tab, index) => h("button", { type: "button", role: "tab", id: `tab-${tab.name}`, "aria-controls": "panel", on: { click: () => open(index) } }, tab.label));
  const onKey = (/** @type {KeyboardEvent} */ event) => {
    const present = buttons.indexOf(/** @type {HTMLButtonElement} */ (document.activeElement));
    /** @type {Record<string, number>} */
    const moves = { ArrowLeft: present - 1, ArrowRight: present + 1, Home: 0, End: tabs.length - 1 };
    const wanted = moves[event.key];
    if (wanted === undefined) return;
    event.preventDefault();
    const index = (wanted + tabs.length) % tabs.length;
    open(index);
    buttons[index].focus();
  };
  query.watch(() => {
    const present = openTab(tabs, query);
    for (const [index, button] of buttons.entries()) {
      button.setAttribute("aria-selected", String(tabs[index] === present));
      button.tabIndex = tabs[index] === present ? 0 : -1;
    }
    // On a narrow screen the row scrolls.
    buttons[tabs.indexOf(present)].scrollIntoView({ block: "nearest", inline: "nearest" });
    panel.setAttribute("aria-labelledby", `tab-${present.name}`);
  }, life);
  panel.id = "panel";
  panel.setAttribute("role", "tabpanel");
  return h("div", { className: "tabs", role: "tablist", "aria-label": label, on: { keydown: onKey } }, buttons);
}

/**
 * Return the tab that the address names; the first one if it names none.
 * @template {Tab} T
 * @param {T[]} tabs
 * @param {import("../core/router.js").Query} query
 */
export function openTab(tabs, query) {
  return tabs.find(({ name }) => name === query.get("tab")) ?? tabs[0];
}
