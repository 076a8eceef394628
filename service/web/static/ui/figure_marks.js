// @ts-check
import { colourBetween, paintMap } from "./figure_map.js";
import { valueSide } from "./figure_axes.js";

/** @typedef {import("./figure_axes.js").Trace} Trace */
/** @typedef {import("./figure_axes.js").Panel} Panel */
/** @typedef {CanvasRenderingContext2D} Pen */
/** A point or a box that the pointer can find. @typedef {{ trace: Trace, index: number, point: Record<string, unknown>, x: number, y: number, width: number, height: number }} Target */
/** What the marks need besides their panel: `isFaded` says whether a point is not among the selected ones. */
/** @typedef {{ pen: Pen, ink: string, isFaded: (trace: Trace, index: number) => boolean, targets: Target[] }} Scene */

const DASHES = /** @type {Record<string, number[]>} */ ({ dash: [7, 4], dot: [2, 3], dashdot: [7, 3, 2, 3] });
const FADED = 0.1;
const BAR_SHARE = 0.8;
const MARK_PX = 6;

/** Paint the traces of a panel, and collect what the pointer can find. @param {Scene} scene @param {Panel} panel */
export function paintTraces(scene, panel) {
  const bars = panel.traces.filter(({ type }) => type === "bar");
  for (const trace of panel.traces) {
    scene.pen.save();
    scene.pen.globalAlpha = trace.opacity ?? 1;
    if (trace.type === "bar") paintBars(scene, panel, trace, bars.indexOf(trace), bars.length);
    else if (trace.type === "heatmap" || trace.type === "contour") paintMap(scene, panel, trace);
    else paintScatter(scene, panel, trace);
    scene.pen.restore();
  }
}

/** @param {Scene} scene @param {Panel} panel @param {Trace} trace */
function paintScatter(scene, panel, trace) {
  const mode = trace.mode ?? "lines";
  /** @type {{ x: number, y: number }[]} */
  const points = trace.x.map((/** @type {any} */ x, /** @type {number} */ index) => ({ x: panel.x.at(x), y: panel.y.at(trace.y[index]) }));
  if (mode.includes("lines")) paintLine(scene, panel, trace, points);
  if (trace.error_x?.visible) paintErrors(scene.pen, panel, trace, points);
  if (mode.includes("markers") || points.length === 1) paintMarks(scene, trace, points);
  if (mode.includes("text")) paintTexts(scene, trace, points);
  points.forEach(({ x, y }, index) => {
    if (trace.hoverinfo !== "skip" && Number.isFinite(x + y)) scene.targets.push({ trace, index, point: { x: trace.x[index], y: (trace.own ?? trace.y)[index] }, x, y, width: 0, height: 0 });
  });
}

/** @param {Scene} scene @param {Panel} panel @param {Trace} trace @param {{ x: number, y: number }[]} points */
function paintLine({ pen, isFaded }, panel, trace, points) {
  const path = pathOf(points, trace.line?.shape === "hv");
  if (isFaded(trace, 0)) pen.globalAlpha *= FADED;
  pen.strokeStyle = trace.line?.color ?? "gray";
  if (trace.base) {
    const area = new Path2D(path);
    for (let index = points.length - 1; index >= 0; index -= 1) area.lineTo(points[index].x, panel.y.at(trace.base[index]));
    pen.save();
    pen.globalAlpha *= 0.35;
    pen.fillStyle = trace.line.color;
    pen.fill(area);
    pen.restore();
  }
  pen.lineWidth = trace.line?.width ?? 2;
  pen.lineJoin = "round";
  pen.setLineDash(DASHES[trace.line?.dash] ?? []);
  pen.stroke(path);
  pen.setLineDash([]);
}

/** @param {{ x: number, y: number }[]} points @param {boolean} isStepped */
function pathOf(points, isStepped) {
  const path = new Path2D();
  let isDown = false;
  points.forEach(({ x, y }, index) => {
    if (!Number.isFinite(x + y)) { isDown = false; return; }
    if (isDown && isStepped) path.lineTo(x, points[index - 1].y);
    if (isDown) path.lineTo(x, y);
    else path.moveTo(x, y);
    isDown = true;
  });
  return path;
}

/** @param {Pen} pen @param {Panel} panel @param {Trace} trace @param {{ x: number, y: number }[]} points */
function paintErrors(pen, panel, trace, points) {
  const { array, arrayminus } = trace.error_x;
  pen.strokeStyle = trace.marker.color;
  pen.lineWidth = 1.5;
  pen.beginPath();
  points.forEach(({ y }, index) => {
    const [low, high] = [trace.x[index] - arrayminus[index], trace.x[index] + array[index]].map((value) => panel.x.at(value));
    pen.moveTo(low, y - 3); pen.lineTo(low, y + 3);
    pen.moveTo(low, y); pen.lineTo(high, y);
    pen.moveTo(high, y - 3); pen.lineTo(high, y + 3);
  });
  pen.stroke();
}

