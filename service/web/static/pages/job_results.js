// @ts-check
import { pathOf } from "../core/actions.js";
import { BASE, get } from "../core/api.js";
import { coalesced } from "../core/timing.js";
import { FigureElement } from "../ui/figure.js";
import { number, score } from "../ui/format.js";
import { fill, h } from "../ui/html.js";
import { tried } from "../ui/parts.js";

/** @typedef {import("../core/types.js").Job} Job */
/** @typedef {{ ap: number | null, ap50: number | null, num_boxes: number }} ClassScore */
/** @typedef {Record<string, any> & { per_class: Record<string, ClassScore> }} Scores */
/** What the page reads of a report of one job. @typedef {{ sentences: string[], jobs: Record<string, any>[] }} Report */

const READ_MS = 3000;
const RENEWED_BY = ["evaluated", "diagnosed", "run_finished", "mean_evaluated", "exported"];
/** @type {[string, string, string][]} */
const SCORES = [
  ["ap", "AP", "mean over IoU 0.50 to 0.95"], ["ap50", "AP50", "at IoU 0.50"], ["ap75", "AP75", "at IoU 0.75"],
  ["ap_small", "AP small", "objects below 32 × 32 pixels"], ["ap_medium", "AP medium", "up to 96 × 96 pixels"], ["ap_large", "AP large", "larger objects"],
  ["ar100", "AR", "recall with at most 100 detections per image"],
];
/** The kinds of TIDE, arXiv:2008.08115. @type {Record<string, string>} */
const MEANINGS = {
  classification: "the box is right and the class is wrong", localisation: "the class is right and the box is off",
  both: "the class is wrong and the box is off", duplicate: "a better detection has found the same object",
  background: "no object is there", missed: "no detection is near the object",
};

/** @typedef {{ title: string, caption: string, alt: string, is_wide: boolean, figure: import("../ui/figure_axes.js").Figure }} ChartView */

/** What a job has reached: sentences, scores, classes, kinds of error, speed. */
export class ResultsTab {
  #trouble = h("div");
  #content = h("div", {}, h("p", { className: "faint" }, "Reading the results…"));
  #charts = h("section");

  /** @param {string} jobId @param {import("../core/router.js").Query} _query @param {AbortSignal} life */
  constructor(jobId, _query, life) {
    this.element = h("div", {}, this.#trouble, this.#content, this.#charts);
    this.#read = coalesced(() => tried(this.#trouble, life, async () => {
      /** @type {Report} */
      const report = await get(`${pathOf(jobId)}/report`, { query: { format: "json" }, life });
      fill(this.#content, contentOf(report));
      /** @type {{ charts: ChartView[], labels: Record<string, string> }} */
      const { charts, labels } = await get(`${pathOf(jobId)}/report`, { query: { format: "charts" }, life });
      fill(this.#charts, charts.length > 0 && h("h2", {}, "Charts of the report"), h("div", { className: "charts" }, charts.map((chart) => figureOf(chart, labels))));
    }), READ_MS, life);
    this.#read();
  }

  #read;

  /** @param {Job} _job */
  setJob(_job) {}

  /** @param {import("../core/types.js").Event} event */
  take({ kind }) {
    if (RENEWED_BY.includes(kind)) this.#read();
  }

  renew() {
    this.#read();
  }
}

/** A chart of the report. @param {ChartView} chart @param {Record<string, string>} labels */
export function figureOf({ title, caption, alt, is_wide, figure }, labels) {
  const element = new FigureElement();
  element.setAttribute("alt", alt || title);
  element.show(figure, labels);
  return h("figure", { className: is_wide ? "wide" : "" }, h("figcaption", {}, title, h("small", {}, caption)), element);
}

/** @param {Report} report */
function contentOf({ sentences, jobs: [job] }) {
  const newest = job.evaluations[job.evaluations.length - 1]?.scores ?? null;
  /** @type {Scores | null} */
  const scores = job.result?.scores ?? newest;
  return [
    sentences.map((sentence) => h("p", { className: "notice said" }, sentence)),
    job.error && h("div", { className: "notice bad" }, h("p", {}, job.error.message), job.error.traceback && h("details", {}, h("summary", {}, "Traceback"), h("pre", {}, job.error.traceback))),
    scores === null ? h("p", { className: "faint" }, "No scores yet: the run evaluates its detector after each epoch.") : scoresOf(scores, job),
    h("div", { className: "marks" }, scores && classesOf(scores), job.diagnosis && errorsOf(job.diagnosis)), job.stages.length > 0 && stagesOf(job.stages), exportsOf(job.exports),
  ].flat();
}

