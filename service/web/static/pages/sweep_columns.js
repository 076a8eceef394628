// @ts-check
import { duration } from "../ui/format.js";
import { h } from "../ui/html.js";
import { lastPart, metricName, metricValue, originText, valueText } from "../ui/metrics.js";

/** @typedef {import("../core/sweep.js").Trial} Trial */
/** A trial with the rank of its configuration. @typedef {{ trial: Trial, rank: number | null }} Row */
/** @typedef {import("../ui/table.js").Column<Row> & { key: (row: Row) => string | number | null }} Column */

/**
 * The columns of the table of trials, which depend on the objectives and the dimensions.
 * @param {import("../core/sweep.js").Question} question
 * @param {(trial: number) => void} open Called when a user wants to see a trial.
 * @returns {Column[]}
 */
export function columnsOf({ objectives, dimensions }, open) {
  /** @type {Column[]} */
  const columns = [
    { name: "trial", label: "Trial", className: "number trial", key: ({ trial }) => trial.trial, cell: ({ trial }) => h("button", { type: "button", className: "link", "aria-label": `Trial ${trial.trial}`, on: { click: () => open(trial.trial) } }, trial.trial) },
    { name: "rank", label: "Rank", className: "number wide", key: ({ rank }) => rank, cell: ({ rank }) => rank ?? "–" },
    ...objectives.map(({ metric }, index) => /** @type {Column} */ ({ name: `objective.${index}`, label: metricName(metric), className: "number", key: ({ trial }) => trial.objectives[index], cell: ({ trial }) => metricValue(metric, trial.objectives[index]) })),
    { name: "state", label: "State", className: "trial-state", key: ({ trial }) => trial.state, cell: ({ trial }) => stateCell(trial) },
    { name: "epoch", label: "Epochs", className: "number wide", key: ({ trial }) => trial.epoch, cell: ({ trial }) => `${trial.epoch} of ${trial.epochs}` },
    ...Object.keys(dimensions).map((path) => /** @type {Column} */ ({ name: path, label: lastPart(path), className: "number value", key: ({ trial }) => keyOf(trial.values[path]), cell: ({ trial }) => (path in trial.values ? valueText(trial.values[path]) : "–") })),
    { name: "origin", label: "Why it ran", className: "wide", key: ({ trial }) => originText(trial.origin), cell: ({ trial }) => (trial.repeats === null ? originText(trial.origin) : `${originText(trial.origin)} of ${trial.repeats}`) },
    { name: "training", label: "Training", className: "number wide", key: ({ trial }) => trial.train_s, cell: ({ trial }) => duration(trial.train_s) },
    { name: "seed", label: "Seed", className: "number wide", key: ({ trial }) => trial.seed, cell: ({ trial }) => trial.seed },
  ];
  return columns.map((column) => ({ ...column, isSortable: true }));
}

/** Colour groups of the states of trials. @type {Record<string, string>} */
const GROUPS = { running: "active", paused: "waiting", completed: "good", failed: "bad", lost: "bad", stopped: "over" };

/** @param {Trial} trial */
export function stateCell({ state, by_user, error }) {
  const more = error ? error.message : by_user ? "by a user" : "";
  return h("span", { className: `state ${GROUPS[state] ?? "over"}`, title: more || null }, state);
}

/**
 * Sort rows; what is not known comes last, either way.
 * @param {Row[]} rows
 * @param {Column | undefined} column
 * @param {boolean} isDescending
 */
export function sorted(rows, column, isDescending) {
  if (!column) return rows;
  const sign = isDescending ? -1 : 1;
  const keyed = rows.map((row) => ({ row, key: column.key(row) }));
  return keyed.sort(({ key: a }, { key: b }) => {
    if (a === null || b === null) return Number(a === null) - Number(b === null);
    if (typeof a === "number" && typeof b === "number") return sign * (a - b);
    return sign * String(a).localeCompare(String(b), "en", { numeric: true });
  }).map(({ row }) => row);
}

/** @param {unknown} value */
function keyOf(value) {
  if (value === undefined || value === null) return null;
  return typeof value === "number" ? value : valueText(value);
}
