// @ts-check
import { BASE, get } from "../core/api.js";
import { live } from "../core/live.js";
import { number, time } from "../ui/format.js";
import { h } from "../ui/html.js";
import { Menu } from "../ui/menu.js";
import { stateBadge, tried } from "../ui/parts.js";
import { revise } from "../ui/revise.js";
import { rows } from "../ui/rows.js";
import { registerEntries } from "./data_register.js";

/** @typedef {{ dataset_id: string, name: string, project: string, format: string, state: string, num_images: Record<string, number>, num_boxes: Record<string, number>, num_categories: number | null, created_at: string, created_by: string, checked_at: string | null }} Summary */

const TYPING_MS = 250;
const SHOWN = 500;

/** The registered data sets. @param {import("../core/router.js").Context} context */
export function open({ query, life }) {
  const trouble = h("div");
  const list = h("div");
  const read = () => tried(trouble, life, async () => {
    const { items, next_cursor: next } = await get("/v1/datasets", { query: { q: query.get("q"), limit: SHOWN }, life });
    revise(list, table(items, query.get("q")), next !== null && h("p", { className: "faint" }, `The newest ${SHOWN} are shown; search for the others.`));
  });
  const again = live({ kinds: ["submitted", "state_changed"], read }, life);
  /** @type {ReturnType<typeof setTimeout>} */
  let timer;
  const onInput = () => { clearTimeout(timer); timer = setTimeout(() => query.write({ q: search.value.trim() }, { replace: true }), TYPING_MS); };
  const search = h("input", { type: "search", placeholder: "Name or id", "aria-label": "Search by name or id", maxLength: 100, value: query.get("q"), on: { input: onInput } });
  query.watch(() => { if (document.activeElement !== search) search.value = query.get("q"); again(); }, life);
  const register = new Menu("Register", life);
  register.show(registerEntries(life));
  return { title: "Data sets – fgd", element: h("section", {}, h("h1", {}, "Data sets"), h("div", { className: "bar" }, search, register.element), trouble, list) };
}

/** @param {Summary[]} items @param {string} text */
function table(items, text) {
  const counts = (/** @type {Record<string, number>} */ bySplit) => Object.entries(bySplit).map(([split, count]) => h("div", {}, `${number(count)} `, h("small", {}, split)));
  return rows({
    caption: "Data sets", items, key: ({ dataset_id }) => dataset_id,
    empty: text ? "No data set has this in its name." : ["No data set is registered yet. Jobs can name files themselves; a registered data set is checked once and has a name. Press Register, or type ", h("code", {}, "fgd data add NAME --coco-train …"), "."],
    columns: [
      { label: "Name", cell: ({ name, dataset_id: id }) => h("a", { href: `${BASE}/data/${encodeURIComponent(id)}` }, name) },
      { label: "State", cell: ({ state }) => stateBadge(state) },
      { label: "Images", className: "number", cell: (item) => counts(item.num_images) },
      { label: "Boxes", className: "number", cell: (item) => counts(item.num_boxes) },
      { label: "Classes", className: "number", cell: (item) => number(item.num_categories) },
      { label: "Format", className: "wide", cell: ({ format }) => format },
      { label: "Project", className: "wide", cell: ({ project }) => project },
      { label: "Checked", className: "wide when", cell: ({ checked_at: at }) => time(at) },
    ],
  });
}
