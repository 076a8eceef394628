// @ts-check
import { BASE } from "../core/api.js";
import { duration, score, time } from "../ui/format.js";
import { h } from "../ui/html.js";
import { progressBar, stateBadge } from "../ui/parts.js";

/** @typedef {import("./jobs.js").Row} Row */

/** @type {import("../ui/table.js").Column<Row>[]} */
export const COLUMNS = [
  { name: "name", label: "Name", isSortable: true, className: "name", cell: nameCell },
  { name: "state", label: "State", isSortable: true, className: "states", cell: (job) => stateBadge(job.state) },
  { name: "progress", label: "Progress", className: "progress", cell: progressCell },
  { name: "ap", label: "AP", isSortable: true, className: "number", cell: (job) => score(job.progress.best_ap) },
  { name: "eta", label: "Left", isSortable: true, className: "number wide left", cell: leftCell },
  { name: "project", label: "Project", isSortable: true, className: "wide", cell: (job) => job.project },
  { name: "priority", label: "Priority", isSortable: true, className: "number wide", cell: (job) => job.priority },
  { name: "created", label: "Submitted", isSortable: true, className: "wide time", cell: (job) => time(job.created_at) },
];

/** What a column is sorted by; null comes last. @type {Record<string, (job: Row) => string | number | null>} */
const KEYS = {
  name: (job) => job.name.toLowerCase(),
  state: (job) => job.state,
  ap: (job) => job.progress.best_ap,
  eta: (job) => job.progress.eta_s,
  project: (job) => job.project,
  priority: (job) => job.priority,
  created: (job) => job.created_at,
};

/**
 * @param {Row[]} rows Newest first; equal rows keep this order.
 * @param {string} name
 * @param {boolean} isDescending
 */
export function sorted(rows, name, isDescending) {
  const key = KEYS[name] ?? KEYS.created;
  const sign = isDescending ? -1 : 1;
  return rows.map((row) => ({ row, value: key(row) })).sort((a, b) => compared(a.value, b.value, sign)).map(({ row }) => row);
}

/** @param {string | number | null} a @param {string | number | null} b @param {number} sign */
function compared(a, b, sign) {
  if (a === b) return 0;
  if (a === null) return 1;
  if (b === null) return -1;
  return a < b ? -sign : sign;
}

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
  const of = epoch === null ? `${step} of ${steps}` : `epoch ${epoch} of ${epochs}`;
  return h("span", { className: "two" }, progressBar(step, steps, `progress of ${job.name}`), h("small", {}, stage ? `${stage}, ${of}` : of));
}

/** @param {Row} job */
function leftCell(job) {
  if (job.wait?.not_before) return h("span", { title: "the job starts at this time or later" }, `from ${time(job.wait.not_before).slice(11)}`);
  return job.state === "running" ? duration(job.progress.eta_s) : "";
}
