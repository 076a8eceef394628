// @ts-check
import { digits } from "./metrics.js";

/** @typedef {import("./scale.js").Range} Range */
/**
 * An axis of numbers, or of categories: these are at 0, 1, 2 … in the order of `values`.
 * @typedef {object} Axis
 * @property {string} key
 * @property {string} label
 * @property {"linear" | "log" | "category"} type
 * @property {number} low
 * @property {number} high
 * @property {string[]} [values] Names of the categories.
 */

/**
 * Return where a value is on an axis.
 * @param {Axis} axis
 * @param {number | null} value
 * @returns {number | null} From 0 to 1, outside for a value beyond the ends; null if the axis cannot show it.
 */
export function fraction({ type, low, high, values }, value) {
  if (value === null || !Number.isFinite(value) || (type === "log" && value <= 0)) return null;
  if (type === "category") return (value + 0.5) / Math.max(1, values?.length ?? 1);
  const [from, to, at] = type === "log" ? [low, high, value].map(Math.log) : [low, high, value];
  return to > from ? (at - from) / (to - from) : 0.5;
}

/**
 * Return the value at a place of an axis; of categories also values between them.
 * @param {Axis} axis
 * @param {number} part From 0 to 1.
 */
export function valueAt({ type, low, high, values }, part) {
  if (type === "category") return part * (values?.length ?? 1) - 0.5;
  if (type === "log") return Math.exp(Math.log(low) + part * (Math.log(high) - Math.log(low)));
  return low + part * (high - low);
}

/**
 * Return (value, text) of the marks beside an axis: all categories, or both ends and the middle.
 * @param {Axis} axis
 * @returns {{ part: number, text: string }[]}
 */
export function marks(axis) {
  if (axis.type === "category") return (axis.values ?? []).map((text, index) => ({ part: fraction(axis, index) ?? 0, text }));
  const parts = axis.high > axis.low ? [0, 0.5, 1] : [0.5];
  return parts.map((part) => ({ part, text: short(valueAt(axis, part)) }));
}

/**
 * Write a range of an axis for people; for categories the names in it.
 * @param {Axis} axis
 * @param {Range} range
 */
export function rangeText(axis, { low, high }) {
  if (axis.type !== "category") return `${short(low)} – ${short(high)}`;
  return (axis.values ?? []).filter((_, index) => index >= low && index <= high).join(", ") || "none";
}

/**
 * Whether a line passes through all ranges.
 * @param {readonly (number | null)[]} values One for each axis.
 * @param {readonly Axis[]} axes
 * @param {Readonly<Record<string, Range>>} brushes By key of the axis.
 */
export function isInside(values, axes, brushes) {
  return axes.every(({ key }, index) => {
    const range = brushes[key];
    const value = values[index];
    return range === undefined || (value !== null && value >= range.low && value <= range.high);
  });
}

/** @param {number} value */
function short(value) {
  return digits(value, 3);
}
