// @ts-check
import { get } from "./api.js";

/**
 * Jobs of one project that differ only in their seed (and name, priority, retries).
 * @typedef {object} SeedGroup
 * @property {string | null} group Null for a job that an older server stored; it has a row of its own.
 * @property {string} name Of the newest job.
 * @property {string} kind
 * @property {string} project
 * @property {number} num_jobs
 * @property {number[]} seeds
 * @property {string[]} job_ids The newest 50.
 * @property {Record<string, number>} states Number of jobs by state.
 * @property {{ n: number, mean: number, std: number | null, low: number | null, high: number | null } | null} best_ap Of the jobs that succeeded.
 * @property {string} created_at Of the newest job.
 */

const PAGE = 100;

/** @param {SeedGroup} group */
export function keyOf({ group, job_ids }) {
  return group ?? job_ids[0];
}

/** Groups of seeds that match a filter, newest first; the server computes means and intervals. */
export class SeedGroups {
  /** @type {Map<string, SeedGroup>} */
  #groups = new Map();
  /** @type {string | null} */
  #next = null;
  /** @type {Promise<void> | null} */
  #loading = null;
  isComplete = false;

  /** @param {import("./list.js").Wanted} wanted @param {AbortSignal} life */
  constructor({ q, state, kind, project }, life) {
    this.#filter = { q, state, kind, project };
    this.#life = life;
  }

  #filter;
  #life;

  get rows() {
    return [...this.#groups.values()].sort((a, b) => (a.created_at < b.created_at ? 1 : -1));
  }

  /** Read the next page, if there is one; calls during a request share it. */
  more() {
    if (this.isComplete) return Promise.resolve();
    this.#loading ??= this.#read().finally(() => { this.#loading = null; });
    return this.#loading;
  }

  /** Read the newest groups again. */
  async refresh() {
    const { items } = await this.#page(null);
    for (const group of items) this.#groups.set(keyOf(group), group);
  }

  async #read() {
    const { items, next_cursor } = await this.#page(this.#next);
    for (const group of items) this.#groups.set(keyOf(group), group);
    this.#next = next_cursor;
    this.isComplete = next_cursor === null;
  }

  /** @param {string | null} cursor @returns {Promise<{ items: SeedGroup[], next_cursor: string | null }>} */
  #page(cursor) {
    return get("/v1/seed-groups", { query: { ...this.#filter, limit: PAGE, cursor }, life: this.#life });
  }
}
