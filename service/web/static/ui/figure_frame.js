// @ts-check
import { formatted } from "./figure_text.js";
import { colourBar, isCrowded } from "./figure_axes.js";
import { colourBetween } from "./figure_map.js";

/** @typedef {import("./figure_axes.js").Panel} Panel */
/** @typedef {import("./figure_axes.js").Axis} Axis */
/** @typedef {import("./figure_axes.js").Figure} Figure */
/** @typedef {CanvasRenderingContext2D} Pen */
/** @typedef {{ ink: string, grid: string }} Colours */

const GAP_PX = 6;
const BAR_PX = 12;

/** Paint the grid, the ticks and the titles of a panel. @param {Pen} pen @param {Panel} panel @param {Colours} colours */
export function paintFrame(pen, { x, y }, { ink, grid }) {
  pen.strokeStyle = grid;
  pen.fillStyle = ink;
  pen.lineWidth = 1;
  for (const { at } of y.ticks) if (!y.categories) line(pen, x.start, y.pixel(at), x.end, y.pixel(at));
  if (x.layout.showgrid) for (const { at } of x.ticks) line(pen, x.pixel(at), y.start, x.pixel(at), y.end);
  if (x.layout.zeroline) { pen.lineWidth = 2; line(pen, x.at(0), y.start, x.at(0), y.end); pen.lineWidth = 1; }
  if (y.layout.visible !== false) line(pen, x.start, y.start, x.end, y.start);
  paintYTexts(pen, x, y);
  paintXTexts(pen, x, y);
}

/** @param {Pen} pen @param {Axis} x @param {Axis} y */
function paintYTexts(pen, x, y) {
  pen.textAlign = "right";
  pen.textBaseline = "middle";
  for (const { at, text } of y.ticks) pen.fillText(text, x.start - GAP_PX, y.pixel(at), 170);
  const title = y.layout.title?.text;
  if (!title) return;
  const widest = Math.max(0, ...y.ticks.map(({ text }) => Math.min(170, pen.measureText(text).width)));
  turned(pen, x.start - widest - 3 * GAP_PX, (y.start + y.end) / 2, "center", title);
}

/** @param {Pen} pen @param {Axis} x @param {Axis} y */
function paintXTexts(pen, x, y) {
  const widthOf = (/** @type {string} */ text) => pen.measureText(text).width;
  const isTurned = isCrowded(x, x.end - x.start, widthOf);
  let [below, end] = [0, -Infinity];
  pen.textBaseline = "top";
  for (const { at, text } of x.ticks) {
    const [place, width] = [x.pixel(at), Math.min(170, widthOf(text))];
    below = Math.max(below, isTurned ? width : 12);
    if (isTurned) { turned(pen, place, y.start + GAP_PX, "right", text); continue; }
    // A text that would run into the one before is left out.
    if (place - width / 2 < end) continue;
    end = place + width / 2 + 4;
    pen.textAlign = "center";
    pen.fillText(text, place, y.start + GAP_PX);
  }
  pen.textAlign = "center";
  if (x.layout.title?.text) pen.fillText(x.layout.title.text, (x.start + x.end) / 2, y.start + below + 2 * GAP_PX, x.end - x.start);
}

/** @param {Pen} pen @param {number} x @param {number} y @param {CanvasTextAlign} align @param {string} text */
function turned(pen, x, y, align, text) {
  pen.save();
  pen.translate(x, y);
  pen.rotate(-Math.PI / 2);
  pen.textAlign = align;
  pen.textBaseline = "middle";
  pen.fillText(text, 0, 0, 170);
  pen.restore();
}

/** Paint the lines that belong to a panel, for example those of baselines. @param {Pen} pen @param {Panel} panel @param {Figure["layout"]} layout */
export function paintShapes(pen, { x, y, traces, isFirst }, { shapes = [] }) {
  for (const { xref, yref, x0, x1, y0, y1, line: look } of shapes) {
    const refs = [xref ?? "x", yref ?? "y"].map((ref) => ref.replace(" domain", ""));
    const isHere = traces.some((trace) => [trace.xaxis ?? "x", trace.yaxis ?? "y"].every((id, side) => id === refs[side] || refs[side] === "paper"));
    if (!isHere || (refs.every((ref) => ref === "paper") && !isFirst)) continue;
    const place = (/** @type {Axis} */ axis, /** @type {string | undefined} */ ref, /** @type {any} */ value) => (ref?.includes("domain") || ref === "paper" ? axis.start + value * (axis.end - axis.start) : axis.at(value));
    pen.strokeStyle = look.color;
    pen.lineWidth = look.width;
    pen.setLineDash(look.dash === "dot" ? [2, 3] : [7, 4]);
    line(pen, place(x, xref, x0), place(y, yref, y0), place(x, xref, x1), place(y, yref, y1));
  }
  pen.setLineDash([]);
}

/** Write texts at places of the first panel. @param {Pen} pen @param {Panel} panel @param {Figure["layout"]} layout @param {Colours} colours */
export function paintAnnotations(pen, { x, y }, { annotations = [] }, { ink }) {
  pen.fillStyle = ink;
  pen.textAlign = "left";
  pen.textBaseline = "middle";
  for (const { x: at, y: height, text, xshift = 0 } of annotations) pen.fillText(text, x.at(at) + xshift, y.at(height));
}

/** Paint what the colours mean, to the right of all panels. @param {Pen} pen @param {Panel[]} panels @param {number} width @param {Colours} colours */
export function paintColourBar(pen, panels, width, { ink }) {
  const bar = panels.flatMap(({ traces }) => traces.map(colourBar)).find((each) => each !== null);
  if (!bar) return;
  const { start: bottom, end: top } = panels[0].y;
  const left = width - 66;
  const colours = pen.createLinearGradient(0, bottom, 0, top + 20);
  for (let part = 0; part <= 1; part += 0.125) colours.addColorStop(part, colourBetween(bar.scale, part));
  pen.fillStyle = colours;
  pen.fillRect(left, top + 20, BAR_PX, bottom - top - 20);
  pen.fillStyle = ink;
  pen.textAlign = "right";
  pen.textBaseline = "top";
  pen.fillText(bar.title, width - 4, top);
  pen.textAlign = "left";
  pen.textBaseline = "middle";
  for (let part = 0; part <= 1; part += 0.25) pen.fillText(formatted(bar.low + part * (bar.high - bar.low), ".3g"), left + BAR_PX + GAP_PX, bottom + part * (top + 20 - bottom));
}

/** @param {Pen} pen @param {number} x1 @param {number} y1 @param {number} x2 @param {number} y2 */
function line(pen, x1, y1, x2, y2) {
  pen.beginPath();
  pen.moveTo(x1, y1);
  pen.lineTo(x2, y2);
  pen.stroke();
}