/** @param {Scores} scores @param {Record<string, any>} job */
function scoresOf(scores, { result }) {
  const [images, speed] = [result ? `, on ${number(result.num_images)} validation images` : "", result?.speed];
  return [
    h("h2", {}, result ? "Scores of the best checkpoint" : "Scores of the newest evaluation"),
    h("dl", { className: "facts" }, SCORES.filter(([name]) => scores[name] !== undefined).map(([name, label, help]) => h("div", { title: help }, h("dt", {}, label), h("dd", {}, score(scores[name]))))),
    result && h("p", { className: "faint" }, `${number(result.num_parameters)} parameters; ${number(result.images_per_s)} images per second on ${result.device}${speed ? `, ${number(speed.latency_ms)} ms for one image` : ""}${images}.`, speed?.disturbed_by && ` Not comparable: ${speed.disturbed_by}.`),
    h("p", { className: "faint" }, "AP is in 0 to 1, as COCO defines it. – means that there was nothing to score."),
  ];
}

/** @param {Scores} scores */
function classesOf({ per_class }) {
  const rows = Object.entries(per_class ?? {}).sort(([, a], [, b]) => (a.ap ?? 2) - (b.ap ?? 2));
  if (rows.length === 0) return null;
  return h(
    "section", {}, h("h2", {}, "AP of each class, lowest first"),
    table(["Class", "Boxes", "AP", "AP50", "AP of 0 to 1"], rows.map(([name, { ap, ap50, num_boxes }]) => [name, number(num_boxes), score(ap), score(ap50), meter(ap, 1)])),
  );
}

/** @param {{ ap50: number | null, errors: { kind: string, count: number, gain: number | null }[], confusion: { cells: { true: string | null, found: string | null, count: number }[] } }} diagnosis */
function errorsOf({ ap50, errors, confusion }) {
  const sorted = [...errors].sort((a, b) => (b.gain ?? 0) - (a.gain ?? 0));
  const most = Math.max(...sorted.map(({ gain }) => gain ?? 0), 1e-9);
  const mixed = confusion.cells.filter((cell) => cell.true !== null && cell.found !== null && cell.true !== cell.found).slice(0, 5);
  return h(
    "section", {}, h("h2", {}, "Errors, costliest first"),
    table(["Kind", "Number", "Costs AP50", "Share of the largest"], sorted.map(({ kind, count, gain }) => [h("span", {}, kind, h("small", {}, ` ${MEANINGS[kind] ?? ""}`)), number(count), score(gain), meter(gain, most)])),
    h("p", { className: "faint" }, `By how much AP50 (${score(ap50)}) would rise without the errors of a kind; the costs do not add up.`),
    mixed.length > 0 && h("p", {}, "Confused most often: ", mixed.map((cell) => `${cell.true} with ${cell.found} (${number(cell.count)})`).join(", "), "."),
  );
}

/** @param {Record<string, any>[]} stages */
function stagesOf(stages) {
  const rows = stages.map(({ stage, teacher, teacher_ap, method, epochs, ap_before, result }) => [stage, teacher, score(teacher_ap), method, number(epochs), score(ap_before), score(result?.scores.ap)]);
  return h("section", {}, h("h2", {}, "Stages"), table(["Stage", "Teacher", "Teacher’s AP", "Method", "Epochs", "AP before", "AP after"], rows));
}

/** @param {Record<string, any>[]} files */
function exportsOf(files) {
  if (files.length === 0) return null;
  const rows = files.map(({ name, precision, num_checked, max_difference, scores, ap_change }) => [
    name, precision, max_difference === null ? `AP ${score(scores?.ap)}, change ${number(ap_change)}` : `differs by at most ${number(max_difference)} on ${number(num_checked)} images`,
  ]);
  return h("section", {}, h("h2", {}, "Exported files"), table(["File", "Precision", "Compared with PyTorch"], rows), h("p", { className: "faint" }, "The files are under Files and spec. ", h("a", { href: `${BASE}/models` }, "Models")));
}

/** @param {string[]} headings @param {import("../ui/html.js").Child[][]} rows The first cell names its row. */
function table(headings, rows) {
  const isNumber = (/** @type {import("../ui/html.js").Child} */ cell) => typeof cell === "string" && /^[-–\d.,e]+$/.test(cell);
  const head = headings.map((name, index) => h("th", { scope: "col", className: rows.every((row) => isNumber(row[index])) ? "number" : "" }, name));
  const body = rows.map(([first, ...cells]) => h("tr", {}, h("th", { scope: "row" }, first), cells.map((cell) => h("td", { className: isNumber(cell) ? "number" : "" }, cell))));
  return h("div", { className: "sideways" }, h("table", {}, h("thead", {}, h("tr", {}, head)), h("tbody", {}, body)));
}

/** @param {number | null} value @param {number} most */
function meter(value, most) {
  const bar = h("span", { className: "meter", "aria-hidden": "true" });
  bar.style.inlineSize = `${(6 * (value ?? 0)) / most}rem`;
  return bar;
}
