// @ts-check
import { address, get } from "../core/api.js";
import { score } from "../ui/format.js";
import { fill, h } from "../ui/html.js";
import { intervalBar } from "../ui/interval.js";
import { extent } from "../ui/scale.js";
import { metricName } from "../ui/metrics.js";
import { tried } from "../ui/parts.js";

/** @typedef {import("../core/compared.js").Run} Run */
/** @typedef {{ value: number, low: number | null, high: number | null, p: number | null, finding: "gained" | "lost" | "noise" | "too_little_data" }} Change */
/** @typedef {{ first: number | null, second: number | null, change: Change | null }} Scored */
/** @typedef {{ basis: "images" | "seeds", num_images: number, sentences: string[], scores: (Scored & { score: string })[], classes: (Scored & { name: string, num_boxes: number })[] }} Comparison */

const FINDINGS = { gained: "A is better", lost: "A is worse", noise: "within noise", too_little_data: "too little data" };
const TONES = { gained: "good", lost: "bad", noise: "", too_little_data: "" };
const MOST_CLASSES = 30;
/** States of jobs and of trials. */
const FINISHED = ["succeeded", "completed"];

/** Which side is better, in total, by size and by class, and whether chance explains it. */
export class ScoresPart {
  #place = h("div", { "aria-live": "polite" });
  #refused = h("div");
  /** What was asked: sides, and states on which the answer depends. */
  #asked = "";
  element = h("section", {}, h("h2", {}, "Which is better"), this.#refused, this.#place);

  /** @param {AbortSignal} life */
  constructor(life) {
    this.#life = life;
  }

  #life;

  /** @param {Run[]} runs @param {Record<"a" | "b", string[]>} at */
  show(runs, at) {
    const sides = [...at.a, ...at.b];
    const asked = JSON.stringify([at, runs.filter(({ reference }) => sides.includes(reference)).map(({ state }) => state)]);
    if (asked === this.#asked) return;
    this.#asked = asked;
    if (at.a.length === 0 || at.b.length === 0) {
      fill(this.#refused);
      fill(this.#place, h("p", { className: "faint" }, "Put at least one run on side A and one on side B."));
      return;
    }
    const unfinished = runs.filter(({ reference, state }) => sides.includes(reference) && !FINISHED.includes(state));
    if (unfinished.length > 0) {
      fill(this.#refused);
      fill(this.#place, h("p", { className: "faint" }, `The test needs finished runs; ${unfinished.map(({ name, state }) => `${name} is ${state}`).join(", ")}.`));
      return;
    }
    fill(this.#place, h("p", { className: "faint" }, "Comparing the detections …"));
    tried(this.#refused, this.#life, async () => {
      try {
        /** @type {Comparison} */
        const found = await get("/v1/compare", { query: { a: at.a, b: at.b }, life: this.#life });
        if (asked === this.#asked) fill(this.#place, comparisonParts(found, at));
      } catch (error) {
        if (asked === this.#asked) fill(this.#place);
        throw error;
      }
    });
  }
}

/** @param {Comparison} found @param {Record<"a" | "b", string[]>} at */
function comparisonParts({ basis, num_images, sentences: [headline, ...more], scores, classes }, at) {
  const tested = basis === "seeds" ? "Chance is measured over seeds (Welch’s t-test)." : `Chance is measured over the ${num_images.toLocaleString("en")} images (paired bootstrap); runs with more seeds on each side show also the noise of training.`;
  const ranked = classes.filter(({ change }) => change !== null).sort((a, b) => strength(b) - strength(a));
  return [
    h("p", { className: "headline" }, headline), more.map((sentence) => h("p", {}, sentence)),
    h("p", { className: "faint" }, `Differences are A minus B; bars are 95 % intervals. ${tested} `, h("a", { href: address("/v1/compare", { a: at.a, b: at.b, format: "html" }), target: "_blank" }, "As a report to send")),
    h("div", { className: "beside" }, changesTable("Score", scores.map((row) => ({ ...row, label: metricName(row.score) })), scores), classTables(ranked)),
  ].flat();
}

/** @param {Comparison["classes"]} ranked */
function classTables(ranked) {
  if (ranked.length === 0) return h("p", { className: "faint" }, "No class has boxes.");
  const labelled = ranked.map((row) => ({ ...row, label: row.name }));
  const rest = labelled.slice(MOST_CLASSES);
  return h(
    "div", {}, changesTable("Class", labelled.slice(0, MOST_CLASSES), ranked),
    rest.length > 0 && h("details", {}, h("summary", {}, `${rest.length} more classes`), changesTable("Class", rest, ranked)),
  );
}

/** @param {string} heading @param {(Scored & { label: string })[]} rows @param {Scored[]} all Rows that share the range of the bars. */
function changesTable(heading, rows, all) {
  const ends = all.flatMap(({ change }) => (change ? [change.value, change.low ?? change.value, change.high ?? change.value] : []));
  const range = extent([[...ends, 0]]) ?? { low: -1, high: 1 };
  const headings = [[heading, ""], ["A", "number"], ["B", "number"], ["A − B", "number"], ["Interval", "bars"], ["Finding", ""]];
  return h(
    "div", { className: "wide-content" },
    h("table", { className: "standings" }, h("thead", {}, h("tr", {}, headings.map(([text, className]) => h("th", { scope: "col", className }, text)))), h("tbody", {}, rows.map((row) => changeRow(row, range)))),
  );
}

/** @param {Scored & { label: string }} row @param {import("../ui/scale.js").Range} range */
function changeRow({ label, first, second, change }, range) {
  const interval = change && change.low !== null && change.high !== null ? { low: change.low, high: change.high } : null;
  return h(
    "tr", {}, h("th", { scope: "row" }, label), h("td", { className: "number" }, score(first)), h("td", { className: "number" }, score(second)),
    h("td", { className: "number" }, change ? `${change.value >= 0 ? "+" : "−"}${Math.abs(change.value).toFixed(3)}` : "–"),
    h("td", { className: "bars" }, change && intervalBar(change.value, interval, range, { zero: true, tone: TONES[change.finding] })),
    h("td", {}, change && h("small", { className: TONES[change.finding] }, FINDINGS[change.finding])),
  );
}

/** Significant differences first, then large ones. @param {Scored} row */
function strength({ change }) {
  if (change === null) return -1;
  return Math.abs(change.value) + (change.finding === "gained" || change.finding === "lost" ? 10 : change.finding === "noise" ? 5 : 0);
}
