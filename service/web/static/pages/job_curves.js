// @ts-check
import { Curves } from "../core/curves.js";
import { eventsOf } from "../core/event_pages.js";
import { StepTimes, TIMED } from "../core/step_times.js";
import { Store } from "../core/store.js";
import { coalesced } from "../core/timing.js";
import { ChartGrid, choice, lookChoices, lookOf } from "../ui/chart_grid.js";
import { h } from "../ui/html.js";
import { axisOf } from "./job_axis.js";
import { GROUPS, grouped } from "./job_curve_groups.js";

/** @typedef {import("../core/types.js").Event} Event */
/** @typedef {import("../core/types.js").Progress} Progress */
/** @typedef {import("../ui/lines.js").Range} Range */

const EXTEND_MS = 500;
const GROWTH = ["progress", "epoch_finished", "evaluated", "resumed", "state_changed"];

/** The curves of a job, which grow while it runs; the address keeps how they are shown, the zoom as well. */
export class CurvesPart {
  #changes = new Store(0);
  #newestStep = 0;
  #stepsPerEpoch = 0;
  #times = new StepTimes();
  #grid = new ChartGrid("No points yet: the curves begin with the first step.");

  /** @param {string} jobId @param {import("../core/router.js").Query} query @param {AbortSignal} life */
  constructor(jobId, query, life) {
    this.#jobId = jobId;
    this.#query = query;
    this.#life = life;
    this.#curves = new Curves(jobId, life);
    this.#extend = coalesced(() => this.#readNew(), EXTEND_MS, life);
    this.element = h("section", { className: "curves" }, h("h2", { className: "unseen" }, "Curves"), this.#controls(), this.#grid.element);
    this.#grid.element.addEventListener("zoom", (event) => this.#onZoom(/** @type {CustomEvent} */ (event).detail));
    this.#changes.watch(() => this.#show(), life);
    query.watch(() => this.#show(), life);
    this.#readAll();
  }

  #jobId;
  #query;
  #life;
  #curves;
  #extend;

  /** Read what may have been missed. */
  renew() {
    this.#extend();
  }

  /** @param {Event} event */
  take(event) {
    const { kind, data } = event;
    if (TIMED.includes(kind) || kind === "progress") this.#times.take(event);
    if (kind === "resumed") this.#newestStep = Math.min(this.#newestStep, data.step);
    if (["progress", "epoch_finished"].includes(kind)) this.#newestStep = data.step;
    if (GROWTH.includes(kind)) this.#extend();
  }

  /** @param {Progress} progress */
  setProgress({ steps, epochs, step }) {
    this.#stepsPerEpoch = steps && epochs ? steps / epochs : 0;
    this.#newestStep = Math.max(this.#newestStep, step ?? 0);
  }

  async #readAll() {
    try {
      await this.#curves.load();
      this.#changed();
      for (const event of await eventsOf(this.#jobId, TIMED, this.#life)) this.#times.take(event);
      const zoom = this.#zoom();
      if (zoom) await this.#curves.detail(zoom.low, zoom.high);
      this.#changed();
    } catch {
      this.#extend();
    }
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
    const { toStep } = this.#axis();
    const zoom = range && { low: Math.round(toStep(range.low)), high: Math.round(toStep(range.high)) };
    this.#query.write({ zoom: zoom ? `${zoom.low}-${zoom.high}` : "" }, { replace: true });
    if (zoom === null) return;
    try {
      await this.#curves.detail(zoom.low, zoom.high);
      this.#changed();
    } catch {
      // The points that are there remain.
    }
  }

  /** All charts zoom together, by steps. @returns {Range | null} */
  #zoom() {
    const [, low, high] = /^(\d+)-(\d+)$/.exec(this.#query.get("zoom")) ?? [];
    return low !== undefined && Number(low) < Number(high) ? { low: Number(low), high: Number(high) } : null;
  }

  #changed() {
    if (!this.#life.aborted) this.#changes.set(this.#changes.value + 1);
  }

  #axis() {
    return axisOf(this.#query.get("x"), this.#stepsPerEpoch, this.#times);
  }

  #show() {
    const groups = grouped(this.#curves.all);
    if (groups.length === 0) return;
    for (const { name, lines } of groups) {
      const { title, help } = GROUPS[name] ?? { title: name.replaceAll("_", " "), help: "" };
      this.#grid.chart(name, title, help).show(this.#content(lines));
    }
    this.#grid.arrange(groups.map(({ name }) => name));
  }

  /** @param {import("./job_curve_groups.js").NamedCurve[]} curves */
  #content(curves) {
    const { label, toX } = this.#axis();
    const lines = curves.map(({ name, steps, values }) => ({ name, ys: values, xs: steps.map(toX) }));
    const inX = (/** @type {Range} */ { low, high }) => ({ low: toX(low), high: toX(high) });
    const zoom = this.#zoom();
    return { ...lookOf(this.#query), lines, xLabel: label, range: inX({ low: 0, high: this.#curves.lastStep }), zoom: zoom && inX(zoom) };
  }

  #controls() {
    const all = h("button", { type: "button", on: { click: () => this.#onZoom(null) } }, "Show everything");
    this.#query.watch(() => { all.hidden = this.#zoom() === null; }, this.#life);
    return h("div", { className: "bar" }, choice(this.#query, "x", "against", ["step", "epoch", "time"], this.#life), lookChoices(this.#query, this.#life), all, h("small", { className: "faint" }, "Drag over a chart to zoom in."));
  }
}
