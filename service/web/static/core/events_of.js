// @ts-check
import { get } from "./api.js";

/** @typedef {import("./types.js").Event} Event */

const PAGE = 1000;

/**
 * Read the events of some kinds that a job has had so far, oldest first.
 * @param {string} jobId
 * @param {string[]} kinds
 * @param {AbortSignal} life
 */
export async function eventsOf(jobId, kinds, life) {
  /** @type {Event[]} */
  const found = [];
  for (let after = "0"; ;) {
    /** @type {{ items: Event[], next_cursor: string }} */
    const page = await get("/v1/events", { query: { job_id: jobId, kind: kinds, after, limit: PAGE }, life });
    found.push(...page.items);
    if (page.items.length < PAGE) return found.sort((a, b) => a.sequence - b.sequence);
    after = page.next_cursor;
  }
}
