// @ts-check
import { fraction, valueAt } from "./axis.js";

/** @typedef {import("./axis.js").Axis} Axis */
/** @typedef {import("./scale.js").Range} Range */
/** The axis to change next, and a new range for it: null releases it, undefined changes nothing. @typedef {{ active: number, range?: Range | null }} KeyChange */

/** Parts of an axis: a range that the keyboard makes, and how far it moves. */
const [FIRST_RANGE, STEP] = [0.25, 0.05];

/**
 * Return what a key does to the ranges of axes; null for another key.
 * @param {string} key
 * @param {{ axes: Axis[], brushes: Record<string, Range> }} content
 * @param {number} active Index of the axis that the keyboard changes.
 * @returns {KeyChange | null}
 */
export function keyed(key, { axes, brushes }, active) {
  const axis = axes[active];
  if (!axis) return null;
  const range = brushes[axis.key];
  const [low, high] = range ? [fraction(axis, range.low) ?? 0, fraction(axis, range.high) ?? 1] : [1 - FIRST_RANGE, 1];
  const put = (/** @type {number} */ from, /** @type {number} */ to) => {
    const isValid = from >= -1e-9 && to <= 1 + 1e-9 && to > from;
    return { active, range: isValid ? { low: valueAt(axis, from), high: valueAt(axis, to) } : undefined };
  };
  const shift = (/** @type {number} */ by) => (range ? put(low + by, high + by) : put(low, high));
  switch (key) {
    case "ArrowLeft": return { active: Math.max(0, active - 1) };
    case "ArrowRight": return { active: Math.min(axes.length - 1, active + 1) };
    case "ArrowUp": return shift(STEP);
    case "ArrowDown": return shift(-STEP);
    case "+": return put(Math.max(0, low - STEP), Math.min(1, high + STEP));
    case "-": return put(low + STEP, high - STEP);
    case "Delete": return { active, range: null };
    default: return null;
  }
}
