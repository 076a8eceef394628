// @ts-check
import { Chart } from "./chart.js";
import { fill, h } from "./html.js";

/** @typedef {import("../core/router.js").Query} Query */

/** Weights of the past. @type {Record<string, number>} */
const SMOOTHING = { none: 0, some: 0.6, much: 0.95 };

/** Line charts with their captions, each made when it is first wanted. */
export class ChartGrid {
  /** @type {Map<string, Chart>} */
  #charts = new Map();

  /** @param {string} whenEmpty */
  constructor(whenEmpty) {
    this.#nothing = h("p", { className: "faint" }, whenEmpty);
    this.element = h("div", { className: "charts" }, this.#nothing);
  }

  #nothing;

  /** @param {string} name @param {string} title @param {string} [help] */
  chart(name, title, help) {
    const known = this.#charts.get(name);
    if (known) return known;
    const chart = new Chart();
    chart.setAttribute("label", title);
    this.#charts.set(name, chart);
    h("figure", {}, h("figcaption", {}, title, help && h("small", {}, help)), chart);
    return chart;
  }

  /** Show these charts, in this order. @param {string[]} names */
  arrange(names) {
    const wanted = names.length === 0 ? [this.#nothing] : names.map((name) => /** @type {HTMLElement} */ (this.#charts.get(name)?.parentElement));
    const isSame = wanted.length === this.element.childElementCount && wanted.every((frame, index) => this.element.children[index] === frame);
    if (!isSame) fill(this.element, wanted);
  }
}

/**
 * Return a choice that the address keeps; the first value is the default.
 * @param {Query} query
 * @param {string} name
 * @param {string} label
 * @param {string[]} values
 * @param {AbortSignal} life
 */
export function choice(query, name, label, values, life) {
  const options = values.map((value, index) => h("option", { value: index === 0 ? "" : value }, `${label}: ${value}`));
  const select = h("select", { "aria-label": label, on: { change: () => query.write({ [name]: select.value }, { replace: true }) } }, options);
  query.watch(() => { select.value = query.get(name); }, life);
  return select;
}

/** Return the choices of how lines are drawn. @param {Query} query @param {AbortSignal} life */
export function lookChoices(query, life) {
  return [choice(query, "y", "scale", ["linear", "log"], life), choice(query, "smooth", "smoothing", Object.keys(SMOOTHING), life)];
}

/** Return how lines are drawn by the choices of the address. @param {Query} query */
export function lookOf(query) {
  return { isLog: query.get("y") === "log", smoothing: SMOOTHING[query.get("smooth")] ?? 0 };
}
