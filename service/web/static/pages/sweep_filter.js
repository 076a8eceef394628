// @ts-check
import { isInside } from "../ui/axis.js";
import { extent } from "../ui/scale.js";
import { lastPart, metricName, originText, valueText } from "../ui/metrics.js";
import { isSearched } from "../core/sweep.js";

/** @typedef {import("../core/sweep.js").Trial} Trial */
/** @typedef {import("../core/sweep.js").Sweep} Sweep */
/** @typedef {import("../ui/axis.js").Axis} Axis */
/** @typedef {import("../ui/scale.js").Range} Range */
/** @typedef {import("../core/router.js").Query} Query */

const MOST_DIMENSIONS = 10;
const OBJECTIVE = "objective.";

/**
 * The axes of a sweep: its dimensions, the most important ones if there are many, and its objectives.
 * @param {Sweep} sweep
 * @returns {Axis[]} Empty as long as the sweep's spec is not known.
 */
export function axesOf({ question, findings, trials }) {
  if (question === null) return [];
  const { dimensions, objectives: metrics } = question;
  const shares = findings?.importance?.shares ?? {};
  const paths = Object.keys(dimensions).sort((a, b) => (shares[b] ?? 0) - (shares[a] ?? 0)).slice(0, MOST_DIMENSIONS);
  const searched = [...trials.values()].filter(isSearched);
  const objectives = metrics.map(({ metric }, index) => {
    const range = extent([searched.map(({ objectives: values }) => values[index]).filter((value) => value !== null)]) ?? { low: 0, high: 1 };
    return /** @type {Axis} */ ({ key: `${OBJECTIVE}${index}`, label: metricName(metric), type: "linear", ...range });
  });
  return [...paths.map((path) => axisOf(path, dimensions[path])), ...objectives];
}

/** @param {string} path @param {import("../core/sweep.js").Dimension} dimension @returns {Axis} */
function axisOf(path, { type, low, high, log, values }) {
  const named = { key: path, label: lastPart(path) };
  if (type === "choice") return { ...named, type: "category", low: 0, high: values.length - 1, values: values.map(valueText) };
  return { ...named, type: type === "log_uniform" || log ? "log" : "linear", low, high };
}

/**
 * Return where a trial is on each axis; null where it has no number.
 * @param {Trial} trial
 * @param {readonly Axis[]} axes
 */
export function placesOf(trial, axes) {
  return axes.map(({ key, type, values }) => {
    if (key.startsWith(OBJECTIVE)) return trial.objectives[Number(key.slice(OBJECTIVE.length))];
    const value = trial.values[key];
    if (type === "category") return value === undefined ? null : [(values ?? []).indexOf(valueText(value))].find((index) => index >= 0) ?? null;
    return typeof value === "number" ? value : null;
  });
}

/** The brushes in the address. @param {Query} query @returns {Record<string, Range>} By key of the axis. */
export function brushesOf(query) {
  return Object.fromEntries(query.all("brush").map((text) => text.split("~")).filter((parts) => parts.length === 3)
    .map(([key, low, high]) => [key, { low: Number(low), high: Number(high) }]));
}

/** Put a brush into the address; null removes it. @param {Query} query @param {string} key @param {Range | null} range */
export function writeBrush(query, key, range) {
  const { [key]: _, ...others } = brushesOf(query);
  const all = Object.entries(range ? { ...others, [key]: range } : others);
  query.write({ brush: all.map(([name, { low, high }]) => [name, rounded(low), rounded(high)].join("~")) }, { replace: true });
}

/** @param {number} value */
function rounded(value) {
  return Number(value.toPrecision(5));
}

/**
 * The trials that match the address: brushes, states and search.
 * @param {Sweep} sweep
 * @param {Query} query
 * @returns {{ trials: Trial[], isAll: boolean }}
 */
export function matching(sweep, query) {
  const brushes = brushesOf(query);
  const states = query.all("is");
  const words = query.get("q").toLowerCase().split(/\s+/).filter(Boolean);
  const all = [...sweep.trials.values()];
  const isAll = Object.keys(brushes).length + states.length + words.length === 0;
  const axes = axesOf(sweep);
  if (isAll || axes.length === 0) return { trials: all, isAll };
  const found = all.filter((trial) => (states.length === 0 || states.includes(trial.state))
    && isInside(placesOf(trial, axes), axes, brushes) && words.every((word) => textOf(trial).includes(word)));
  return { trials: found, isAll };
}

/** @param {Trial} trial */
function textOf({ trial, origin, state, values, error }) {
  const texts = Object.entries(values).flatMap(([path, value]) => [path, valueText(value)]);
  return [`trial ${trial}`, origin, originText(origin), state, error?.code ?? "", ...texts].join(" ").toLowerCase();
}
