// @ts-check
import { indexOf } from "../core/curves.js";

/** @typedef {{ name: string, xs: readonly number[], ys: readonly number[] }} Line */
/** @typedef {import("./scale.js").Range} Range */

/**
 * Smooth by an exponential moving average whose start is not biased to 0.
 * @param {readonly number[]} ys
 * @param {number} weight Of the past, in [0, 1); 0 changes nothing.
 */
export function smoothed(ys, weight) {
  if (weight === 0) return ys;
  let [sum, total] = [0, 0];
  return ys.map((y) => {
    sum = weight * sum + (1 - weight) * y;
    total = weight * total + (1 - weight);
    return sum / total;
  });
}

/**
 * Return the part of a line within a range of x, with a point on each side, so that it reaches the edges.
 * @param {Line} line
 * @param {Range} range
 * @returns {Line}
 */
export function within(line, { low, high }) {
  const first = Math.max(0, indexOf(line.xs, low) - 1);
  const end = indexOf(line.xs, high) + 1;
  return { name: line.name, xs: line.xs.slice(first, end), ys: line.ys.slice(first, end) };
}

/**
 * Keep the first, lowest, highest and last point of each pixel: the picture is the same.
 * @param {Line} line
 * @param {(x: number) => number} toPixel
 * @returns {Line}
 */
export function thinned({ name, xs, ys }, toPixel) {
  /** @type {number[]} */
  const kept = [];
  for (let start = 0; start < xs.length;) {
    const pixel = Math.round(toPixel(xs[start]));
    let [end, low, high] = [start, start, start];
    for (; end < xs.length && Math.round(toPixel(xs[end])) === pixel; end += 1) {
      if (ys[end] < ys[low]) low = end;
      if (ys[end] > ys[high]) high = end;
    }
    kept.push(...new Set([start, low, high, end - 1].sort((a, b) => a - b)));
    start = end;
  }
  return { name, xs: kept.map((index) => xs[index]), ys: kept.map((index) => ys[index]) };
}
