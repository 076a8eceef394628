// @ts-check
import { BASE, get } from "../core/api.js";
import { live } from "../core/live.js";
import { duration, number, secondsBetween, time } from "../ui/format.js";
import { h } from "../ui/html.js";
import { stateBadge, tried } from "../ui/parts.js";
import { revise } from "../ui/revise.js";
import { rows, shareBar } from "../ui/rows.js";

/** @typedef {{ node_id: string, cpus_total: number, cpus_free: number, gpus_total: number, gpus_free: number }} Node */
/** @typedef {{ job_id: string, name: string, project: string, kind: string, state: string, priority: number, submitted_by: string, preemptible: boolean, cpus: number, gpus: number, workers: number, started_at: string | null, eta_s: number | null }} Holder */
/** @typedef {{ job_id: string, position: number, name: string, project: string, priority: number, cpus: number, gpus: number, pieces: number, workers: number, code: string, message: string, not_before: string | null, created_at: string }} Waiting */
/** @typedef {{ items: Waiting[], running: Holder[], num_waiting: number, nodes: Node[] | null }} Queue */
/** @typedef {{ name: string, weight: number, max_running_jobs: number | null, max_gpus: number | null, running_jobs: number, gpus: number, queued_jobs: number }} Project */

const KINDS = ["submitted", "state_changed", "priority_changed"];
const SHOWN = 200;

/** What the cluster has, who uses it, and why each job waits. @param {import("../core/router.js").Context} context */
export function open({ life }) {
  const trouble = h("div");
  const content = h("div", {}, h("p", { className: "faint" }, "Reading the queue."));
  const read = () => tried(trouble, life, async () => {
    const [queue, projects] = await Promise.all([get("/v1/queue", { query: { limit: SHOWN }, life }), get("/v1/projects", { life })]);
    revise(content, parts(queue, projects.items));
  });
  live({ kinds: KINDS, read }, life);
  return { title: "Queue – fgd", element: h("section", { className: "queue" }, h("h1", {}, "Queue and cluster"), trouble, content) };
}

/** @param {Queue} queue @param {Project[]} projects */
function parts(queue, projects) {
  return [
    summary(queue), clusterPart(queue.nodes), h("h2", {}, "Running"), runningPart(queue.running),
    h("h2", {}, `Waiting (${number(queue.num_waiting)})`), waitingPart(queue), h("h2", {}, "Shares of the projects"), ...sharesPart(queue, projects),
  ];
}

/** @param {Queue} queue */
function summary({ nodes, running, num_waiting: waiting }) {
  if (nodes === null) return h("p", { className: "notice bad" }, "The Ray cluster does not answer. Running jobs go on; waiting ones start when it is back.");
  const free = (/** @type {"cpus" | "gpus"} */ what) => `${number(sum(nodes, `${what}_free`))} of ${number(sum(nodes, `${what}_total`))} ${what.slice(0, 3).toUpperCase()}s are free`;
  const hasGpus = sum(nodes, "gpus_total") > 0;
  const jobs = (/** @type {number} */ count) => (count === 1 ? "1 job" : `${number(count)} jobs`);
  return h("p", { className: "lead" }, `${jobs(running.length)} on the cluster, ${jobs(waiting)} waiting. ${free("cpus")}${hasGpus ? `, ${free("gpus")}` : ", there are no GPUs"}.`);
}

/** @param {Node[]} nodes @param {"cpus_free" | "cpus_total" | "gpus_free" | "gpus_total"} name */
function sum(nodes, name) {
  return nodes.reduce((total, node) => total + node[name], 0);
}

/** @param {Node[] | null} nodes */
function clusterPart(nodes) {
  if (nodes === null) return null;
  const line = (/** @type {string} */ what, /** @type {number} */ free, /** @type {number} */ total) => total > 0 && h("p", {}, shareBar((total - free) / total, `${what} in use`), ` ${number(total - free)} of ${number(total)} ${what}`);
  return h("div", { className: "cards" }, nodes.map((node) => h("article", { className: "card" }, h("strong", { title: node.node_id }, node.node_id.slice(0, 16)), line("CPUs", node.cpus_free, node.cpus_total), line("GPUs", node.gpus_free, node.gpus_total))));
}

/** @param {{ job_id: string, name: string }} job */
function jobLink({ job_id, name }) {
  return h("a", { href: `${BASE}/jobs/${encodeURIComponent(job_id)}` }, name);
}

