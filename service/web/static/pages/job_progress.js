// @ts-check
import { h } from "../ui/html.js";
import { CurvesPart } from "./job_curves.js";
import { FactsPart } from "./job_facts.js";
import { LogPart } from "./job_log.js";
import { PredictionPart } from "./prediction.js";

/** The first tab of a job: its curves, and beside them what it is predicted to reach, what the run found and what it prints. */
export class ProgressTab {
  /** @param {string} jobId @param {import("../core/router.js").Query} query @param {AbortSignal} life */
  constructor(jobId, query, life) {
    this.#curves = new CurvesPart(jobId, query, life);
    this.#facts = new FactsPart(jobId, life);
    this.#log = new LogPart(jobId, life);
    this.#prediction = new PredictionPart(jobId, life);
    this.element = h("div", { className: "watching" }, this.#curves.element, h("aside", {}, this.#prediction.element, this.#facts.element, this.#log.element));
  }

  #curves;
  #facts;
  #log;
  #prediction;

  /** @param {import("../core/types.js").Job} job */
  setJob(job) {
    this.#curves.setProgress(job.progress);
    this.#log.setJob(job);
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
