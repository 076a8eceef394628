// @ts-check
import { pathOf } from "../core/actions.js";
import { BASE, get } from "../core/api.js";
import { score } from "../ui/format.js";
import { fill, h } from "../ui/html.js";
import { stateBadge, tried } from "../ui/parts.js";

/** @typedef {{ path: string, before: unknown, after: unknown }} Change */
/** @typedef {{ job_id: string, name: string, state: string, best_ap: number | null, changes: Change[] }} Relative */
/** @typedef {{ line: Relative[], unknown_parent: boolean, children: Relative[] }} Lineage */

const MOST_CHANGES = 8;

/**
 * The jobs that a job's spec was made from, with what each of them changed, and the jobs made from it; hidden without any.
 * @param {string} jobId
 * @param {AbortSignal} life
 */
export function lineagePart(jobId, life) {
  const [trouble, content] = [h("div"), h("div")];
  const element = h("section", { className: "lineage", hidden: true }, h("h2", {}, "Made from"), trouble, content);
  tried(trouble, life, async () => {
    /** @type {Lineage} */
    const { line, unknown_parent: isCut, children } = await get(`${pathOf(jobId)}/lineage`, { life });
    element.hidden = line.length === 1 && !isCut && children.length === 0;
    fill(
      content, isCut && h("p", { className: "faint" }, "The first of them was made from a job that is deleted, or that you cannot see."),
      h("ol", {}, line.map((relative) => rowOf(relative, jobId))),
      children.length > 0 && [h("h3", {}, "Made from this job"), h("ul", {}, children.map((relative) => rowOf(relative, jobId)))],
    );
  });
  return element;
}

/** @param {Relative} relative @param {string} jobId */
function rowOf({ job_id: id, name, state, best_ap: ap, changes }, jobId) {
  const shown = changes.slice(0, MOST_CHANGES);
  const title = id === jobId ? h("strong", {}, name) : h("a", { href: `${BASE}/jobs/${encodeURIComponent(id)}` }, name);
  return h(
    "li", {}, title, " ", stateBadge(state), ap !== null && ` best AP ${score(ap)}`,
    changes.length > 0 && h("ul", { className: "changes" }, shown.map(changeOf), changes.length > shown.length && h("li", { className: "faint" }, `and ${changes.length - shown.length} more fields`)),
  );
}

/** @param {Change} change */
function changeOf({ path, before, after }) {
  return h("li", {}, h("code", {}, path), ` ${text(before)} → ${text(after)}`);
}

/** @param {unknown} value Null where the field is missing. */
function text(value) {
  return value === null ? "–" : typeof value === "string" ? value : JSON.stringify(value);
}
