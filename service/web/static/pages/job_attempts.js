// @ts-check
import { duration, secondsBetween, time } from "../ui/format.js";
import { h } from "../ui/html.js";
import { stateBadge } from "../ui/parts.js";

/** @typedef {import("../core/types.js").Job} Job */
/** @typedef {import("../core/types.js").Attempt} Attempt */

/** The attempts of a job on a common time line. @param {Job} job */
export function attemptsPart(job) {
  if (job.attempts.length === 0) return [];
  const begin = Date.parse(job.created_at);
  const end = job.ended_at === null ? Date.now() : Date.parse(job.ended_at);
  return [
    h("h2", {}, "Attempts"),
    h("ol", { className: "attempts" }, job.attempts.map((attempt) => h("li", {}, textOf(attempt), barOf(attempt, begin, Math.max(end, begin + 1))))),
  ];
}

/** @param {Attempt} attempt */
function textOf(attempt) {
  const took = duration(secondsBetween(attempt.started_at, attempt.ended_at));
  return h(
    "p", {}, stateBadge(attempt.cause ?? (attempt.started_at === null ? "starting" : "running")),
    ` ${attempt.number}, from ${time(attempt.started_at ?? attempt.created_at)}, ${took}`, attempt.error && h("small", {}, ` ${attempt.error.message}`),
  );
}

/** @param {Attempt} attempt @param {number} begin @param {number} end Both in ms. */
function barOf(attempt, begin, end) {
  const part = (/** @type {string} */ at) => (Date.parse(at) - begin) / (end - begin);
  const from = part(attempt.created_at);
  const to = attempt.ended_at === null ? 1 : part(attempt.ended_at);
  const bar = h("i");
  bar.style.marginInlineStart = `${100 * from}%`;
  bar.style.inlineSize = `${Math.max(0.5, 100 * (to - from))}%`;
  return h("span", { className: "bar-line", "aria-hidden": "true" }, bar);
}
