// @ts-check
import { BASE } from "../core/api.js";
import { duration, number, score, secondsBetween, time } from "../ui/format.js";
import { h } from "../ui/html.js";
import { progressBar, stateBadge } from "../ui/parts.js";

/** @typedef {import("./jobs.js").Row} Row */
/** @typedef {import("../ui/table.js").Column<Row> & { isExtra?: boolean }} JobColumn */

/** All columns; those with `isExtra` are shown on request. @type {JobColumn[]} */
export const COLUMNS = [
  { name: "name", label: "Name", isSortable: true, className: "name", cell: nameCell },
  { name: "state", label: "State", isSortable: true, className: "states", cell: (job) => stateBadge(job.state) },
  { name: "progress", label: "Progress", className: "progress", cell: progressCell },
  { name: "best_ap", label: "Best AP", isSortable: true, className: "number", cell: (job) => score(job.progress.best_ap) },
  { name: "eta", label: "Time left", className: "number wide left", cell: leftCell },
  { name: "project", label: "Project", isSortable: true, className: "wide", cell: (job) => job.project },
  { name: "priority", label: "Priority", isSortable: true, className: "number wide", cell: (job) => job.priority },
  { name: "created", label: "Submitted", isSortable: true, className: "wide time", cell: (job) => time(job.created_at) },
  { name: "by", label: "By", className: "wide", isExtra: true, cell: (job) => job.submitted_by },
  { name: "seed", label: "Seed", className: "number wide", isExtra: true, cell: (job) => job.seed ?? "–" },
  { name: "ap", label: "Last AP", className: "number wide", isExtra: true, cell: (job) => score(job.progress.ap) },
  { name: "loss", label: "Loss", className: "number wide", isExtra: true, cell: (job) => number(job.progress.values.loss) },
  { name: "speed", label: "Images/s", className: "number wide", isExtra: true, cell: (job) => number(job.progress.images_per_s) },
  { name: "started", label: "Started", className: "wide time", isExtra: true, cell: (job) => time(job.started_at) },
  { name: "ended", label: "Ended", className: "wide time", isExtra: true, cell: (job) => time(job.ended_at) },
  { name: "took", label: "Took", className: "number wide left", isExtra: true, cell: (job) => duration(secondsBetween(job.started_at, job.ended_at)) },
];

/** @param {Row} job */
function nameCell(job) {
  return h(
    "span", { className: "two" }, h("a", { href: `${BASE}/jobs/${encodeURIComponent(job.job_id)}` }, job.name),
    h("small", {}, `${job.kind} · ${job.job_id}`),
  );
}

/** @param {Row} job */
function progressCell(job) {
  const why = job.wait?.message ?? job.reason;
  const { step, steps, epoch, epochs, stage } = job.progress;
  const isRunning = ["running", "pausing", "starting"].includes(job.state);
  if (!isRunning && why) return h("small", { title: why }, why);
  if (step === null || !steps) return null;
  const of = epoch === null ? `${number(step)} of ${number(steps)}` : `epoch ${epoch} of ${epochs}`;
  return h("span", { className: "two" }, progressBar(step, steps, `progress of ${job.name}`), h("small", {}, stage ? `${stage}, ${of}` : of));
}

/** @param {Row} job */
function leftCell(job) {
  if (job.wait?.not_before) return h("span", { title: "the job starts at this time or later" }, `from ${time(job.wait.not_before).slice(11)}`);
  return job.state === "running" ? duration(job.progress.eta_s) : "";
}