/** @param {Scene} scene @param {Trace} trace @param {{ x: number, y: number }[]} points */
function paintMarks({ pen, isFaded }, trace, points) {
  const { color = trace.line?.color ?? "gray", size = MARK_PX, symbol = "circle", line } = trace.marker ?? {};
  const alpha = pen.globalAlpha;
  points.forEach(({ x, y }, index) => {
    if (!Number.isFinite(x + y)) return;
    pen.globalAlpha = isFaded(trace, index) ? alpha * FADED : alpha;
    pen.fillStyle = pen.strokeStyle = Array.isArray(color) ? colourBetween(trace.marker.colorscale, (color[index] - trace.marker.cmin) / (trace.marker.cmax - trace.marker.cmin || 1)) : color;
    pen.lineWidth = 1.6;
    const shape = shapeOf(symbol, x, y, size / 2);
    if (symbol === "x" || symbol.endsWith("-open")) pen.stroke(shape);
    else pen.fill(shape);
    if (line) { pen.strokeStyle = line.color; pen.lineWidth = line.width; pen.stroke(shape); }
  });
  pen.globalAlpha = alpha;
}

/** @param {string} symbol @param {number} x @param {number} y @param {number} radius */
function shapeOf(symbol, x, y, radius) {
  const shape = new Path2D();
  const corners = (/** @type {number[][]} */ ...places) => {
    places.forEach(([right, down], index) => (index === 0 ? shape.moveTo(x + right * radius, y + down * radius) : shape.lineTo(x + right * radius, y + down * radius)));
    shape.closePath();
  };
  if (symbol === "x") {
    shape.moveTo(x - radius, y - radius); shape.lineTo(x + radius, y + radius);
    shape.moveTo(x - radius, y + radius); shape.lineTo(x + radius, y - radius);
  } else if (symbol === "triangle-up") corners([0, -1.1], [1, 0.8], [-1, 0.8]);
  else if (symbol === "triangle-down") corners([0, 1.1], [1, -0.8], [-1, -0.8]);
  else if (symbol === "triangle-right") corners([1.1, 0], [-0.8, 1], [-0.8, -1]);
  else if (symbol === "triangle-left") corners([-1.1, 0], [0.8, 1], [0.8, -1]);
  else shape.arc(x, y, radius, 0, 2 * Math.PI);
  return shape;
}

/**
 * Write each text above its mark; nearer to the middle if it would be cut off.
 * @param {Scene} scene
 * @param {Trace} trace
 * @param {{ x: number, y: number }[]} points
 */
function paintTexts({ pen, ink }, trace, points) {
  pen.fillStyle = ink;
  pen.textAlign = "center";
  pen.textBaseline = "bottom";
  points.forEach(({ x, y }, index) => {
    const text = String(trace.text[index] ?? "");
    const half = pen.measureText(text).width / 2;
    const room = pen.canvas.clientWidth;
    pen.fillText(text, Math.min(Math.max(x, half + 4), room - half - 4), y - (trace.marker?.size ?? MARK_PX) / 2 - 2);
  });
}

/** @param {Scene} scene @param {Panel} panel @param {Trace} trace @param {number} place Among the bars of a group. @param {number} count */
function paintBars({ pen, ink, isFaded, targets }, { x, y }, trace, place, count) {
  const isFlat = valueSide(trace) === "x";
  const [values, along, across] = isFlat ? [trace.x, x, y] : [trace.y, y, x];
  const names = isFlat ? trace.y : trace.x;
  const width = BAR_SHARE / count;
  const alpha = pen.globalAlpha;
  names.forEach((/** @type {any} */ name, /** @type {number} */ index) => {
    if (values[index] === null) return;
    const middle = across.own(name) + (place - (count - 1) / 2) * width;
    const [a, b] = [middle - width / 2, middle + width / 2].map((own) => across.pixel(own)).sort((one, other) => one - other);
    const [c, d] = [along.at(0), along.at(values[index])].sort((one, other) => one - other);
    const box = isFlat ? { x: c, y: a, width: d - c, height: b - a } : { x: a, y: c, width: b - a, height: d - c };
    pen.globalAlpha = isFaded(trace, index) ? alpha * FADED : alpha;
    pen.fillStyle = trace.marker.color;
    pen.fillRect(box.x, box.y, box.width, box.height);
    targets.push({ trace, index, point: { x: trace.x[index], y: trace.y[index] }, ...box });
    if (!trace.text) return;
    pen.fillStyle = ink;
    pen.textAlign = isFlat ? "left" : "center";
    pen.textBaseline = isFlat ? "middle" : "bottom";
    pen.fillText(trace.text[index], isFlat ? d + 4 : (a + b) / 2, isFlat ? (a + b) / 2 : c - 3);
  });
}
