// @ts-check
import { ChartGrid, lookChoices, lookOf } from "../ui/chart_grid.js";
import { fill, h } from "../ui/html.js";

/** @typedef {import("../core/compared.js").Run} Run */
/** @typedef {import("../core/types.js").Series} Series */

const FIRST = ["val/ap", "val/ap50", "loss"];
/** A distillation reports some 30 curves; those that few people compare are a click away. */
const MOST_OPEN = 6;

/** The curves of all runs over each other, one chart for each name. Runs keep their colours. */
export class CurvesPart {
  #grid = new ChartGrid("None of the runs has reported points yet.");
  #restTitle = h("summary");
  #rest = new ChartGrid("");
  #more = h("details", {}, this.#restTitle, this.#rest.element);
  /** In steps; all charts zoom together. @type {import("../ui/scale.js").Range | null} */
  #zoom = null;
  /** @type {[Run[], Map<string, Series[]>]} */
  #shown = [[], new Map()];

  /** @param {import("../core/router.js").Query} query @param {AbortSignal} life */
  constructor(query, life) {
    this.#query = query;
    const controls = h("div", { className: "bar" }, lookChoices(query, life), h("small", { className: "faint" }, "Drag to zoom; double-click shows everything."));
    this.element = h("section", {}, h("h2", {}, "Curves"), controls, this.#grid.element, this.#more);
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
    for (const [grid, shown] of /** @type {const} */ ([[this.#grid, names.slice(0, MOST_OPEN)], [this.#rest, names.slice(MOST_OPEN)]])) {
      for (const name of shown) {
        const lines = runs.map((run) => lineOf(run, curves.get(run.reference)?.find((each) => each.name === name)));
        grid.chart(name, name).show({ ...lookOf(this.#query), lines, zoom: this.#zoom });
      }
      grid.arrange(shown);
    }
  }
}

/** A run without this curve has an empty line, so that the others keep their colours. @param {Run} run @param {Series | undefined} series */
function lineOf({ name, trial }, series) {
  const points = series?.points ?? [];
  return { name: trial === null ? name : `trial ${trial}`, xs: points.map(({ step }) => step), ys: points.map(({ value }) => value) };
}

/** @param {string} name */
function rank(name) {
  const index = FIRST.indexOf(name);
  return index < 0 ? FIRST.length : index;
}
