// @ts-check
import { change } from "./api.js";

/** @typedef {import("./types.js").Job} Job */
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
 * @returns {Promise<Job>} The job after it.
 */
export function act(action, jobId) {
  return change("POST", `${pathOf(jobId)}/${action.name}`);
}

/**
 * @param {string} jobId
 * @param {{ priority?: number, preemptible?: boolean }} changes
 * @returns {Promise<Job>} The job after it.
 */
export function patch(jobId, changes) {
  return change("PATCH", pathOf(jobId), changes);
}

/** Delete a job that is over, with its files. @param {string} jobId @param {boolean} isForced Also if an alias names a file. */
export function remove(jobId, isForced) {
  return change("DELETE", `${pathOf(jobId)}${isForced ? "?force=true" : ""}`);
}

/** @param {string} jobId */
export function pathOf(jobId) {
  return `/v1/jobs/${encodeURIComponent(jobId)}`;
}
