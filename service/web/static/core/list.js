// @ts-check
import { get } from "./api.js";

/** @typedef {import("./types.js").JobSummary} JobSummary */
/** @typedef {import("./types.js").Event} Event */

const PAGE = 200;
const LARGE_PAGE = 500;

/** Jobs that match a filter, newest first, read page by page and kept up to date by events. */
export class JobList {
  /** @type {Map<string, JobSummary>} */
  #jobs = new Map();
  /** @type {string | null} */
  #next = null;
  /** @type {Promise<void> | null} */
  #loading = null;
  isComplete = false;

  /**
   * @param {{ q: string, state: string[], kind: string[], project: string[] }} filter
   * @param {AbortSignal} life
   */
  constructor(filter, life) {
    this.#filter = filter;
    this.#life = life;
  }

  #filter;
  #life;

  /** @returns {JobSummary[]} What is loaded, newest first. */
  get rows() {
    return [...this.#jobs.values()].filter((job) => this.#matches(job)).sort(newestFirst);
  }

  /** Read the next page, if there is one; calls during a request share it. */
  more(limit = PAGE) {
    if (this.isComplete) return Promise.resolve();
    this.#loading ??= this.#read(limit, this.#next).finally(() => { this.#loading = null; });
    return this.#loading;
  }

  /**
   * Read all pages: sorting by anything but age needs them.
   * @param {() => void} progressed Called after each page.
   */
  async all(progressed) {
    while (!this.isComplete && !this.#life.aborted) {
      await this.more(LARGE_PAGE);
      progressed();
    }
  }

  /** Read the newest jobs again: some have been submitted, or match the filter now. */
  async refresh() {
    const page = await this.#page(PAGE, null);
    this.#keep(page.items);
  }

  /**
   * Take an event into account.
   * @param {Event} event
   * @returns {boolean} False if the list lacks the job, so that it must be read.
   */
  apply(event) {
    const job = this.#jobs.get(event.job_id);
    if (job === undefined) return false;
    this.#jobs.set(event.job_id, changed(job, event));
    return true;
  }

  /** @param {JobSummary} job As a request that changed it has answered. */
  put(job) {
    this.#jobs.set(job.job_id, job);
  }

  /** @param {number} limit @param {string | null} cursor */
  async #read(limit, cursor) {
    const page = await this.#page(limit, cursor);
    this.#keep(page.items);
    this.#next = page.next_cursor;
    this.isComplete = page.next_cursor === null;
  }

  /** @param {JobSummary[]} jobs */
  #keep(jobs) {
    for (const job of jobs) this.#jobs.set(job.job_id, job);
  }

  /**
   * @param {number} limit
   * @param {string | null} cursor
   * @returns {Promise<{ items: JobSummary[], next_cursor: string | null }>}
   */
  #page(limit, cursor) {
    return get("/v1/jobs", { query: { ...this.#filter, limit, cursor }, life: this.#life });
  }

  /** The state is the only part of the filter that changes. @param {JobSummary} job */
  #matches(job) {
    return this.#filter.state.length === 0 || this.#filter.state.includes(job.state);
  }
}

/** @param {JobSummary} a @param {JobSummary} b */
function newestFirst(a, b) {
  return a.created_at === b.created_at ? (a.job_id < b.job_id ? 1 : -1) : a.created_at < b.created_at ? 1 : -1;
}

/**
 * Return the job after the event, by the rules of the server's own progress.
 * @param {JobSummary} job
 * @param {Event} event
 * @returns {JobSummary}
 */
export function changed(job, { kind, data, at }) {
  switch (kind) {
    case "state_changed":
      return { ...job, state: data.to_state, reason: data.message || null, ...moments(job, data.to_state, at) };
    case "progress":
    case "epoch_finished": {
      const { epoch, epochs, step, steps, images_per_s, eta_s, values } = data;
      return withProgress(job, { epoch, epochs, step, steps, images_per_s, eta_s, values });
    }
    case "evaluated":
      return job.progress.stage === "control" ? job : withProgress(job, scores(job, data.scores.ap));
    case "sweep_progressed":
      return withProgress(job, { step: data.done, steps: data.planned, eta_s: data.eta_s, best_ap: data.best });
    case "stage_started":
      return withProgress(job, { stage: data.is_control ? "control" : job.progress.stage });
    case "priority_changed":
      return { ...job, priority: data.to_priority };
    default:
      return job;
  }
}

/** @param {JobSummary} job @param {Partial<import("./types.js").Progress>} changes */
function withProgress(job, changes) {
  return { ...job, progress: { ...job.progress, ...changes } };
}

/** @param {JobSummary} job @param {number | null} ap */
function scores(job, ap) {
  const best = job.progress.best_ap;
  return { ap, best_ap: ap === null ? best : Math.max(ap, best ?? ap) };
}

/** @param {JobSummary} job @param {string} state @param {string} at */
function moments(job, state, at) {
  const isOver = ["succeeded", "failed", "cancelled"].includes(state);
  return { started_at: job.started_at ?? (state === "running" ? at : null), ended_at: isOver ? at : null };
}
