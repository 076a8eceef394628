// @ts-check
import { pathOf } from "../core/actions.js";
import { BASE, get } from "../core/api.js";
import { live } from "../core/live.js";
import { score } from "../ui/format.js";
import { fill, h } from "../ui/html.js";
import { intervalBar } from "../ui/interval.js";
import { OVER, progressBar, stateBadge, tried } from "../ui/parts.js";
import { extent } from "../ui/scale.js";
import { figureOf } from "./job_results.js";

/** @typedef {import("../core/types.js").Job} Job */
/** @typedef {import("../core/types.js").StudyRun} StudyRun */
/** @typedef {{ arm: string, seeds: number[], mean: number | null, low: number | null, high: number | null }} Arm */
/** @typedef {{ value: number, low: number | null, high: number | null, p: number | null, finding: string }} Change */
/** @typedef {{ first: string, second: string, change: Change | null, power: { shown_gain: number, smallest_gain: number, seeds_needed: number | null } | null }} Contrast */
/** @typedef {{ sentences: string[], findings: { arms?: Arm[], contrasts?: Contrast[] }, runs: { job_id: string, ap: number | null }[], left_out: { job_id: string, arm: string, seed: number, why: string }[] }} StudyReport */

/** @type {Record<string, string>} */
const QUESTIONS = {
  gain: "What do distilling, inheriting and both bring?", left_over: "Which classes and groups does the distillation leave behind?",
  why: "Why does the distillation help, or not?",
};
/** @type {Record<string, [string, string]>} */
const FINDINGS = { gained: ["better", "good"], lost: ["worse", "bad"], noise: ["within noise", ""], too_little_data: ["too little data", ""] };

/** What the page of a study shows in place of curves: the question, the answer, and the runs that it comes from. */
export class StudyPart {
  /** @type {Job | null} */
  #job = null;
  /** @type {StudyReport | null} */
  #report = null;
  #trouble = h("div");
  #question = h("h2");
  #answer = h("div", { "aria-live": "polite" });
  #runs = h("section");
  #charts = h("section");

  /** @param {string} jobId @param {import("../core/router.js").Query} _query @param {AbortSignal} life */
  constructor(jobId, _query, life) {
    this.#jobId = jobId;
    this.#life = life;
    this.element = h("div", { className: "study" }, this.#trouble, this.#question, this.#answer, this.#runs, this.#charts);
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
      const { charts, labels } = await get(`${path}/report`, { query: { format: "charts" }, life: this.#life });
      fill(this.#charts, charts.length > 0 && h("h2", {}, "Charts"), h("div", { className: "charts" }, charts.map((/** @type {any} */ chart) => figureOf(chart, labels))));
    }
    this.#show();
  }

  #show() {
    const job = this.#job;
    if (job === null) return;
    const { type } = /** @type {{ type: string }} */ (job.spec.study);
    fill(this.#question, QUESTIONS[type] ?? `A study of type ${type}`);
    fill(this.#answer, this.#report === null ? waiting(job) : answerOf(this.#report));
    fill(this.#runs, h("h2", {}, "Runs"), runsTable(job.study_runs, new Map(this.#report?.runs.map(({ job_id, ap }) => [job_id, ap]))));
  }
}

/** @param {Job} job */
function waiting({ state, study_runs: runs }) {
  const ended = runs.filter((run) => OVER.includes(run.state)).length;
  const text = OVER.includes(state) ? "The study has ended without an answer; its reason is above." : `The answer comes when all runs have ended: ${ended} of ${runs.length} so far.`;
  return h("div", {}, h("p", { className: "notice" }, text), progressBar(ended, runs.length, "ended runs"));
}

/** @param {StudyReport} report */
function answerOf({ sentences: [headline, ...more], findings: { arms = [], contrasts = [] }, left_out: leftOut }) {
  return [
    h("p", { className: "headline" }, headline), more.map((sentence) => h("p", {}, sentence)),
    leftOut.length > 0 && h("ul", { className: "findings" }, leftOut.map(({ job_id: id, arm, seed, why }) => h("li", { className: "warning" }, "Left out: ", linkTo(id, `${arm}, seed ${seed}`), `: ${why}`))),
    h("div", { className: "beside" }, arms.length > 0 && armsTable(arms), contrasts.length > 0 && contrastsTable(contrasts)),
  ].flat();
}

/** @param {Arm[]} arms */
function armsTable(arms) {
  const range = extent([arms.flatMap(({ mean, low, high }) => [mean, low, high].filter((each) => each !== null))]) ?? { low: 0, high: 1 };
  return table("AP of each arm, with the 95 % interval of its mean", ["Arm", "Seeds", "AP", "Interval"], arms.map(({ arm, seeds, mean, low, high }) => [
    arm, String(seeds.length), score(mean), intervalBar(mean, low === null || high === null ? null : { low, high }, range),
  ]));
}

/** @param {Contrast[]} contrasts */
function contrastsTable(contrasts) {
  const ends = contrasts.flatMap(({ change }) => (change ? [change.value, change.low ?? change.value, change.high ?? change.value] : []));
  const range = extent([[...ends, 0]]) ?? { low: -1, high: 1 };
  const smallest = contrasts.find(({ power }) => power !== null)?.power?.smallest_gain;
  return table("What each arm brings over another", ["Arms", "AP", "Interval", "Finding", smallest === undefined ? "Seeds needed" : `Seeds that show ${smallest}`], contrasts.map(({ first, second, change, power }) => {
    const [text, tone] = FINDINGS[change?.finding ?? ""] ?? ["–", ""];
    const interval = change && change.low !== null && change.high !== null ? { low: change.low, high: change.high } : null;
    return [
      `${first} − ${second}`, change ? `${change.value >= 0 ? "+" : "−"}${Math.abs(change.value).toFixed(3)}` : "–", change && intervalBar(change.value, interval, range, { zero: true, tone }),
      h("small", { className: tone }, text), power === null ? "–" : String(power.seeds_needed ?? "more than 50"),
    ];
  }));
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
    h("tbody", {}, rows.map(([name, ...cells]) => h("tr", {}, h("th", { scope: "row" }, name), cells.map((cell) => h("td", { className: cell instanceof HTMLElement && cell.classList.contains("interval") ? "bars" : "" }, cell))))),
  ));
}

/** @param {string} id @param {string} text @param {string} [label] */
function linkTo(id, text, label) {
  return h("a", { href: `${BASE}/jobs/${encodeURIComponent(id)}`, "aria-label": label === undefined ? null : `${label}: ${text}` }, text);
}
