// @ts-check
import { fill, h } from "./html.js";

/**
 * An entry of a menu: a link, or an action.
 * @typedef {object} Entry
 * @property {string} label
 * @property {string} [href]
 * @property {boolean} [isOutside] Whether the link opens in a new tab.
 * @property {() => void} [act]
 * @property {string | null} [why] Why it is not possible now; null or left out if it is.
 */

/** A button that opens a list of entries; Escape, a choice and a click elsewhere close it. */
export class Menu {
  #list = h("ul");

  /** @param {string} label @param {AbortSignal} life */
  constructor(label, life) {
    const summary = h("summary", {}, label);
    this.element = h("details", { className: "menu" }, summary, this.#list);
    const close = () => { this.element.open = false; };
    this.#list.addEventListener("click", (event) => { if (event.target instanceof Element && event.target.closest("a, button")) close(); });
    this.element.addEventListener("keydown", (event) => { if (event.key === "Escape") { close(); summary.focus(); } });
    document.addEventListener("pointerdown", (event) => { if (!this.element.contains(/** @type {Node} */ (event.target))) close(); }, { signal: life });
  }

  /** @param {Entry[]} entries */
  show(entries) {
    fill(this.#list, entries.map((entry) => h("li", {}, entry.href && !entry.why ? linkOf(entry) : buttonOf(entry))));
  }
}

/** @param {Entry} entry */
function linkOf({ label, href, isOutside }) {
  return h("a", { href, target: isOutside ? "_blank" : null }, label);
}

/** @param {Entry} entry */
function buttonOf({ label, act, why = null }) {
  return h("button", { type: "button", disabled: why !== null, title: why ?? "", on: { click: () => act?.() } }, label, why && h("small", {}, why));
}
