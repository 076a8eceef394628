// @ts-check
import { BASE, change, get } from "../core/api.js";
import { live } from "../core/live.js";
import { missingRole, session } from "../core/session.js";
import { ask } from "../ui/dialog.js";
import { number } from "../ui/format.js";
import { h } from "../ui/html.js";
import { tried } from "../ui/parts.js";
import { revise } from "../ui/revise.js";
import { rows } from "../ui/rows.js";

/** @typedef {import("./queue.js").Project} Project */

/** @type {import("./settings.js").Part} */
export function projectsPart({ life }) {
  const [trouble, list] = [h("div"), h("div")];
  const why = missingRole("admin") ?? (session.value?.project ? "needs an admin of all projects" : null);
  const read = () => tried(trouble, life, async () => revise(list, table((await get("/v1/projects", { life })).items, edit, why)));
  const again = live({ kinds: ["submitted", "state_changed"], read }, life);
  const edit = (/** @type {Partial<Project>} */ project) => ask({
    title: project.name ? `Settings of ${project.name}` : "Set up a project", action: "Save", text: "They apply to waiting jobs at once. Running jobs go on.",
    fields: [
      ...(project.name ? [] : [{ name: "name", label: "Name", limits: { required: true } }]),
      { name: "weight", label: "Weight", type: "number", value: project.weight ?? 1, limits: { min: 0, step: "any" }, help: "Its share of the cluster, relative to the other projects with waiting jobs." },
      { name: "jobs", label: "Most jobs at once", value: textOf(project.max_running_jobs), help: "Empty: no limit." },
      { name: "gpus", label: "Most GPUs at once", value: textOf(project.max_gpus), help: "Empty: no limit." },
    ],
    send: async ({ name, weight, jobs, gpus }) => {
      await change("PUT", `/v1/projects/${encodeURIComponent(project.name ?? name)}`, { weight, max_running_jobs: limitOf(jobs), max_gpus: limitOf(gpus) });
      again();
    },
  }, life);
  return h("section", {}, h("div", { className: "bar" }, h("button", { type: "button", disabled: why !== null, title: why ?? "", on: { click: () => edit({}) } }, "Set up a project")), trouble, list);
}

/** @param {number | null | undefined} limit */
function textOf(limit) {
  return limit === null || limit === undefined ? "" : String(limit);
}

/** A word that is no number is sent as it is: the server says what is wrong with it. @param {string} text */
function limitOf(text) {
  return text === "" ? null : Number.isFinite(Number(text)) ? Number(text) : text;
}

/** @param {Project[]} items @param {(project: Project) => void} edit @param {string | null} why */
function table(items, edit, why) {
  const limit = (/** @type {number | null} */ most) => (most === null ? "none" : number(most));
  return rows({
    caption: "Projects", items, key: ({ name }) => name, empty: "There is no project yet. A job that names a project makes it.",
    columns: [
      { label: "Project", cell: ({ name }) => h("a", { href: `${BASE}/?project=${encodeURIComponent(name)}` }, name) },
      { label: "Weight", className: "number", cell: ({ weight }) => number(weight) },
      { label: "Most jobs", className: "number", cell: (project) => limit(project.max_running_jobs) },
      { label: "Most GPUs", className: "number", cell: (project) => limit(project.max_gpus) },
      { label: "Running", className: "number wide", cell: (project) => number(project.running_jobs) },
      { label: "Waiting", className: "number wide", cell: (project) => number(project.queued_jobs) },
      { label: "Actions", cell: (project) => h("button", { type: "button", disabled: why !== null, title: why ?? "", "aria-label": `Change ${project.name}`, on: { click: () => edit(project) } }, "Change") },
    ],
  });
}
