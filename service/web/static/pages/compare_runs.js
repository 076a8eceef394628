// @ts-check
import { BASE } from "../core/api.js";
import { score } from "../ui/format.js";
import { h } from "../ui/html.js";
import { stateBadge } from "../ui/parts.js";

/** @typedef {import("../core/compared.js").Run} Run */

const NUM_COLORS = 8;
const HIDDEN = "unseen-text";

/**
 * The runs, their sides in the test, and what they have reached.
 * @param {Run[]} runs
 * @param {Record<"a" | "b", string[]>} at
 * @param {{ remove: (reference: string) => void, put: (reference: string, side: string) => void }} act
 */
export function runsTable(runs, at, act) {
  const headings = [["Colour", HIDDEN], ["Run", ""], ["Side", ""], ["State", ""], ["Best", "number"], ["Progress", "wide"], ["Seed", "number wide"], ["Remove", HIDDEN]];
  return h(
    "div", { className: "wide-content" },
    h(
      "table", { className: "runs" }, h("caption", { className: "unseen" }, "Compared runs"),
      h("thead", {}, h("tr", {}, headings.map(([text, className]) => h("th", { scope: "col", className }, className === HIDDEN ? h("span", { className: "unseen" }, text) : text)))),
      h("tbody", {}, runs.map((run, index) => rowOf(run, index, at, act))),
    ),
    runs.length > 1 && h("p", { className: "faint" }, "Put runs with other seeds of one configuration on the same side: with two or more on each side, the verdict comes from the seeds."),
  );
}

/** @param {Run} run @param {number} index @param {Record<"a" | "b", string[]>} at @param {Parameters<typeof runsTable>[2]} act */
function rowOf({ reference, jobId, trial, name, kind, state, best, progress, seed }, index, at, act) {
  const href = `${BASE}/jobs/${encodeURIComponent(jobId)}${trial === null ? "" : `?trial=${trial}`}`;
  return h(
    "tr", {}, h("td", {}, h("i", { className: `swatch line-${index % NUM_COLORS}`, "aria-hidden": "true" })),
    h("th", { scope: "row" }, h("span", { className: "two" }, h("a", { href }, name), h("small", {}, `${kind} · ${reference}`))),
    h("td", {}, sideChoice(reference, name, at, act.put)), h("td", {}, stateBadge(state)), h("td", { className: "number" }, score(best)),
    h("td", { className: "wide" }, progress), h("td", { className: "number wide" }, seed),
    h("td", {}, h("button", { type: "button", "aria-label": `Remove ${name}`, title: "Remove", on: { click: () => act.remove(reference) } }, "✕")),
  );
}

/** @param {string} reference @param {string} name @param {Record<"a" | "b", string[]>} at @param {(reference: string, side: string) => void} put */
function sideChoice(reference, name, at, put) {
  const select = h("select", { "aria-label": `Side of ${name}`, on: { change: () => put(reference, select.value) } }, [["", "–"], ["a", "A"], ["b", "B"]].map(([value, text]) => h("option", { value }, text)));
  select.value = at.a.includes(reference) ? "a" : at.b.includes(reference) ? "b" : "";
  return select;
}
