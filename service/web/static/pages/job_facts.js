// @ts-check
import { get } from "../core/api.js";
import { number, score } from "../ui/format.js";
import { h } from "../ui/html.js";

/** @typedef {import("../core/types.js").Event} Event */

/** Kinds of events that say something about the data, the weights or the run. */
export const FACTS = ["data_checked", "weights_loaded", "teacher_checked", "scale_chosen", "warned"];
const PAGE = 1000;

/**
 * Read all facts of a job so far.
 * @param {string} jobId
 * @param {AbortSignal} life
 */
export async function readFacts(jobId, life) {
  /** @type {Event[]} */
  const found = [];
  for (let after = "0"; ;) {
    /** @type {{ items: Event[], next_cursor: string }} */
    const page = await get("/v1/events", { query: { job_id: jobId, kind: FACTS, after, limit: PAGE }, life });
    found.push(...page.items);
    if (page.items.length < PAGE) return found;
    after = page.next_cursor;
  }
}

/** @param {Event[]} events */
export function factsPart(events) {
  const newest = newestOfEach([...events].sort((a, b) => a.sequence - b.sequence));
  const items = newest.flatMap(({ kind, data }) => LINES[kind]?.(data) ?? []);
  return items.length === 0 ? [] : [h("h2", {}, "Findings"), h("ul", { className: "findings" }, items)];
}

/** A later attempt reports the same facts again: keep the newest of each subject. @param {Event[]} events */
function newestOfEach(events) {
  return [...new Map(events.map((event) => [subject(event), event])).values()];
}

/** @param {Event} event */
function subject({ kind, data }) {
  return [kind, data.split, data.role, data.number, data.teacher, data.code, data.message].join();
}

/** What a kind says, in lines. @type {Record<string, (data: Record<string, any>) => HTMLElement[]>} */
const LINES = {
  data_checked: ({ split, num_images, num_boxes, findings }) => [
    line("", `${split}: ${number(num_images)} images, ${number(num_boxes)} boxes`),
    .../** @type {any[]} */ (findings).map(({ problem, action, count, meaning }) => line("warning", `${split}: ${number(count)} × ${problem.replaceAll("_", " ")}, ${action}. ${meaning}`)),
  ],
  weights_loaded: ({ role, num_matched, num_total, source }) => [line(num_matched < num_total ? "warning" : "", `${role}: ${num_matched} of ${num_total} keys from ${source}`)],
  teacher_checked: ({ number: place, ap, recorded_ap }) => [line("", `teacher ${place}: AP ${score(ap)}${recorded_ap === null ? "" : `, recorded ${score(recorded_ap)}`}`)],
  scale_chosen: ({ scale, ratio, target }) => [line("", `scale of the distillation ${number(scale)}: the ratio to the task loss was ${number(ratio)} and is ${number(target)} with it`)],
  warned: ({ message }) => [line("warning", message)],
};

/** @param {string} className @param {string} text */
function line(className, text) {
  return h("li", { className }, text);
}
