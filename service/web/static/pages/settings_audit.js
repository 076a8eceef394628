// @ts-check
import { get } from "../core/api.js";
import { time } from "../ui/format.js";
import { fill, h } from "../ui/html.js";
import { tried } from "../ui/parts.js";
import { rows } from "../ui/rows.js";

/** @typedef {{ entry_id: number, at: string, actor: string, action: string, target: string, project: string | null, status: number, details: Record<string, unknown> }} Entry */

const PAGE = 100;
/** Conditions of the list; the address holds them. @type {Record<string, string>} */
const FILTERS = { actor: "By (name of the token)", action: "Action, such as cancel_job", target: "Text in the target", in: "Project" };

/** Who changed what. @type {import("./settings.js").Part} */
export function auditPart({ query, life }) {
  const [trouble, list] = [h("div"), h("div")];
  /** @type {Entry[]} */
  let entries = [];
  const more = h("button", { type: "button", hidden: true, on: { click: () => read(more.value) } }, "Older entries");
  let newest = 0;
  const read = (cursor = "") => tried(trouble, life, async () => {
    const own = (newest += 1);
    const page = await get("/v1/audit", { query: { actor: query.get("actor"), action: query.get("action"), target: query.get("target"), project: query.get("in"), cursor, limit: PAGE }, life });
    // The answer for the conditions before may come later.
    if (own !== newest) return;
    entries = cursor ? [...entries, ...page.items] : page.items;
    more.value = page.next_cursor ?? "";
    more.hidden = page.next_cursor === null;
    fill(list, table(entries));
  });
  const inputs = Object.entries(FILTERS).map(([name, label]) => h("input", { type: "search", name, placeholder: label, "aria-label": label, maxLength: 300, on: { change: (/** @type {any} */ event) => query.write({ [name]: event.target.value.trim() }, { replace: true }) } }));
  query.watch(() => {
    for (const input of inputs) input.value = query.get(input.name);
    read();
  }, life);
  return h("section", {}, h("form", { className: "bar", role: "search", on: { submit: (/** @type {Event} */ event) => event.preventDefault() } }, inputs), trouble, list, more);
}

/** @param {Entry[]} items */
function table(items) {
  return rows({
    caption: "Audit trail", items, empty: "No entry matches. Every request that changes something is listed here, also refused ones.",
    columns: [
      { label: "At", className: "when", cell: ({ at }) => time(at) },
      { label: "By", cell: ({ actor }) => actor },
      { label: "Action", cell: ({ action }) => action.replaceAll("_", " ") },
      { label: "Target", cell: ({ target, details }) => [target, h("br"), h("small", {}, Object.entries(details).map(([name, value]) => `${name} ${JSON.stringify(value)}`).join(", "))] },
      { label: "Project", className: "wide", cell: ({ project }) => project },
      { label: "Answer", cell: ({ status }) => h("span", { className: status < 400 ? "good" : "bad" }, status < 400 ? `${status} done` : `${status} refused`) },
    ],
  });
}
