// @ts-check
import { change } from "./api.js";

/** @typedef {import("./types.js").JobSummary} JobSummary */
/** @typedef {{ name: string, label: string, states: string[], asks: boolean }} Action */

const WAITING = ["blocked", "queued", "paused"];
const ACTIVE = ["starting", "running", "pausing", "lost"];

/** What the API can do with a job, and in which states it does so. @type {Action[]} */
export const ACTIONS = [
  { name: "pause", label: "Pause", states: ["blocked", "queued", "starting", "running", "lost"], asks: false },
  { name: "resume", label: "Resume", states: ["paused", "pausing"], asks: false },
  { name: "retry", label: "Retry", states: ["failed", "cancelled"], asks: false },
  { name: "cancel", label: "Cancel", states: [...WAITING, ...ACTIVE], asks: true },
];

/**
 * @param {Action} action
 * @param {string} jobId
 * @returns {Promise<import("./types.js").Job>} The job after it.
 */
export function act(action, jobId) {
  return change("POST", `/v1/jobs/${encodeURIComponent(jobId)}/${action.name}`);
}
