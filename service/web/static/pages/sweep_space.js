// @ts-check
import { bestFirst, isSearched } from "../core/sweep.js";
import { rangeText } from "../ui/axis.js";
import { fill, h } from "../ui/html.js";
import { metricName, metricValue, valuesText } from "../ui/metrics.js";
import { Parallel } from "../ui/parallel.js";
import { axesOf, brushesOf, placesOf, writeBrush } from "./sweep_filter.js";

/** @typedef {import("../core/sweep.js").Sweep} Sweep */
/** @typedef {import("../core/sweep.js").Trial} Trial */
/** @typedef {import("../core/router.js").Query} Query */

/** The most lines: more take long to draw and hide each other. */
const [MOST_LINES, BEST_LINES] = [1500, 500];

/** The trials across the space; the limits that a user draws there filter the table and the other charts. */
export class SpacePart {
  #chart = new Parallel();
  #chips = h("div", { className: "chips", role: "group", "aria-label": "Limits" });
  #left = h("p", { className: "faint" });
  element = h("section", { className: "space", hidden: true });

  /** @param {Sweep} sweep @param {Query} query @param {AbortSignal} life */
  constructor(sweep, query, life) {
    this.#sweep = sweep;
    this.#query = query;
    fill(
      this.element, h("h2", {}, "Which values work"),
      h("p", { className: "faint" }, "One line is one trial, from its values to its best result. Drag along an axis to keep only the trials that pass there; the table and the charts follow. Click the axis to release it, or a line to see its trial."),
      this.#chips, this.#chart, this.#left,
    );
    this.#chart.addEventListener("brush", (event) => {
      const { axis, range } = /** @type {CustomEvent} */ (event).detail;
      writeBrush(query, axis, range);
    });
    this.#chart.addEventListener("pick", (event) => query.write({ trial: String(/** @type {CustomEvent} */ (event).detail) }));
    sweep.changes.watch(() => this.#show(), life);
    query.watch(() => this.#show(), life);
  }

  #sweep;
  #query;

  #show() {
    const { question, trials } = this.#sweep;
    if (question === null) return;
    const [objective] = question.objectives;
    const searched = bestFirst([...trials.values()].filter((trial) => isSearched(trial) && trial.objectives[0] !== null), objective).reverse();
    this.element.hidden = searched.length === 0 || Object.keys(question.dimensions).length === 0;
    if (this.element.hidden) return;
    const axes = axesOf(this.#sweep);
    const brushes = brushesOf(this.#query);
    const [poorest, best] = [searched[0], searched[searched.length - 1]].map(({ objectives: [value] }) => value ?? 0);
    const drawn = sampled(searched);
    this.#left.textContent = drawn.length < searched.length ? `${drawn.length.toLocaleString("en")} of ${searched.length.toLocaleString("en")} trials are drawn: the best ${BEST_LINES}, and evenly chosen others.` : "";
    const items = drawn.map((trial) => ({
      key: trial.trial, label: labelOf(trial, objective.metric), values: placesOf(trial, axes), isFaint: trial.state === "stopped",
      share: best === poorest ? 1 : ((trial.objectives[0] ?? 0) - poorest) / (best - poorest),
    }));
    const ends = [poorest, best].map((value) => `${metricName(objective.metric)} ${metricValue(objective.metric, value)}`);
    const marked = this.#query.get("trial");
    this.#chart.show({ axes, items, brushes, ends: [ends[0], ends[1]], marked: marked === "" ? null : Number(marked) });
    this.#showChips(axes, brushes);
  }

  /** @param {import("../ui/axis.js").Axis[]} axes @param {Record<string, import("../ui/scale.js").Range>} brushes */
  #showChips(axes, brushes) {
    const chips = axes.filter(({ key }) => brushes[key]).map((axis) => h(
      "button", { type: "button", className: "chip", title: "Release", on: { click: () => writeBrush(this.#query, axis.key, null) } },
      `${axis.label}: ${rangeText(axis, brushes[axis.key])} ✕`,
    ));
    const all = h("button", { type: "button", on: { click: () => this.#query.write({ brush: [] }, { replace: true }) } }, "Release all");
    fill(this.#chips, chips, chips.length > 1 && all);
  }
}

/** The best trials, and of the others every k-th. @param {Trial[]} trials The best last. */
function sampled(trials) {
  if (trials.length <= MOST_LINES) return trials;
  const rest = trials.slice(0, -BEST_LINES);
  const step = rest.length / (MOST_LINES - BEST_LINES);
  return [...rest.filter((_, index) => Math.floor(index / step) !== Math.floor((index - 1) / step)), ...trials.slice(-BEST_LINES)];
}

/** @param {Trial} trial @param {string} metric */
function labelOf({ trial, state, epoch, epochs, objectives, values }, metric) {
  return `Trial ${trial}, ${state} after ${epoch} of ${epochs} epochs: ${metricName(metric)} ${metricValue(metric, objectives[0])}; ${valuesText(values)}`;
}
