// @ts-check
import { BASE, change } from "../core/api.js";
import { number, size } from "../ui/format.js";
import { fill, h } from "../ui/html.js";
import { tried } from "../ui/parts.js";
import { rows } from "../ui/rows.js";

/** @typedef {{ kind: string, job_id: string | null, name: string, why: string, num_rows: number, size_bytes: number, is_noted: boolean }} Removal */
/** @typedef {{ dry_run: boolean, items: Removal[], num_items: number, num_rows: number, size_bytes: number, is_complete: boolean }} Pass */

/** What the retention rules would remove, and the backup. @type {import("./settings.js").Part} */
export function housekeepingPart({ life }) {
  const [trouble, result] = [h("div"), h("div", { "aria-live": "polite" })];
  const remove = h("button", { type: "button", disabled: true, title: "look first at what would be removed", on: { click: () => { if (confirm("Remove what is listed? This cannot be undone.")) run(false); } } }, "Remove it");
  const run = (/** @type {boolean} */ isDry) => tried(trouble, life, async () => {
    fill(result, h("p", { className: "faint" }, "This takes up to half a minute."));
    /** @type {Pass} */
    const pass = await change("POST", `/v1/housekeeping?dry_run=${isDry}`);
    remove.disabled = !isDry || pass.num_items === 0;
    fill(result, passPart(pass));
  });
  return h(
    "section", {}, h("p", { className: "faint" }, "The server removes by itself what the rules in its settings no longer keep. Here you see what that would be now."),
    h("div", { className: "bar" }, h("button", { type: "button", className: "main", on: { click: () => run(true) } }, "Look what would be removed"), remove), trouble, result,
    h("h2", {}, "Backup"), h("p", {}, "A backup is a copy of the database and the secrets of the server. Make it on the server: ", h("code", {}, "fgd backup FILE"), "; bring it back with ", h("code", {}, "fgd restore FILE"), "."),
  );
}

/** @param {Pass} pass */
function passPart({ dry_run: isDry, items, num_items: count, num_rows: numRows, size_bytes: bytes, is_complete: isComplete }) {
  const text = `${isDry ? "Would remove" : "Removed"} ${number(count)} ${count === 1 ? "item" : "items"}: ${number(numRows)} rows, ${size(bytes)}.`;
  return [
    h("p", { className: "lead" }, count === 0 ? "There is nothing to remove." : text, !isComplete && " More is left: do it again."),
    count > 0 && rows({
      caption: "Removals", items,
      columns: [
        { label: "What", cell: ({ kind }) => kind.replaceAll("_", " ") },
        { label: "Job", cell: ({ job_id: id }) => id && h("a", { href: `${BASE}/jobs/${encodeURIComponent(id)}` }, id) },
        { label: "Name", className: "wide", cell: ({ name }) => name },
        { label: "Why", className: "why", cell: ({ why, is_noted: isNoted }) => [why, isNoted && h("small", {}, " (only noted now; a later pass removes it)")] },
        { label: "Rows", className: "number", cell: (item) => number(item.num_rows) },
        { label: "Size", className: "number", cell: (item) => size(item.size_bytes) },
      ],
    }),
    items.length < count && h("p", { className: "faint" }, `The first ${number(items.length)} are listed.`),
  ].filter((part) => part !== false);
}
