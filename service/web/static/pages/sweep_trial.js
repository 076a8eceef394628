// @ts-check
import { change, get } from "../core/api.js";
import { missingRole } from "../core/session.js";
import { toYaml } from "../core/yaml.js";
import { Chart } from "../ui/chart.js";
import { copyText } from "../ui/copy.js";
import { duration } from "../ui/format.js";
import { fill, h } from "../ui/html.js";
import { metricName, metricValue, originText, valueText } from "../ui/metrics.js";
import { announce, tried } from "../ui/parts.js";
import { askForTrial } from "./sweep_actions.js";
import { stateCell } from "./sweep_columns.js";

/** @typedef {import("../core/sweep.js").Sweep} Sweep */
/** @typedef {import("../core/sweep.js").Trial} Trial */

const POINTS = 300;

/** One trial: what it ran with, what it reached, its curves. The address names it. */
export class TrialPart {
  /** @type {Trial | null} */
  #shown = null;
  /** Ends the requests for the trial before. */
  #reading = new AbortController();
  #trouble = h("div");
  #curves = h("div", { className: "charts" });
  #facts = h("div");
  element = h("section", { className: "trial", hidden: true, tabIndex: -1 });

  /** @param {string} jobId @param {Sweep} sweep @param {import("../core/router.js").Query} query @param {AbortSignal} life */
  constructor(jobId, sweep, query, life) {
    this.#path = `/v1/jobs/${encodeURIComponent(jobId)}`;
    this.#jobId = jobId;
    this.#sweep = sweep;
    this.#query = query;
    this.#life = life;
    fill(this.element, this.#facts, this.#trouble, this.#curves);
    life.addEventListener("abort", () => this.#reading.abort());
    sweep.changes.watch(() => this.#show(), life);
    query.watch(() => { if (this.#show()) this.element.scrollIntoView({ block: "nearest" }); }, life);
  }

  #path;
  #jobId;
  #sweep;
  #query;
  #life;

  /** @returns {boolean} Whether another trial is shown than before. */
  #show() {
    const name = this.#query.get("trial");
    const trial = name === "" ? undefined : this.#sweep.trials.get(Number(name));
    this.element.hidden = trial === undefined;
    if (trial === undefined || this.#sweep.question === null || trial === this.#shown) return false;
    const isOther = trial.trial !== this.#shown?.trial;
    this.#shown = trial;
    if (isOther) fill(this.#curves);
    fill(this.#facts, this.#head(trial), this.#numbers(trial), valuesTable(trial));
    this.#readCurves(trial);
    return isOther;
  }

  /** @param {Trial} trial */
  #head(trial) {
    const why = missingRole("submit") ?? (["running", "paused", "lost"].includes(trial.state) ? null : `the trial is ${trial.state}`);
    const button = (/** @type {string} */ label, /** @type {() => unknown} */ click, /** @type {string | null} */ refused = null) => h("button", { type: "button", disabled: refused !== null, title: refused, on: { click } }, label);
    return h(
      "div", { className: "bar" }, h("h2", {}, `Trial ${trial.trial}`), stateCell(trial),
      button("Stop", () => this.#stop(trial.trial), why), button("Add a trial like it …", () => askForTrial(this.#jobId, this.#sweep, trial.values, this.#life), missingRole("submit")),
      button("Copy its values", () => copyText(toYaml(trial.values), `the values of trial ${trial.trial}`)), button("Close", () => this.#query.write({ trial: "" })),
    );
  }

  /** @param {Trial} trial */
  #numbers(trial) {
    const objectives = this.#sweep.question?.objectives ?? [];
    /** @type {[string, import("../ui/html.js").Child][]} */
    const facts = [
      ...objectives.map(({ metric }, index) => /** @type {[string, string]} */ ([`best ${metricName(metric)}`, metricValue(metric, trial.objectives[index])])),
      ["at epoch", trial.best_epoch], ["epochs", `${trial.epoch} of ${trial.epochs}`], ["training", duration(trial.train_s)], ["seed", trial.seed],
      ["why it ran", trial.repeats === null ? originText(trial.origin) : `${originText(trial.origin)} of trial ${trial.repeats}`],
    ];
    return h(
      "div", {}, h("dl", { className: "facts" }, facts.filter(([, value]) => value !== null).map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value)))),
      trial.error && h("p", { className: "notice bad" }, `${trial.error.message} (${trial.error.code})`),
      trial.checkpoint && h("p", {}, "Checkpoint ", h("code", {}, trial.checkpoint)),
      trial.dashboard_url && h("p", {}, h("a", { href: trial.dashboard_url, target: "_blank" }, "Ray’s page of the run")),
    );
  }

  /** @param {Trial} trial */
  #readCurves(trial) {
    this.#reading.abort();
    this.#reading = new AbortController();
    const life = this.#reading.signal;
    return tried(this.#trouble, life, async () => {
      /** @type {{ items: import("../core/types.js").Series[] }} */
      const { items } = await get(`${this.#path}/metrics`, { query: { trial: String(trial.trial), max_points: POINTS }, life });
      const groups = Map.groupBy(items.filter(({ points }) => points.length > 0), ({ name }) => name.split("/")[0]);
      const present = [...this.#curves.querySelectorAll("fgd-chart")];
      const charts = [...groups].map(([group, series]) => chartOf(group, series, present.find((chart) => chart.getAttribute("label") === group)));
      if (charts.some((chart, index) => this.#curves.children[index] !== chart)) fill(this.#curves, charts);
    });
  }

  /** @param {number} trial */
  #stop(trial) {
    return tried(this.#trouble, this.#life, async () => {
      await change("POST", `${this.#path}/trials/${trial}/stop`);
      announce(`Asked trial ${trial} to stop.`);
    });
  }
}

/** @param {Trial} trial */
function valuesTable({ values }) {
  const rows = Object.entries(values).map(([path, value]) => h("tr", {}, h("th", { scope: "row" }, h("code", {}, path)), h("td", {}, valueText(value))));
  return rows.length === 0 ? h("p", { className: "faint" }, "It ran with the values of the base job.") : h("table", { className: "values" }, h("tbody", {}, rows));
}

/** @param {string} group @param {import("../core/types.js").Series[]} series @param {Element | undefined} known */
function chartOf(group, series, known) {
  const chart = known instanceof Chart ? known : new Chart();
  chart.setAttribute("label", group);
  chart.show({ lines: series.map(({ name, points }) => ({ name: name.slice(name.indexOf("/") + 1), xs: points.map(({ step }) => step), ys: points.map(({ value }) => value) })) });
  return known ? /** @type {HTMLElement} */ (chart.parentElement) : h("figure", {}, h("figcaption", {}, group), chart);
}
