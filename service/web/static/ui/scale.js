// @ts-check

/** @typedef {{ low: number, high: number }} Range */
/** Maps values to pixels. @typedef {{ toPixel: (value: number) => number, toValue: (pixel: number) => number, ticks: number[] }} Scale */

/**
 * A linear scale.
 * @param {number} low
 * @param {number} high Equal to `low` for a single value.
 * @param {number} start Pixel of `low`.
 * @param {number} end Pixel of `high`.
 * @param {number} count Roughly how many ticks.
 * @returns {Scale}
 */
export function linear(low, high, start, end, count) {
  const [from, to] = low === high ? around(low) : [low, high];
  const factor = (end - start) / (to - from);
  return {
    toPixel: (value) => start + (value - from) * factor,
    toValue: (pixel) => from + (pixel - start) / factor,
    ticks: roundTicks(from, to, count),
  };
}

/**
 * A logarithmic scale, with a tick at each power of ten; with 2 and 5 as well if there are few.
 * @param {number} low Above 0.
 * @param {number} high
 * @param {number} start
 * @param {number} end
 * @returns {Scale}
 */
export function logarithmic(low, high, start, end) {
  const inner = linear(Math.log10(low), Math.log10(high), start, end, 1);
  const [first, last] = [Math.floor(Math.log10(low)), Math.ceil(Math.log10(high))];
  const factors = last - first > 3 ? [1] : [1, 2, 5];
  const ticks = [];
  for (let power = first; power <= last; power += 1) {
    for (const factor of factors) ticks.push(factor * 10 ** power);
  }
  return {
    toPixel: (value) => inner.toPixel(Math.log10(value)),
    toValue: (pixel) => 10 ** inner.toValue(pixel),
    ticks: ticks.filter((tick) => tick >= low && tick <= high),
  };
}

/**
 * Return the smallest and the largest number; null without any.
 * @param {readonly (readonly number[])[]} lists
 * @param {(value: number) => boolean} [isShown]
 * @returns {Range | null}
 */
export function extent(lists, isShown = Number.isFinite) {
  let [low, high] = [Infinity, -Infinity];
  for (const list of lists) {
    for (const value of list) {
      if (!isShown(value)) continue;
      if (value < low) low = value;
      if (value > high) high = value;
    }
  }
  return low > high ? null : { low, high };
}

/** Write the value of a tick. @param {number} value */
export function tickText(value) {
  const rounded = Number(value.toPrecision(6));
  const size = Math.abs(rounded);
  return size !== 0 && (size < 1e-3 || size >= 1e6) ? rounded.toExponential().replace("+", "") : String(rounded);
}

/** @param {number} value */
function around(value) {
  const margin = Math.abs(value) / 2 || 0.5;
  return [value - margin, value + margin];
}

/** @param {number} low @param {number} high @param {number} count */
function roundTicks(low, high, count) {
  const rough = (high - low) / Math.max(1, count);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * ([1, 2, 5, 10].find((factor) => factor * power >= rough) ?? 10);
  const ticks = [];
  for (let index = Math.ceil(low / step); index * step <= high; index += 1) ticks.push(index * step);
  return ticks;
}
