// @ts-check
import { Chart } from "../ui/chart.js";
import { fill, h } from "../ui/html.js";

/** @typedef {import("../core/compared.js").Run} Run */
/** @typedef {import("../core/types.js").Series} Series */

const SMOOTHING = { none: 0, some: 0.6, much: 0.95 };
const FIRST = ["val/ap", "val/ap50", "loss"];
/** A distillation reports some 30 curves; those that few people compare are a click away. */
const MOST_OPEN = 6;

/** The curves of all runs over each other, one chart for each name. Runs keep their colours. */
export class CurvesPart {
  /** @type {Map<string, Chart>} */
  #charts = new Map();
  #grid = h("div", { className: "charts" });
  #restTitle = h("summary");
  #rest = h("div", { className: "charts" });
  #more = h("details", {}, this.#restTitle, this.#rest);
  /** In steps; all charts zoom together. @type {import("../ui/scale.js").Range | null} */
  #zoom = null;
  /** @type {[Run[], Map<string, Series[]>]} */
  #shown = [[], new Map()];

  /** @param {import("../core/router.js").Query} query @param {AbortSignal} life */
  constructor(query, life) {
    this.#query = query;
    this.element = h("section", {}, h("h2", {}, "Curves"), this.#controls(life), this.#grid, this.#more);
    this.element.addEventListener("zoom", (event) => { this.#zoom = /** @type {CustomEvent} */ (event).detail; this.show(...this.#shown); });
  }

  #query;

  /** @param {Run[]} runs @param {Map<string, Series[]>} curves By reference. */
  show(runs, curves) {
    this.#shown = [runs, curves];
    const all = runs.flatMap(({ reference }) => (curves.get(reference) ?? []).filter(({ points }) => points.length > 0).map(({ name }) => name));
    const numRuns = (/** @type {string} */ name) => all.filter((each) => each === name).length;
    const names = [...new Set(all)].sort((a, b) => rank(a) - rank(b) || numRuns(b) - numRuns(a) || (a < b ? -1 : 1));
    this.#more.hidden = names.length <= MOST_OPEN;
    fill(this.#restTitle, `${names.length - MOST_OPEN} more curves`);
    if (names.length === 0) { fill(this.#grid, h("p", { className: "faint" }, "None of the runs has reported points yet.")); return; }
    const smoothing = SMOOTHING[/** @type {keyof SMOOTHING} */ (this.#query.get("smooth"))] ?? 0;
    for (const name of names) {
      const lines = runs.map((run) => lineOf(run, curves.get(run.reference)?.find((each) => each.name === name)));
      this.#chart(name).show({ lines, smoothing, isLog: this.#query.get("y") === "log", zoom: this.#zoom });
    }
    const frames = names.map((name) => /** @type {HTMLElement} */ (this.#chart(name).parentElement));
    place(this.#grid, frames.slice(0, MOST_OPEN));
    place(this.#rest, frames.slice(MOST_OPEN));
  }

  /** @param {string} name */
  #chart(name) {
    const known = this.#charts.get(name);
    if (known) return known;
    const chart = new Chart();
    chart.setAttribute("label", name);
    this.#charts.set(name, chart);
    h("figure", {}, h("figcaption", {}, name), chart);
    return chart;
  }

  /** @param {AbortSignal} life */
  #controls(life) {
    const choice = (/** @type {string} */ name, /** @type {string} */ label, /** @type {string[]} */ values) => {
      const select = h("select", { "aria-label": label, on: { change: () => this.#query.write({ [name]: select.value }, { replace: true }) } }, values.map((value, index) => h("option", { value: index === 0 ? "" : value }, `${label}: ${value}`)));
      this.#query.watch(() => { select.value = this.#query.get(name); }, life);
      return select;
    };
    return h("div", { className: "bar" }, choice("y", "scale", ["linear", "log"]), choice("smooth", "smoothing", Object.keys(SMOOTHING)), h("small", { className: "faint" }, "Drag to zoom; double-click shows everything."));
  }
}

/** A run without this curve has an empty line, so that the others keep their colours. @param {Run} run @param {Series | undefined} series */
function lineOf({ name, trial }, series) {
  const points = series?.points ?? [];
  return { name: trial === null ? name : `trial ${trial}`, xs: points.map(({ step }) => step), ys: points.map(({ value }) => value) };
}

/** Charts that stay keep their place, and so their zoom. @param {HTMLElement} grid @param {HTMLElement[]} frames */
function place(grid, frames) {
  if (frames.length !== grid.childElementCount || frames.some((frame, index) => grid.children[index] !== frame)) fill(grid, frames);
}

/** @param {string} name */
function rank(name) {
  const index = FIRST.indexOf(name);
  return index < 0 ? FIRST.length : index;
}
