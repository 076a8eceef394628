// @ts-check
import { get } from "./api.js";
import { changed } from "./changes.js";

/** @typedef {import("./types.js").JobSummary} JobSummary */
/** @typedef {import("./types.js").Event} Event */

const PAGE = 200;

/**
 * Which jobs, and in which order.
 * @typedef {object} Wanted
 * @property {string} q
 * @property {string[]} state
 * @property {string[]} kind
 * @property {string[]} project
 * @property {string} seed_group Only runs of this spec with any seed; empty for all.
 * @property {string} sort A name of `SORTS`; with `-` before it the largest comes first.
 */

/** What the server can sort by; a job without the value comes last. @type {Record<string, (job: JobSummary) => string | number | null>} */
export const SORTS = {
  created: (job) => job.created_at,
  name: (job) => job.name.toLowerCase(),
  state: (job) => job.state,
  priority: (job) => job.priority,
  project: (job) => job.project,
  best_ap: (job) => job.progress.best_ap,
};

/** Jobs that match a filter, in the order of the server, read page by page and kept up to date by events. */
export class JobList {
  /** @type {Map<string, JobSummary>} */
  #jobs = new Map();
  /** @type {string | null} */
  #next = null;
  /** Of the newest page: behind it, the list has gaps. @type {JobSummary | null} */
  #last = null;
  /** @type {Promise<void> | null} */
  #loading = null;
  isComplete = false;

  /** @param {Wanted} wanted @param {AbortSignal} life */
  constructor(wanted, life) {
    this.#wanted = wanted;
    this.#life = life;
    this.#compare = comparison(wanted.sort);
  }

  #wanted;
  #life;
  #compare;

  /** @returns {JobSummary[]} What is loaded. */
  get rows() {
    return [...this.#jobs.values()].filter((job) => this.#matches(job)).sort(this.#compare);
  }

  /** Read the next page, if there is one; calls during a request share it. */
  more() {
    if (this.isComplete) return Promise.resolve();
    this.#loading ??= this.#read().finally(() => { this.#loading = null; });
    return this.#loading;
  }

  /** Read the newest jobs again: some have been submitted, or match the filter now. */
  async refresh() {
    const { items } = await this.#page({ sort: "-created" });
    const last = this.#last;
    const isInside = (/** @type {JobSummary} */ job) => this.isComplete || (last !== null && this.#compare(job, last) <= 0);
    for (const job of items) if (this.#jobs.has(job.job_id) || isInside(job)) this.put(job);
  }

  /**
   * Take an event into account.
   * @param {Event} event
   * @returns {boolean} False if the list lacks the job, so that it must be read.
   */
  apply(event) {
    const job = this.#jobs.get(event.job_id);
    if (job === undefined) return false;
    this.put(changed(job, event));
    return true;
  }

  /** @param {JobSummary} job As a request has answered. */
  put(job) {
    this.#jobs.set(job.job_id, job);
  }

  /** @param {string} jobId Of a job that has been deleted. */
  remove(jobId) {
    this.#jobs.delete(jobId);
  }

  async #read() {
    const { items, next_cursor } = await this.#page({ cursor: this.#next });
    for (const job of items) this.put(job);
    this.#last = items[items.length - 1] ?? this.#last;
    this.#next = next_cursor;
    this.isComplete = next_cursor === null;
  }

  /**
   * @param {import("./api.js").Query} changes
   * @returns {Promise<{ items: JobSummary[], next_cursor: string | null }>}
   */
  #page(changes) {
    return get("/v1/jobs", { query: { ...this.#wanted, limit: PAGE, ...changes }, life: this.#life });
  }

  /** The state is the only part of the filter that changes. @param {JobSummary} job */
  #matches(job) {
    return this.#wanted.state.length === 0 || this.#wanted.state.includes(job.state);
  }
}

/** @param {string} sort @returns {(a: JobSummary, b: JobSummary) => number} */
function comparison(sort) {
  const key = SORTS[sort.replace("-", "")] ?? SORTS.created;
  const sign = sort.startsWith("-") ? -1 : 1;
  const keys = [key, SORTS.created, (/** @type {JobSummary} */ job) => job.job_id];
  return (a, b) => {
    for (const each of keys) {
      const [left, right] = [each(a), each(b)];
      if (left === right) continue;
      if (left === null) return 1;
      if (right === null) return -1;
      return left < right ? -sign : sign;
    }
    return 0;
  };
}
