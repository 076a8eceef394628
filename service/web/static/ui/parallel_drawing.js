// @ts-check
import { fraction, marks } from "./axis.js";

/** @typedef {import("./axis.js").Axis} Axis */
/** @typedef {import("./scale.js").Range} Range */
/** @typedef {import("./parallel.js").Item} Item */
/** @typedef {import("./parallel.js").Frame} Frame */
/**
 * @typedef {object} Drawing
 * @property {Frame} frame
 * @property {Axis[]} axes
 * @property {Item[]} items
 * @property {Set<Item>} inside Items that pass all brushes.
 * @property {Item[]} marked Items that stand out.
 * @property {string[]} shades Colours from poor to best.
 * @property {Record<string, Range>} brushes
 * @property {CSSStyleDeclaration} style Its `color` is that of text, its `outlineColor` that of the grid.
 * @property {number | null} active Index of the axis that the keyboard changes.
 */

const BRUSH_PX = 14;
const LONGEST_LABEL = 16;

/** @param {CanvasRenderingContext2D} pen @param {Drawing} drawing */
export function paintLines(pen, drawing) {
  const { items, inside, shades, style } = drawing;
  const outside = items.filter((item) => !inside.has(item));
  // The lines of one colour are one path: a stroke for each of thousands of lines would take seconds.
  strokeAll(pen, outside, drawing, { color: style.outlineColor, width: 1, alpha: outside.length > 1000 ? 0.12 : outside.length > 200 ? 0.3 : 0.6 });
  const alpha = inside.size > 1000 ? 0.35 : inside.size > 200 ? 0.6 : 0.9;
  shades.forEach((color, shade) => {
    const here = items.filter((item) => inside.has(item) && shadeOf(item, shades.length) === shade);
    strokeAll(pen, here.filter(({ isFaint }) => isFaint), drawing, { color, width: 1, alpha: alpha / 2 });
    strokeAll(pen, here.filter(({ isFaint }) => !isFaint), drawing, { color, width: 1.6, alpha });
  });
}

/** @param {CanvasRenderingContext2D} pen @param {Drawing} drawing */
export function paintMarked(pen, drawing) {
  strokeAll(pen, drawing.marked, drawing, { color: drawing.style.color, width: 3, alpha: 1 });
}

/** @param {Item} item @param {number} count */
function shadeOf({ share }, count) {
  return Math.min(count - 1, Math.max(0, Math.floor(share * count)));
}

/**
 * @param {CanvasRenderingContext2D} pen
 * @param {Item[]} items
 * @param {Drawing} drawing
 * @param {{ color: string, width: number, alpha: number }} look
 */
function strokeAll(pen, items, { axes, frame }, { color, width, alpha }) {
  pen.strokeStyle = color;
  pen.lineWidth = width;
  pen.globalAlpha = alpha;
  pen.beginPath();
  for (const { values } of items) {
    let isDown = false;
    axes.forEach((axis, index) => {
      const part = fraction(axis, values[index]);
      if (part === null) { isDown = false; return; }
      const y = toPixel(frame, Math.min(1.03, Math.max(-0.03, part)));
      if (isDown) pen.lineTo(frame.xs[index], y);
      else pen.moveTo(frame.xs[index], y);
      isDown = true;
    });
  }
  pen.stroke();
  pen.globalAlpha = 1;
}

/** @param {Frame} frame @param {number} part */
function toPixel({ top, bottom }, part) {
  return bottom - part * (bottom - top);
}

/** @param {CanvasRenderingContext2D} pen @param {Drawing} drawing */
export function paintAxes(pen, drawing) {
  const { axes, frame, brushes, style, active } = drawing;
  axes.forEach((axis, index) => {
    const x = Math.round(frame.xs[index]) + 0.5;
    pen.strokeStyle = style.color;
    pen.lineWidth = index === active ? 3 : 1;
    pen.beginPath();
    pen.moveTo(x, frame.top);
    pen.lineTo(x, frame.bottom);
    pen.stroke();
    paintLabel(pen, axis, x, index, drawing);
    for (const { part, text } of marks(axis)) halo(pen, clipped(text), x + 6, toPixel(frame, part), drawing);
    if (brushes[axis.key]) paintBrush(pen, axis, brushes[axis.key], x, drawing);
  });
}

/** @param {CanvasRenderingContext2D} pen @param {Axis} axis @param {number} x @param {number} index @param {Drawing} drawing */
function paintLabel(pen, { label }, x, index, { frame, style }) {
  pen.font = `600 12px ${style.fontFamily}`;
  pen.fillStyle = style.color;
  pen.textAlign = index === 0 ? "left" : "center";
  pen.textBaseline = "bottom";
  // Every second label is higher, so that long names do not overlap.
  pen.fillText(clipped(label), index === 0 ? x - 20 : x, frame.top - (index % 2 ? 26 : 10));
}

/** Write text that lines behind it do not make unreadable. @param {CanvasRenderingContext2D} pen @param {string} text @param {number} x @param {number} y @param {Drawing} drawing */
function halo(pen, text, x, y, { style }) {
  pen.font = `11px ${style.fontFamily}`;
  pen.textAlign = "left";
  pen.textBaseline = "middle";
  pen.lineWidth = 3;
  pen.strokeStyle = style.backgroundColor;
  pen.lineJoin = "round";
  pen.strokeText(text, x, y);
  pen.fillStyle = style.color;
  pen.fillText(text, x, y);
}

/** @param {CanvasRenderingContext2D} pen @param {Axis} axis @param {Range} range @param {number} x @param {Drawing} drawing */
function paintBrush(pen, axis, { low, high }, x, { frame, style, shades }) {
  const [from, to] = [low, high].map((value) => toPixel(frame, Math.min(1, Math.max(0, fraction(axis, value) ?? 0))));
  pen.globalAlpha = 0.25;
  pen.fillStyle = style.color;
  pen.fillRect(x - BRUSH_PX / 2, to, BRUSH_PX, from - to);
  pen.globalAlpha = 1;
  pen.lineWidth = 1.5;
  pen.strokeStyle = shades[shades.length - 1];
  pen.strokeRect(x - BRUSH_PX / 2, to, BRUSH_PX, from - to);
}

/** @param {string} text */
function clipped(text) {
  return text.length > LONGEST_LABEL ? `${text.slice(0, LONGEST_LABEL - 1)}…` : text;
}
