// @ts-check
import { BASE } from "../core/api.js";
import { keyOf } from "../core/seed_groups.js";
import { number, score, time } from "../ui/format.js";
import { h } from "../ui/html.js";
import { stateBadge } from "../ui/parts.js";
import { VirtualTable } from "../ui/table.js";

/** @typedef {import("../core/seed_groups.js").SeedGroup} SeedGroup */

/** @type {import("../ui/table.js").Column<SeedGroup>[]} */
const COLUMNS = [
  { name: "name", label: "Spec", className: "name", cell: nameCell },
  { name: "seeds", label: "Seeds", className: "number", cell: ({ seeds }) => h("span", { title: seeds.join(", ") }, number(seeds.length)) },
  { name: "states", label: "States", className: "progress", cell: statesCell },
  { name: "ap", label: "Mean of best AP", className: "number mean", cell: ({ best_ap: ap }) => score(ap?.mean) },
  { name: "interval", label: "95 % interval", className: "number mean wide", cell: intervalCell },
  { name: "std", label: "Deviation", className: "number wide", cell: ({ best_ap: ap }) => score(ap?.std) },
  { name: "project", label: "Project", className: "wide", cell: ({ project }) => project },
  { name: "created", label: "Newest", className: "wide time", cell: ({ created_at }) => time(created_at) },
];

/** The jobs with one row for each spec, whatever its seeds. */
export class SeedsTable {
  /** @type {readonly SeedGroup[]} */
  #rows = [];

  /**
   * @param {object} options
   * @param {(ids: string[]) => void} options.selected Called with the ids of all jobs of the selected groups.
   * @param {() => void} options.more
   * @param {AbortSignal} life
   */
  constructor({ selected, more }, life) {
    /** @type {VirtualTable<SeedGroup>} */
    this.table = new VirtualTable({
      caption: "Jobs, seeds folded", columns: COLUMNS, key: keyOf, title: ({ name }) => name, sort: () => {}, more,
      selected: (keys) => selected(this.#rows.filter((row) => keys.has(keyOf(row))).flatMap(({ job_ids }) => job_ids)),
    }, life);
  }

  /** @param {readonly SeedGroup[]} rows */
  show(rows) {
    this.#rows = rows;
    this.table.show(rows);
  }
}

/** @param {SeedGroup} group */
function nameCell({ group, name, kind, num_jobs, job_ids }) {
  const path = group === null ? `/jobs/${encodeURIComponent(job_ids[0])}` : `/?seed_group=${encodeURIComponent(group)}`;
  return h(
    "span", { className: "two" }, h("a", { href: `${BASE}${path}` }, name),
    h("small", {}, `${kind} · ${number(num_jobs)} ${num_jobs === 1 ? "job" : "jobs"}`),
  );
}

/** @param {SeedGroup} group */
function statesCell({ states }) {
  return h("span", {}, Object.entries(states).flatMap(([state, count]) => [stateBadge(state), ` ${number(count)} `]));
}

/** @param {SeedGroup} group */
function intervalCell({ best_ap: ap }) {
  if (ap === null) return "–";
  if (ap.low === null || ap.high === null) return h("span", { className: "faint", title: "an interval needs two seeds" }, "one seed");
  return `${score(ap.low)} to ${score(ap.high)}`;
}
