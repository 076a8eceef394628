// @ts-check
import { h } from "./html.js";

/** @typedef {import("./scale.js").Range} Range */

/**
 * Draw a value and its confidence interval as a dot on a bar. The elements of a column share a range, so that they can
 * be compared by eye; the text beside it says the same.
 * @param {number | null} value
 * @param {Range | null} interval
 * @param {Range} range Of the column.
 * @param {{ zero?: boolean, tone?: string }} [look] `zero`: mark 0. `tone`: `good`, `bad` or empty.
 */
export function intervalBar(value, interval, range, { zero = false, tone = "" } = {}) {
  const part = (/** @type {number} */ at) => `${Math.min(100, Math.max(0, (100 * (at - range.low)) / (range.high - range.low || 1)))}%`;
  const bar = h("span", { className: `interval ${tone}`, "aria-hidden": "true" });
  if (zero) bar.append(placed("u", part(0)));
  if (interval) {
    const line = placed("i", part(interval.low));
    line.style.insetInlineEnd = `calc(100% - ${part(interval.high)})`;
    bar.append(line);
  }
  if (value !== null) bar.append(placed("b", part(value)));
  return bar;
}

/** @param {"u" | "i" | "b"} tag @param {string} start */
function placed(tag, start) {
  const element = h(tag);
  element.style.insetInlineStart = start;
  return element;
}
