// @ts-check
import { pathOf } from "../core/actions.js";
import { BASE, get } from "../core/api.js";
import { live } from "../core/live.js";
import { score } from "../ui/format.js";
import { fill, h } from "../ui/html.js";
import { OVER, progressBar, stateBadge, tried } from "../ui/parts.js";
import { revise } from "../ui/revise.js";
import { costPart } from "./cost.js";
import { figureOf } from "./job_results.js";

/** @typedef {import("../core/types.js").Job} Job */
/** @typedef {import("../core/types.js").StudyRun} StudyRun */
/** @typedef {import("./job_results.js").ChartView} ChartView */
/** @typedef {{ title: string, headings: string[], rows: string[][], note: string }} StudyTable The first cell names its row. */
/** @typedef {{ sentences: string[], runs: { job_id: string, ap: number | null }[], left_out: { job_id: string, arm: string, seed: number, why: string }[] }} StudyReport */

/** @type {Record<string, string>} */
const QUESTIONS = {
  gain: "What do distilling, inheriting and both bring?", left_over: "Which classes and groups does the distillation leave behind?",
  why: "Why does the distillation help, or not?",
};

/** What the page of a study shows in place of curves: the question, the answer, and the runs that it comes from. */
export class StudyPart {
  /** @type {Job | null} */
  #job = null;
  /** @type {StudyReport | null} */
  #report = null;
  #trouble = h("div");
  #question = h("h2");
  #answer = h("div", { "aria-live": "polite" });
  #figures = h("section");
  #runs = h("section");

  /** @param {string} jobId @param {import("../core/router.js").Query} _query @param {AbortSignal} life */
  constructor(jobId, _query, life) {
    this.#jobId = jobId;
    this.#life = life;
    this.element = h("div", { className: "study" }, this.#trouble, this.#question, this.#answer, this.#figures, this.#runs, costPart(jobId, life));
    live({ kinds: ["state_changed", "study_reported"], read: () => tried(this.#trouble, life, () => this.#read()) }, life);
  }

  #jobId;
  #life;

  /** @param {Job} job */
  setJob(job) {
    this.#job = job;
    this.#show();
  }

  async #read() {
    const path = pathOf(this.#jobId);
    this.#job = await get(path, { life: this.#life });
    if (this.#report === null && this.#job?.state === "succeeded") {
      this.#report = (await get(`${path}/report`, { query: { format: "json" }, life: this.#life })).jobs[0].study;
      /** @type {{ charts: ChartView[], labels: Record<string, string>, tables: StudyTable[] }} */
      const { charts, labels, tables } = await get(`${path}/report`, { query: { format: "charts" }, life: this.#life });
      fill(this.#figures, h("div", { className: "charts" }, charts.map((chart) => figureOf(chart, labels))), h("div", { className: "beside" }, tables.map(figuresTable)));
    }
    this.#show();
  }

  #show() {
    const job = this.#job;
    if (job === null) return;
    const { type } = /** @type {{ type: string }} */ (job.spec.study);
    fill(this.#question, QUESTIONS[type] ?? `A study of type ${type}`);
    revise(this.#answer, this.#report === null ? waiting(job) : answerOf(this.#report));
    revise(this.#runs, h("h2", {}, "Runs"), runsTable(job.study_runs, new Map(this.#report?.runs.map(({ job_id, ap }) => [job_id, ap]))));
  }
}

/** @param {Job} job */
function waiting({ state, study_runs: runs }) {
  const ended = runs.filter((run) => OVER.includes(run.state)).length;
  const text = OVER.includes(state) ? "The study has ended without an answer; its reason is above." : `The answer comes when all runs have ended: ${ended} of ${runs.length} so far.`;
  return h("div", {}, h("p", { className: "notice" }, text), progressBar(ended, runs.length, "ended runs"));
}

/** @param {StudyReport} report */
function answerOf({ sentences: [headline, ...more], left_out: leftOut }) {
  return [
    h("p", { className: "headline" }, headline), more.map((sentence) => h("p", {}, sentence)),
    leftOut.length > 0 && h("ul", { className: "findings" }, leftOut.map(({ job_id: id, arm, seed, why }) => h("li", { className: "warning" }, "Left out: ", linkTo(id, `${arm}, seed ${seed}`), `: ${why}`))),
  ].flat();
}

/** @param {StudyTable} found */
function figuresTable({ title, headings, rows, note }) {
  return h("div", {}, table(title, headings, rows), note && h("p", { className: "faint" }, note));
}

/** Arms by seeds; each cell is a job. @param {StudyRun[]} runs @param {Map<string, number | null>} aps By job. */
function runsTable(runs, aps) {
  const [arms, seeds] = [[...new Set(runs.map(({ arm }) => arm))], [...new Set(runs.map(({ seed }) => seed))].sort((a, b) => a - b)];
  const cell = (/** @type {string} */ arm, /** @type {number} */ seed) => {
    const run = runs.find((each) => each.arm === arm && each.seed === seed);
    const ap = run && aps.get(run.job_id);
    return run ? h("span", {}, linkTo(run.job_id, ap === undefined || ap === null ? "run" : score(ap), `${arm}, seed ${seed}`), " ", stateBadge(run.state)) : "–";
  };
  return table("Runs by arm and seed", ["Arm", ...seeds.map((seed) => `Seed ${seed}`)], arms.map((arm) => [arm, ...seeds.map((seed) => cell(arm, seed))]));
}

/** @param {string} caption @param {string[]} headings @param {import("../ui/html.js").Child[][]} rows The first cell names its row. */
function table(caption, headings, rows) {
  return h("div", { className: "sideways", tabIndex: 0, role: "region", "aria-label": caption }, h(
    "table", { className: "standings" }, h("caption", {}, caption), h("thead", {}, h("tr", {}, headings.map((name) => h("th", { scope: "col" }, name)))),
    h("tbody", {}, rows.map(([name, ...cells]) => h("tr", {}, h("th", { scope: "row" }, name), cells.map((cell) => h("td", {}, cell))))),
  ));
}

/** @param {string} id @param {string} text @param {string} [label] */
function linkTo(id, text, label) {
  return h("a", { href: `${BASE}/jobs/${encodeURIComponent(id)}`, "aria-label": label === undefined ? null : `${label}: ${text}` }, text);
}
