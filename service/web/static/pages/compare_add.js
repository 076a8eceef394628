// @ts-check
import { get } from "../core/api.js";
import { later } from "../core/timing.js";
import { fill, h } from "../ui/html.js";
import { tried } from "../ui/parts.js";

const MOST_FOUND = 8;

/**
 * A field that finds jobs by name or id.
 * @param {(reference: string) => void} add
 * @param {AbortSignal} life
 */
export function addForm(add, life) {
  const problem = h("div");
  const list = h("ul", { className: "found", "aria-live": "polite" });
  const field = h("input", { type: "search", placeholder: "Add a job: name, id, or ID/trial/7", maxLength: 100, "aria-label": "Add a job by name or id" });
  const choose = (/** @type {string} */ reference) => { add(reference); field.value = ""; fill(list); };
  field.addEventListener("input", later(() => tried(problem, life, async () => {
    const text = field.value.trim();
    /** @type {{ items: import("../core/types.js").JobSummary[] }} */
    const { items } = text === "" || text.includes("/") ? { items: [] } : await get("/v1/jobs", { query: { q: text, limit: MOST_FOUND }, life });
    fill(list, items.map((job) => h("li", {}, h("button", { type: "button", on: { click: () => choose(job.job_id) } }, `${job.name} `, h("small", {}, `${job.kind} · ${job.state} · ${job.job_id}`)))));
  })));
  const onSubmit = (/** @type {Event} */ event) => {
    event.preventDefault();
    const first = list.querySelector("button");
    if (field.value.includes("/")) choose(field.value.trim());
    else if (first) first.click();
  };
  return h("form", { className: "add", role: "search", on: { submit: onSubmit } }, field, list, problem);
}
