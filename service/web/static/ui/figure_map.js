// @ts-check
import { extent } from "./scale.js";

/** @typedef {import("./figure_axes.js").Trace} Trace */
/** @typedef {import("./figure_axes.js").Panel} Panel */
/** @typedef {import("./figure_marks.js").Scene} Scene */
/** Colours at places from 0 to 1, each `#rrggbb`. @typedef {[number, string][]} Scale */

/** @param {Scale} scale @param {number} share @returns {[number, number, number]} Red, green and blue. */
function channels(scale, share) {
  const at = Math.min(1, Math.max(0, Number.isFinite(share) ? share : 0));
  const next = Math.max(1, scale.findIndex(([place]) => place >= at));
  const [[low, first], [high, second]] = [scale[next - 1], scale[next]];
  const part = (at - low) / (high - low);
  const mixed = [1, 3, 5].map((start) => {
    const [a, b] = [first, second].map((colour) => parseInt(colour.slice(start, start + 2), 16));
    return Math.round(a + part * (b - a));
  });
  return /** @type {[number, number, number]} */ (mixed);
}

/** @param {Scale} scale @param {number} share From 0 to 1. */
export function colourBetween(scale, share) {
  return `rgb(${channels(scale, share).join(" ")})`;
}

/**
 * Paint a map of colours: the cells of a heat map, or a smooth surface with lines of equal height.
 * @param {Scene} scene
 * @param {Panel} panel
 * @param {Trace} trace
 */
export function paintMap(scene, panel, trace) {
  const { low, high } = trace.zmin === undefined ? extent(trace.z) ?? { low: 0, high: 1 } : { low: trace.zmin, high: trace.zmax };
  const share = (/** @type {number} */ z) => (z - low) / (high - low || 1);
  if (trace.type === "heatmap") paintCells(scene, panel, trace, share);
  else paintSurface(scene, panel, trace, share, contourLevels(low, high, trace.ncontours ?? 10));
}

/**
 * Paint each cell in the last colour, the fainter the smaller its share, so that an empty one shows the paper in each theme.
 * @param {Scene} scene
 * @param {Panel} panel
 * @param {Trace} trace
 * @param {(z: number) => number} share
 */
function paintCells({ pen, ink, targets }, { x, y }, trace, share) {
  const colour = trace.colorscale[trace.colorscale.length - 1][1];
  pen.textAlign = "center";
  pen.textBaseline = "middle";
  trace.z.forEach((/** @type {number[]} */ row, /** @type {number} */ down) => row.forEach((z, across) => {
    const [left, right] = [across - 0.5, across + 0.5].map(x.pixel).sort((a, b) => a - b);
    const [top, bottom] = [down - 0.5, down + 0.5].map(y.pixel).sort((a, b) => a - b);
    const custom = trace.customdata?.[down]?.[across];
    pen.globalAlpha = share(z);
    pen.fillStyle = colour;
    pen.fillRect(left, top, right - left + 0.5, bottom - top + 0.5);
    pen.globalAlpha = 1;
    pen.fillStyle = ink;
    if (custom && right - left > pen.measureText(String(custom)).width + 4) pen.fillText(String(custom), (left + right) / 2, (top + bottom) / 2);
    targets.push({ trace: { ...trace, customdata: [custom] }, index: 0, point: { x: trace.x[across], y: trace.y[down], z }, x: left, y: top, width: right - left, height: bottom - top });
  }));
}

/** @param {Scene} scene @param {Panel} panel @param {Trace} trace @param {(z: number) => number} share @param {number[]} levels */
function paintSurface({ pen, ink }, { x, y }, { x: xs, y: ys, z, colorscale }, share, levels) {
  const image = new ImageData(xs.length, ys.length);
  z.forEach((/** @type {(number | null)[]} */ row, /** @type {number} */ down) => row.forEach((value, across) => {
    if (value === null) return;
    // Pictures begin at the top, and the axis at the bottom.
    image.data.set([...channels(colorscale, share(value)), 255], 4 * ((ys.length - 1 - down) * xs.length + across));
  }));
  const small = new OffscreenCanvas(xs.length, ys.length);
  /** @type {OffscreenCanvasRenderingContext2D} */ (small.getContext("2d")).putImageData(image, 0, 0);
  const [left, right, bottom, top] = [x.at(xs[0]), x.at(xs[xs.length - 1]), y.at(ys[0]), y.at(ys[ys.length - 1])];
  const cell = { width: (right - left) / (xs.length - 1), height: (bottom - top) / (ys.length - 1) };
  pen.drawImage(small, left - cell.width / 2, top - cell.height / 2, right - left + cell.width, bottom - top + cell.height);
  pen.strokeStyle = ink;
  pen.globalAlpha *= 0.35;
  pen.lineWidth = 0.7;
  for (const level of levels) pen.stroke(lineOfLevel(z, level, (across) => left + across * cell.width, (down) => bottom - down * cell.height));
}

/** @param {number} low @param {number} high @param {number} count */
function contourLevels(low, high, count) {
  return Array.from({ length: count - 1 }, (_, index) => low + ((index + 1) * (high - low)) / count);
}

/**
 * Return the line at which a surface has this height: in each cell, the pieces between the sides that it crosses.
 * @param {(number | null)[][]} z
 * @param {number} level
 * @param {(across: number) => number} toX
 * @param {(down: number) => number} toY
 */
function lineOfLevel(z, level, toX, toY) {
  const path = new Path2D();
  for (let down = 0; down + 1 < z.length; down += 1) {
    for (let across = 0; across + 1 < z[down].length; across += 1) {
      /** @type {[number, number][]} */
      const corners = [[across, down], [across + 1, down], [across + 1, down + 1], [across, down + 1]];
      if (corners.some(([column, row]) => z[row][column] === null)) continue;
      const crossings = corners.flatMap((from, index) => crossing(z, level, from, corners[(index + 1) % 4]));
      for (let index = 0; index + 1 < crossings.length; index += 2) {
        path.moveTo(toX(crossings[index][0]), toY(crossings[index][1]));
        path.lineTo(toX(crossings[index + 1][0]), toY(crossings[index + 1][1]));
      }
    }
  }
  return path;
}

/** @param {any[][]} z @param {number} level @param {[number, number]} from @param {[number, number]} to @returns {[number, number][]} */
function crossing(z, level, from, to) {
  const [a, b] = [z[from[1]][from[0]], z[to[1]][to[0]]];
  if (a < level === b < level) return [];
  const part = (level - a) / (b - a);
  return [[from[0] + part * (to[0] - from[0]), from[1] + part * (to[1] - from[1])]];
}
