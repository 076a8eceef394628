// @ts-check
import { fill, h } from "../ui/html.js";
import { later } from "../ui/parts.js";
import { CurvesPart } from "./job_curves.js";
import { FactsPart } from "./job_facts.js";
import { LogPart } from "./job_log.js";
import { PredictionPart } from "./prediction.js";

/** Kinds of jobs with this tab whose cost is estimated. */
const PRICED = ["train", "distill", "chain"];

/** The first tab of a job: its curves, and beside them what it is predicted to reach, what the run found and what it prints. */
export class ProgressTab {
  /** @param {string} jobId @param {import("../core/router.js").Query} query @param {AbortSignal} life */
  constructor(jobId, query, life) {
    this.#curves = new CurvesPart(jobId, query, life);
    this.#facts = new FactsPart(jobId, life);
    this.#log = new LogPart(jobId, life);
    this.#showCost = () => fill(this.#cost, later(life, async () => (await import("./cost.js")).costPart(jobId, life)));
    this.#prediction = new PredictionPart(jobId, life);
    this.element = h("div", { className: "watching" }, this.#curves.element, h("aside", {}, this.#prediction.element, this.#cost, this.#facts.element, this.#log.element));
  }

  #curves;
  #facts;
  #log;
  #cost = h("div");
  #showCost;
  #prediction;

  /** @param {import("../core/types.js").Job} job */
  setJob(job) {
    this.#curves.setProgress(job.progress);
    this.#log.setJob(job);
    if (PRICED.includes(job.kind) && this.#cost.childElementCount === 0) this.#showCost();
    this.#prediction.setJob(job);
  }

  /** @param {import("../core/types.js").Event} event */
  take(event) {
    this.#curves.take(event);
    this.#facts.take(event);
    this.#prediction.take(event);
  }

  /** Read what may have been missed. */
  renew() {
    this.#curves.renew();
  }
}
