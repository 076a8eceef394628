// @ts-check
import { pathOf } from "../core/actions.js";
import { get } from "../core/api.js";
import { live } from "../core/live.js";
import { coalesced } from "../core/timing.js";
import { duration } from "../ui/format.js";
import { fill, h } from "../ui/html.js";
import { tried } from "../ui/parts.js";

/** @typedef {{ least: number, most: number | null }} Span */
/** @typedef {{ sentence: string, runs: { name: string, count: number, each_s: Span, earlier: number }[] }} Estimate */
/** @typedef {{ expected: Estimate, sentence: string }} Cost */

const READ_MS = 3000;
/** The server needs up to a tenth of a second in a project with many runs. */
const LARGEST_SHARE = 0.05;

/**
 * What a job was expected to cost, what it has cost, and what is left. Its kind is train, distill, chain, study or sweep.
 * @param {string} jobId
 * @param {AbortSignal} life
 */
export function costPart(jobId, life) {
  const [trouble, content] = [h("div"), h("div")];
  const again = coalesced(() => tried(trouble, life, async () => {
    /** @type {Cost} */
    const { sentence, expected } = await get(`${pathOf(jobId)}/cost`, { life });
    fill(content, h("p", {}, sentence), runsOf(expected));
  }), READ_MS, life, LARGEST_SHARE);
  // The runs of a study are jobs of their own: an event of any job may change its cost.
  live({ kinds: ["state_changed", "trial_ended"], read: async () => again() }, life);
  return h("section", {}, h("h2", {}, "Cost"), trouble, content);
}

/** The runs of a job, and how long each should take. @param {Estimate} estimate */
export function runsOf({ runs }) {
  if (runs.length < 2) return null;
  return h("table", { className: "standings" }, h("caption", { className: "unseen" }, "Expected time of each run"), h(
    "thead", {}, h("tr", {}, ["Runs", "Number", "Each takes", "Earlier runs"].map((name) => h("th", { scope: "col" }, name))),
  ), h("tbody", {}, runs.map(({ name, count, each_s: each, earlier }) => h(
    "tr", {}, h("th", { scope: "row" }, name), [String(count), textOf(each), String(earlier)].map((text) => h("td", { className: "number" }, text)),
  ))));
}

/** @param {Span} span */
function textOf({ least, most }) {
  if (most === null) return "unknown";
  const [from, to] = [duration(least), duration(most)];
  return from === to ? from : `${from} to ${to}`;
}
