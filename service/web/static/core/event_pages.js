// @ts-check
import { get } from "./api.js";

/** @typedef {import("./types.js").Event} Event */
/** Which events: of these kinds, and of these jobs; an empty list of jobs means all. @typedef {{ kinds: string[], jobs: string[] }} Filter */
/** Events, and the position behind them. @typedef {{ items: Event[], next_cursor: string, has_more: boolean }} EventPage */

const PAGE = 1000;

/**
 * Return the position behind all events so far.
 * @returns {Promise<string>}
 */
export async function newestPosition() {
  /** @type {EventPage} */
  const { next_cursor } = await get("/v1/events", { query: { limit: 1 } });
  return next_cursor;
}

/**
 * Read the events after a position, page by page until there are no more.
 * @param {Filter} filter
 * @param {string} after A position; `0` is the beginning.
 * @param {AbortSignal} [life]
 * @yields {EventPage}
 */
export async function* eventPages({ kinds, jobs }, after, life) {
  for (let position = after; ;) {
    /** @type {EventPage} */
    const page = await get("/v1/events", { query: { kind: kinds, job_id: jobs, after: position, limit: PAGE }, life });
    yield page;
    if (!page.has_more) return;
    position = page.next_cursor;
  }
}

/**
 * Read the events of some kinds that a job has had so far, oldest first.
 * @param {string} jobId
 * @param {string[]} kinds
 * @param {AbortSignal} life
 */
export async function eventsOf(jobId, kinds, life) {
  /** @type {Event[]} */
  const found = [];
  for await (const { items } of eventPages({ kinds, jobs: [jobId] }, "0", life)) found.push(...items);
  return found.sort((a, b) => a.sequence - b.sequence);
}
