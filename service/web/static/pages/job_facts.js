// @ts-check
import { FACTS } from "../core/changes.js";
import { eventsOf } from "../core/event_pages.js";
import { Store } from "../core/store.js";
import { number, score } from "../ui/format.js";
import { fill, h } from "../ui/html.js";
import { tried } from "../ui/parts.js";

/** @typedef {import("../core/types.js").Event} Event */

/** What a run has found out: about its data, weights and teachers, and what it warns of. */
export class FactsPart {
  /** By sequence. @type {Store<Map<number, Event>>} */
  #events = new Store(new Map());

  /** @param {string} jobId @param {AbortSignal} life */
  constructor(jobId, life) {
    const [list, trouble] = [h("div"), h("div")];
    this.element = h("section", { className: "facts-part" }, h("h2", {}, "Findings"), trouble, list);
    this.#events.watch((events) => fill(list, factsOf([...events.values()])), life);
    tried(trouble, life, async () => { for (const event of await eventsOf(jobId, FACTS, life)) this.take(event); });
  }

  /** @param {Event} event */
  take(event) {
    if (FACTS.includes(event.kind)) this.#events.set(this.#events.value.set(event.sequence, event));
  }
}

/** @param {Event[]} events */
function factsOf(events) {
  const newest = newestOfEach([...events].sort((a, b) => a.sequence - b.sequence));
  const items = newest.flatMap(({ kind, data }) => LINES[kind]?.(data) ?? []);
  if (items.length === 0) return h("p", { className: "faint" }, "Nothing yet. The run reports here what it finds in its data and its weights.");
  const isWarning = (/** @type {HTMLElement} */ item) => item.className === "warning";
  return h("ul", { className: "findings" }, [...items.filter(isWarning), ...items.filter((item) => !isWarning(item))]);
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
  weights_loaded: ({ role, num_matched, num_total, source }) => [line(num_matched < num_total ? "warning" : "", `${role}: ${number(num_matched)} of ${number(num_total)} keys from ${source}`)],
  teacher_checked: ({ number: place = 1, ap, recorded_ap }) => [line("", `teacher ${place}: AP ${score(ap)}${recorded_ap === null ? "" : `, recorded ${score(recorded_ap)}`}`)],
  scale_chosen: ({ scale, ratio, target }) => [line("", `scale of the distillation ${number(scale)}: the ratio to the task loss was ${number(ratio)} and is ${number(target)} with it`)],
  warned: ({ message }) => [line("warning", message)],
  mean_evaluated: ({ num_epochs, scores, is_best }) => [line("", `mean of the weights of ${num_epochs} epochs: AP ${score(scores.ap)}${is_best ? ", the best checkpoint now" : ""}`)],
  ended_early: ({ epoch, reason }) => [line("", `ended after epoch ${epoch}: ${String(reason).replaceAll("_", " ")}`)],
  diagnosed: ({ diagnosis }) => [costliest(diagnosis)].flat(),
};

/** Name the kind of error that costs most. @param {{ errors: { kind: string, count: number, gain: number | null }[] }} diagnosis */
function costliest({ errors }) {
  const worst = errors.filter(({ gain }) => gain !== null).sort((a, b) => Number(b.gain) - Number(a.gain))[0];
  return worst ? [line("", `most costly kind of error: ${worst.kind}, ${number(worst.count)} times; without it AP50 would rise by ${score(worst.gain)}`)] : [];
}

/** @param {string} className @param {string} text */
function line(className, text) {
  return h("li", { className }, text);
}
