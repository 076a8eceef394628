// @ts-check
import { pathOf } from "../core/actions.js";
import { get } from "../core/api.js";
import { coalesced } from "../core/timing.js";
import { score } from "../ui/format.js";
import { fill, h } from "../ui/html.js";
import { intervalBar } from "../ui/interval.js";
import { tried } from "../ui/parts.js";

/** @typedef {{ mean: number, low: number, high: number }} Value */
/** @typedef {{ moment: string, own: Value, plain: Value | null, gain: Value | null, sentence: string }} Prediction */
/** @typedef {{ predictions: Prediction[], reached: number | null, track_record: { predictions: number, held: number }, sentence: string }} View */

/** Kinds of jobs that are predicted. */
const PREDICTED = ["train", "distill"];
const READ_MS = 3000;
/** @type {Record<string, string>} */
const MOMENTS = { submission: "at submission", first_tenth: "after a tenth of the epochs", now: "now" };

/** What the job is predicted to reach, from earlier runs and from its own first epochs. */
export class PredictionPart {
  #trouble = h("div");
  #content = h("div");
  element = h("section", { hidden: true }, h("h2", {}, "Prediction"), this.#trouble, this.#content);

  /** @param {string} jobId @param {AbortSignal} life */
  constructor(jobId, life) {
    this.#read = coalesced(() => tried(this.#trouble, life, async () => {
      /** @type {View} */
      const view = await get(`${pathOf(jobId)}/prediction`, { life });
      fill(this.#content, h("p", {}, view.sentence), detailsOf(view));
    }), READ_MS, life);
  }

  #read;

  /** @param {import("../core/types.js").Job} job */
  setJob({ kind }) {
    if (!this.element.hidden || !PREDICTED.includes(kind)) return;
    this.element.hidden = false;
    this.#read();
  }

  /** @param {import("../core/types.js").Event} event */
  take({ kind }) {
    if (["evaluated", "run_finished"].includes(kind) && !this.element.hidden) this.#read();
  }
}

/** The intervals of each moment, and how far earlier predictions held. @param {View} view */
export function detailsOf({ predictions, reached, track_record: { predictions: num, held } }) {
  return [
    predictions.length > 0 && intervals(predictions, reached),
    num > 0 && h("p", { className: "faint" }, `Of ${runs(num)} on this data that were predicted so, ${held} ended inside the interval; 80 % should.`),
  ];
}

/** @param {Prediction[]} predictions @param {number | null} reached */
function intervals(predictions, reached) {
  const newest = predictions[predictions.length - 1];
  /** @type {[string, Value][]} */
  const rows = predictions.map(({ moment, own }) => [`AP, ${MOMENTS[moment] ?? moment}`, own]);
  if (newest.plain) rows.push(["AP without distillation", newest.plain]);
  const range = { low: 0, high: Math.max(reached ?? 0, ...rows.map(([, { high }]) => high)) };
  const row = (/** @type {string} */ name, /** @type {string} */ text, /** @type {HTMLElement | null} */ bar) => h("tr", {}, h("th", { scope: "row" }, name), h("td", { className: "number" }, text), h("td", { className: "bars" }, bar));
  return h("table", { className: "predicted" }, h("caption", { className: "unseen" }, "Predictions with their 80 % intervals"), h(
    "tbody", {}, rows.map(([name, value]) => row(name, textOf(value), intervalBar(value.mean, value, range))),
    newest.gain && row("gain of distilling", textOf(newest.gain), null), reached !== null && row("AP reached", score(reached), intervalBar(reached, null, range)),
  ));
}

/** @param {Value} value */
function textOf({ mean, low, high }) {
  return `${score(mean)} (${score(low)} to ${score(high)})`;
}

/** @param {number} count */
function runs(count) {
  return count === 1 ? "1 run" : `${count} runs`;
}
