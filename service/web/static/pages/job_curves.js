// @ts-check
import { Curves } from "../core/curves.js";
import { Store } from "../core/store.js";
import { coalesced } from "../core/timing.js";
import { Chart } from "../ui/chart.js";
import { fill, h } from "../ui/html.js";

/** @typedef {import("../core/types.js").Event} Event */
/** @typedef {import("../core/curves.js").Curve} Curve */
/** @typedef {import("../core/types.js").Progress} Progress */
/** @typedef {import("../ui/lines.js").Range} Range */

const EXTEND_MS = 500;
const SMOOTHING = { none: 0, some: 0.6, much: 0.95 };
/** @type {Record<string, string>} */
const TITLES = { loss: "Loss", task: "Task losses", distill: "Distillation losses", epoch: "Means of each epoch", val: "Validation", learning_rate: "Learning rate", images_per_s: "Images per second" };
const FIRST = ["loss", "val", "task", "distill"];

/** The curves of a job, which grow while it runs; the address keeps how they are shown. */
export class CurvesPart {
  /** @type {Map<string, Chart>} */
  #charts = new Map();
  #changes = new Store(0);
  #newestStep = 0;
  #stepsPerEpoch = 0;
  /** In steps; all charts zoom together. @type {Range | null} */
  #zoom = null;
  #grid = h("div", { className: "charts" });

  /** @param {string} jobId @param {import("../core/router.js").Query} query @param {AbortSignal} life */
  constructor(jobId, query, life) {
    this.#query = query;
    this.#life = life;
    this.#curves = new Curves(jobId, life);
    this.#extend = coalesced(() => this.#readNew(), EXTEND_MS, life);
    this.element = h("section", { className: "curves" }, h("h2", {}, "Curves"), this.#controls(), this.#grid);
    this.#grid.addEventListener("zoom", (event) => this.#onZoom(/** @type {CustomEvent} */ (event).detail));
    this.#changes.watch(() => this.#show(), life);
    query.watch(() => this.#show(), life);
  }

  #query;
  #life;
  #curves;
  #extend;

  async load() {
    await this.#curves.load();
    this.#changed();
  }

  /** Read what may have been missed. */
  renew() {
    this.#extend();
  }

  /** @param {Event} event */
  take({ kind, data }) {
    if (kind === "resumed") this.#newestStep = Math.min(this.#newestStep, data.step);
    if (["progress", "epoch_finished"].includes(kind)) this.#newestStep = data.step;
    if (["progress", "epoch_finished", "evaluated", "resumed", "state_changed"].includes(kind)) this.#extend();
  }

  /** @param {Progress} progress */
  setProgress({ steps, epochs, step }) {
    this.#stepsPerEpoch = steps && epochs ? steps / epochs : 0;
    this.#newestStep = Math.max(this.#newestStep, step ?? 0);
  }

  async #readNew() {
    try {
      await this.#curves.extend(this.#newestStep);
      this.#changed();
    } catch {
      // The next event, or the stream's reconnection, reads the same range again.
    }
  }

  /** Show the range at once, and with more points as soon as they are there. @param {Range | null} range */
  async #onZoom(range) {
    this.#zoom = range && scaled(range, this.#unit());
    this.#changed();
    if (this.#zoom === null) return;
    try {
      await this.#curves.detail(this.#zoom.low, this.#zoom.high);
      this.#changed();
    } catch {
      // The points that are there remain.
    }
  }

  #changed() {
    if (!this.#life.aborted) this.#changes.set(this.#changes.value + 1);
  }

  #unit() {
    return this.#query.get("x") === "epoch" && this.#stepsPerEpoch > 0 ? this.#stepsPerEpoch : 1;
  }

  #show() {
    const groups = grouped(this.#curves.all);
    if (groups.size === 0) { fill(this.#grid, h("p", { className: "faint" }, "No points yet.")); return; }
    const names = [...groups.keys()].sort((a, b) => place(a) - place(b));
    for (const name of names) this.#chart(name).show(this.#content(groups.get(name) ?? []));
    const wanted = names.map((name) => this.#frame(name));
    if (wanted.some((frame, index) => this.#grid.children[index] !== frame)) fill(this.#grid, wanted);
  }

  /** @param {Curve[]} curves */
  #content(curves) {
    const unit = this.#unit();
    const lines = curves.map(({ name, steps, values }) => ({
      name: name.slice(name.indexOf("/") + 1), ys: values, xs: unit === 1 ? steps : steps.map((step) => step / unit),
    }));
    const smoothing = SMOOTHING[/** @type {keyof SMOOTHING} */ (this.#query.get("smooth"))] ?? 0;
    return {
      lines, smoothing, isLog: this.#query.get("y") === "log", xLabel: unit === 1 ? "step" : "epoch",
      range: scaled({ low: 0, high: this.#curves.lastStep }, 1 / unit), zoom: this.#zoom && scaled(this.#zoom, 1 / unit),
    };
  }

  /** @param {string} group */
  #chart(group) {
    const known = this.#charts.get(group);
    if (known) return known;
    const chart = new Chart();
    chart.setAttribute("label", title(group));
    this.#charts.set(group, chart);
    h("figure", {}, h("figcaption", {}, title(group)), chart);
    return chart;
  }

  /** @param {string} group */
  #frame(group) {
    return /** @type {HTMLElement} */ (this.#chart(group).parentElement);
  }

  #controls() {
    const choice = (/** @type {string} */ name, /** @type {string} */ label, /** @type {string[]} */ values) => {
      const select = h("select", { "aria-label": label, on: { change: () => this.#query.write({ [name]: select.value }, { replace: true }) } }, values.map((value, index) => h("option", { value: index === 0 ? "" : value }, `${label}: ${value}`)));
      this.#query.watch(() => { select.value = this.#query.get(name); }, this.#life);
      return select;
    };
    return h("div", { className: "bar" }, choice("x", "against", ["step", "epoch"]), choice("y", "scale", ["linear", "log"]), choice("smooth", "smoothing", Object.keys(SMOOTHING)), h("small", { className: "faint" }, "Drag to zoom; double-click shows everything."));
  }
}

/** @param {Range} range @param {number} factor @returns {Range} */
function scaled({ low, high }, factor) {
  return { low: low * factor, high: high * factor };
}

/** Group curves by the part of the name before the slash. @param {Curve[]} curves */
function grouped(curves) {
  /** @type {Map<string, Curve[]>} */
  const groups = new Map();
  for (const curve of curves) {
    const name = curve.name.split("/")[0];
    groups.set(name, [...(groups.get(name) ?? []), curve]);
  }
  return groups;
}

/** @param {string} group */
function title(group) {
  return TITLES[group] ?? group;
}

/** @param {string} group */
function place(group) {
  const index = FIRST.indexOf(group);
  return index < 0 ? FIRST.length : index;
}
