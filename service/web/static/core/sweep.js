// @ts-check
import { get } from "./api.js";
import { Store } from "./store.js";
import { coalesced } from "./timing.js";

/**
 * @typedef {object} Trial
 * @property {number} trial
 * @property {string} origin
 * @property {Record<string, unknown>} values By field of the base.
 * @property {number} seed
 * @property {number | null} repeats
 * @property {string} state
 * @property {boolean} by_user
 * @property {number} epoch
 * @property {number} epochs
 * @property {(number | null)[]} objectives
 * @property {number | null} best_epoch
 * @property {number} train_s
 * @property {{ code: string, message: string } | null} error
 * @property {string | null} checkpoint
 * @property {string | null} dashboard_url
 */
/**
 * @typedef {object} Standing
 * @property {number} rank
 * @property {number} trial
 * @property {string} origin
 * @property {Record<string, unknown>} values
 * @property {number[]} trials
 * @property {number[]} seed_values
 * @property {number | null} chosen_at
 * @property {(number | null)[]} objectives
 * @property {{ low: number, high: number } | null} interval
 * @property {boolean} is_finished
 * @property {boolean} is_comparable
 * @property {boolean | null} is_on_front
 */
/** @typedef {{ type: "uniform" | "log_uniform" | "integers" | "choice", low: number, high: number, log?: boolean, values: unknown[] }} Dimension */
/** @typedef {{ metric: string, direction: "maximize" | "minimize" }} Objective */
/** What a sweep searches, and for what. @typedef {{ objectives: Objective[], dimensions: Record<string, Dimension> }} Question */
/**
 * The report on a sweep without its trials.
 * @typedef {object} Findings
 * @property {boolean} is_over
 * @property {Record<string, any> & { name: string, objectives: Objective[] }} spec
 * @property {Record<string, Dimension>} dimensions
 * @property {string[]} verdict
 * @property {{ trial: number, spec: Record<string, unknown>, caution: string | null } | null} recommendation
 * @property {Standing[]} standings The best ones.
 * @property {number[][]} ranking Trials of all configurations, best first.
 * @property {{ shares: Record<string, number>, warning: string | null } | null} importance
 * @property {{ dimensions: { path: string, verdict: string, finding: string, to_know: string }[], basis: string, holds_for: string } | null} effects
 * @property {{ epochs_saved: number, num_stopped: number } | null} stopping
 * @property {{ code: string, message: string, trials: number[] }[]} failures
 * @property {{ trials: number, epochs: number, train_s: number, wall_s: number, gpu_hours: number, attempts: number }} spent
 */

const TRIALS_MS = 1000;
const FINDINGS_MS = 3000;
/** The server needs up to seconds for the findings of a large sweep; it shall do so for this part of the time at most. */
const LARGEST_SHARE = 0.2;
const MOST_BY_NUMBER = 50;
/** As many as the page shows; those of thousands of trials have megabytes. */
const NUM_STANDINGS = 6;

/** Kinds of events after which a trial, or what follows from the trials, has changed. */
export const SWEEP_KINDS = ["trial_started", "trial_reported", "trial_ended", "sweep_progressed", "budget_raised", "trial_asked"];

/** The trials and the findings of a sweep, kept up to date by its events. */
export class Sweep {
  /** By number. @type {Map<number, Trial>} */
  trials = new Map();
  /** Takes the server seconds for a large sweep, so that the trials are there first. @type {Findings | null} */
  findings = null;
  /** @type {Question | null} */
  question = null;
  /** The job's. @type {Record<string, any>} */
  spec = {};
  /** Counts changes of either. */
  changes = new Store(0);
  /** Counts new findings. */
  conclusions = new Store(0);
  /** Numbers of trials to read; null: all. @type {Set<number> | null} */
  #due = null;

  /**
   * @param {string} jobId
   * @param {(work: () => Promise<void>) => Promise<void>} tried Shows why a request failed.
   * @param {AbortSignal} life
   */
  constructor(jobId, tried, life) {
    this.#path = `/v1/jobs/${encodeURIComponent(jobId)}`;
    this.#life = life;
    this.#readTrials = coalesced(() => tried(() => this.#updateTrials()), TRIALS_MS, life);
    this.#readFindings = coalesced(() => tried(() => this.#updateFindings()), FINDINGS_MS, life, LARGEST_SHARE);
  }

  #path;
  #life;
  #readTrials;
  #readFindings;

  /** @param {Record<string, any>} spec The job's; the findings have the dimensions of a space that it only names. */
  setSpec(spec) {
    this.spec = spec;
    if (this.question !== null || typeof spec.space === "string") return;
    this.question = { objectives: spec.objectives, dimensions: spec.space };
    this.changes.set(this.changes.value + 1);
  }

  /** Read everything. */
  renew() {
    this.#due = null;
    this.#readTrials();
    this.#readFindings();
  }

  /** @param {import("./types.js").Event} event */
  take({ kind, data }) {
    if (kind === "state_changed") return this.renew();
    if (!SWEEP_KINDS.includes(kind)) return;
    if (data.trial !== undefined) {
      this.#due?.add(data.trial);
      this.#readTrials();
    }
    this.#readFindings();
  }

  async #updateTrials() {
    const due = this.#due;
    if (due?.size === 0) return;
    this.#due = new Set();
    const number = due === null || due.size > MOST_BY_NUMBER ? [] : [...due].map(String);
    try {
      /** @type {{ items: Trial[] }} */
      const { items } = await get(`${this.#path}/trials`, { query: { number }, life: this.#life });
      for (const trial of items) this.trials.set(trial.trial, trial);
      this.changes.set(this.changes.value + 1);
    } catch (error) {
      this.#due = null;
      throw error;
    }
  }

  async #updateFindings() {
    /** @type {Findings} */
    const findings = await get(`${this.#path}/report`, { query: { trials: false, standings: NUM_STANDINGS }, life: this.#life });
    this.findings = findings;
    this.question = { objectives: findings.spec.objectives, dimensions: findings.dimensions };
    this.changes.set(this.changes.value + 1);
    this.conclusions.set(this.conclusions.value + 1);
  }
}

/**
 * Whether a trial belongs to the search: baselines and repeats do not.
 * @param {Trial} trial
 */
export function isSearched({ origin, repeats }) {
  return !["plain", "published"].includes(origin) && repeats === null;
}

/**
 * Sort trials by their first objective, best first; trials without a value come last.
 * @param {Iterable<Trial>} trials
 * @param {Objective} objective
 */
export function bestFirst(trials, { direction }) {
  const sign = direction === "maximize" ? -1 : 1;
  return [...trials].sort((a, b) => ranked(a, sign) - ranked(b, sign) || a.trial - b.trial);
}

/** @param {Trial} trial @param {number} sign */
function ranked({ objectives: [value] }, sign) {
  return value === null ? Number.MAX_VALUE : sign * value;
}
