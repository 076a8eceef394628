// @ts-check
import { Sweep } from "../core/sweep.js";
import { h } from "../ui/html.js";
import { later, tried } from "../ui/parts.js";
import { sweepActions } from "./sweep_actions.js";
import { TrialsPart } from "./sweep_trials.js";
import { verdictPart } from "./sweep_verdict.js";

/** @typedef {import("../core/types.js").Job} Job */

/** What the page of a sweep shows in place of a job's curves: verdict, space, trials and charts. */
export class SweepPart {
  #trouble = h("div");
  /** @type {Job | null} */
  #job = null;
  /** @type {import("./job_log.js").LogPart | null} */
  #log = null;

  /** @param {string} jobId @param {import("../core/router.js").Query} query @param {AbortSignal} life */
  constructor(jobId, query, life) {
    const sweep = new Sweep(jobId, (work) => tried(this.#trouble, life, work), life);
    this.#sweep = sweep;
    this.#trials = new TrialsPart(jobId, sweep, query, life);
    const actions = sweepActions(jobId, sweep, life);
    this.#setState = actions.setState;
    this.element = h(
      "div", { className: "sweep" }, this.#trouble, verdictPart(sweep, life), actions.element,
      later(life, async () => new (await import("./sweep_space.js")).SpacePart(sweep, query, life).element),
      this.#trials.element,
      later(life, async () => new (await import("./sweep_trial.js")).TrialPart(jobId, sweep, query, life).element),
      later(life, async () => new (await import("./sweep_charts.js")).ChartsPart(jobId, sweep, query, life).element),
      later(life, async () => (await import("./cost.js")).costPart(jobId, life)),
      later(life, async () => {
        const { LogPart } = await import("./job_log.js");
        this.#log = new LogPart(jobId, life);
        if (this.#job) this.#log.setJob(this.#job);
        return this.#log.element;
      }),
    );
    sweep.renew();
  }

  #sweep;
  #trials;
  #setState;

  /** @param {Job} job */
  setJob(job) {
    this.#job = job;
    this.#sweep.setSpec(job.spec);
    this.#setState(job.state);
    this.#trials.setState(job.state);
    this.#log?.setJob(job);
  }

  /** @param {import("../core/types.js").Event} event */
  take(event) {
    this.#sweep.take(event);
  }

  /** Read what may have been missed. */
  renew() {
    this.#sweep.renew();
  }
}