/** @param {Holder[]} running */
function runningPart(running) {
  return rows({
    caption: "Jobs on the cluster", items: running, key: ({ job_id }) => job_id, empty: "Nothing runs.",
    columns: [
      { label: "Job", cell: (job) => [jobLink(job), " ", h("small", {}, job.kind)] },
      { label: "State", cell: ({ state }) => stateBadge(state) },
      { label: "Holds", cell: holds },
      { label: "Project", className: "wide", cell: ({ project }) => project },
      { label: "By", className: "wide", cell: ({ submitted_by: by }) => by },
      { label: "Runs for", className: "number", cell: ({ started_at: at }) => (at === null ? "–" : duration(secondsBetween(at, null))) },
      { label: "Left", className: "number", cell: ({ eta_s: left }) => duration(left) },
      { label: "May be paused", className: "wide", cell: ({ preemptible }) => (preemptible ? "yes" : "no") },
    ],
  });
}

/** @param {{ cpus: number, gpus: number, workers: number }} job */
function holds({ cpus, gpus, workers }) {
  return `${number(cpus)} CPU${cpus === 1 ? "" : "s"}${gpus ? `, ${number(gpus)} GPU${gpus === 1 ? "" : "s"}` : ""}${workers > 1 ? ` (${workers} workers)` : ""}`;
}

/** @param {Queue} queue */
function waitingPart({ items, num_waiting: waiting }) {
  const table = rows({
    caption: "Waiting jobs", items, key: ({ job_id }) => job_id, empty: ["Nothing waits. ", h("a", { href: `${BASE}/submit` }, "Submit a job"), "."],
    columns: [
      { label: "Place", className: "number", cell: ({ position }) => number(position) },
      { label: "Job", cell: jobLink },
      { label: "Why it waits", className: "why", cell: ({ message }) => message },
      { label: "May start", className: "when", cell: ({ not_before: at }) => (at === null ? "not known" : time(at)) },
      { label: "Waits for", className: "number", cell: ({ created_at: at }) => duration(secondsBetween(at, null)) },
      { label: "Needs", className: "wide", cell: ({ cpus, gpus, workers }) => holds({ cpus: cpus * workers, gpus: gpus * workers, workers }) },
      { label: "Priority", className: "number wide", cell: ({ priority }) => priority },
      { label: "Project", className: "wide", cell: ({ project }) => project },
    ],
  });
  return h("div", {}, table, waiting > items.length && h("p", { className: "faint" }, `The first ${number(items.length)} of ${number(waiting)} are shown.`));
}

/** @param {Queue} queue @param {Project[]} projects */
function sharesPart({ running, nodes }, projects) {
  const [cpus, gpus] = [sum(nodes ?? [], "cpus_total"), sum(nodes ?? [], "gpus_total")];
  const held = (/** @type {string} */ project, /** @type {"cpus" | "gpus"} */ what) => running.filter((job) => job.project === project).reduce((total, job) => total + job[what], 0);
  // The larger part counts, of CPUs or of GPUs, as for the rule that starts jobs.
  const share = (/** @type {string} */ project) => Math.max(cpus ? held(project, "cpus") / cpus : 0, gpus ? held(project, "gpus") / gpus : 0);
  const limit = (/** @type {number | null} */ most) => (most === null ? "none" : number(most));
  return [
    rows({
      caption: "Shares of the projects", items: projects, key: ({ name }) => name,
      columns: [
        { label: "Project", cell: ({ name }) => h("a", { href: `${BASE}/?project=${encodeURIComponent(name)}` }, name) },
        { label: "Part of the cluster", cell: ({ name }) => [shareBar(share(name), `part of the cluster of ${name}`), ` ${Math.round(100 * share(name))} %`] },
        { label: "Weight", className: "number", cell: ({ weight }) => number(weight) },
        { label: "Running", className: "number", cell: (project) => number(project.running_jobs) },
        { label: "Waiting", className: "number", cell: (project) => number(project.queued_jobs) },
        { label: "Most jobs at once", className: "number wide", cell: (project) => limit(project.max_running_jobs) },
        { label: "Most GPUs at once", className: "number wide", cell: (project) => limit(project.max_gpus) },
      ],
    }),
    h("p", { className: "faint" }, "Of jobs with the same priority, those of the project start first whose part of the cluster is smallest for its weight. An admin sets weights and limits in ", h("a", { href: `${BASE}/settings?tab=projects` }, "Settings"), "."),
  ].flat();
}
