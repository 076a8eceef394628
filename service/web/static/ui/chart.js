// @ts-check
import { indexOf } from "../core/curves.js";
import { DrawingElement, emptied } from "./drawing.js";
import { number } from "./format.js";
import { fill, h } from "./html.js";
import { smoothed, thinned, within } from "./lines.js";
import { extent, linear, logarithmic, tickText } from "./scale.js";

/** @typedef {import("./lines.js").Line} Line */
/** @typedef {import("./lines.js").Range} Range */
/** @typedef {import("./scale.js").Scale} Scale */
/**
 * What a chart shows.
 * @typedef {object} Content
 * @property {Line[]} lines
 * @property {string} xLabel
 * @property {boolean} isLog
 * @property {number} smoothing Weight of the past, in [0, 1).
 * @property {Range | null} range Of x, without zoom; null: as far as the lines reach.
 * @property {Range | null} zoom Of x; null shows everything.
 */
/** @typedef {{ x: Scale, y: Scale, lines: { line: Line, color: string }[] }} Drawing */

const HEIGHT_PX = 220;
const LEFT_PX = 56;
const RIGHT_PX = 10;
const TOP_PX = 8;
const BOTTOM_PX = 24;
const NUM_COLORS = 8;
const SMALLEST_DRAG_PX = 6;

/**
 * A line chart on a canvas. Drag to zoom, double-click to show everything; with the keyboard: arrow keys move the
 * reading line, + and - zoom around it, Escape shows everything. Only a chart on the screen is drawn.
 *
 * Events: `zoom` when a user wants another range; `detail` is `{ low, high }`, or null for everything. Who shows the
 * chart answers with `show({ zoom })`, so that several charts can zoom together.
 */
export class Chart extends DrawingElement {
  /** @type {Content} */
  #content = { lines: [], xLabel: "step", isLog: false, smoothing: 0, range: null, zoom: null };
  /** Position of the reading line. @type {number | null} */
  #reading = null;
  /** Where a drag began, in pixels. @type {number | null} */
  #dragFrom = null;
  /** @type {Set<string>} */
  #hidden = new Set();
  /** @type {Drawing | null} */
  #drawing = null;
  #isOnScreen = false;
  #legend = h("div", { className: "legend", role: "group", "aria-label": "Lines" });
  #watchers = [
    new ResizeObserver(() => this.redraw()),
    new IntersectionObserver(([entry]) => { this.#isOnScreen = entry.isIntersecting; this.redraw(); }),
  ];

  connectedCallback() {
    super.connectedCallback();
    // Until the chart comes near the screen and is drawn.
    if (!this.canvas.hasAttribute("aria-label")) this.canvas.setAttribute("aria-label", this.getAttribute("label") ?? "chart");
    this.replaceChildren(this.canvas, this.#legend);
    for (const watcher of this.#watchers) watcher.observe(this.canvas);
    this.#listen();
  }

  disconnectedCallback() {
    super.disconnectedCallback();
    for (const watcher of this.#watchers) watcher.disconnect();
  }

  /** @param {Partial<Content>} changes */
  show(changes) {
    const names = this.#content.lines.map(({ name }) => name).join();
    this.#content = { ...this.#content, ...changes };
    if (this.#content.lines.map(({ name }) => name).join() !== names) this.#showLegend();
    this.redraw();
  }

  /** What is shown, for tests. */
  get shown() {
    return { zoom: this.#content.zoom, lines: this.#drawing?.lines.map(({ line: { name, xs } }) => ({ name, xs })) ?? [] };
  }

  #listen() {
    const canvas = this.canvas;
    canvas.onpointerdown = (event) => { this.#dragFrom = event.offsetX; canvas.setPointerCapture(event.pointerId); };
    canvas.onpointermove = (event) => this.#read(event.offsetX);
    canvas.onpointerup = (event) => this.#endDrag(event.offsetX);
    canvas.onpointerleave = () => { this.#reading = null; this.redraw(); };
    canvas.ondblclick = () => this.#zoomTo(null);
    canvas.onkeydown = (event) => this.#onKey(event);
  }

  /** @param {number} pixel */
  #read(pixel) {
    if (this.#drawing) this.#reading = this.#drawing.x.toValue(pixel);
    this.redraw();
  }

  /** @param {number} pixel */
  #endDrag(pixel) {
    const from = this.#dragFrom;
    this.#dragFrom = null;
    if (from === null || !this.#drawing || Math.abs(pixel - from) < SMALLEST_DRAG_PX) return;
    const { toValue } = this.#drawing.x;
    const [low, high] = [from, pixel].sort((a, b) => a - b).map((each) => toValue(each));
    this.#zoomTo({ low, high });
  }

  /** @param {Range | null} range */
  #zoomTo(range) {
    this.dispatchEvent(new CustomEvent("zoom", { detail: range, bubbles: true }));
  }

  /** @param {KeyboardEvent} event */
  #onKey(event) {
    const range = this.#xRange();
    if (!range) return;
    const width = range.high - range.low;
    const middle = this.#reading ?? (range.low + range.high) / 2;
    const zoomed = (/** @type {number} */ part) => this.#zoomTo({ low: middle - width * part, high: middle + width * part });
    /** @type {Record<string, () => void>} */
    const keys = {
      ArrowLeft: () => { this.#reading = Math.max(range.low, middle - width / 50); },
      ArrowRight: () => { this.#reading = Math.min(range.high, middle + width / 50); },
      "+": () => zoomed(0.25),
      "-": () => zoomed(1),
      Escape: () => this.#zoomTo(null),
    };
    const action = keys[event.key];
    if (!action) return;
    event.preventDefault();
    action();
    this.redraw();
  }

  #showLegend() {
    fill(this.#legend, this.#content.lines.map(({ name }, index) => h(
      "button",
      { type: "button", "aria-pressed": !this.#hidden.has(name), on: { click: (/** @type {MouseEvent} */ event) => this.#toggle(name, event) } },
      h("i", { className: `line-${index % NUM_COLORS}` }), h("span", {}, name), h("output", {}),
    )));
  }

  /** @param {string} name @param {MouseEvent} event */
  #toggle(name, event) {
    if (!this.#hidden.delete(name)) this.#hidden.add(name);
    /** @type {Element} */ (event.currentTarget).setAttribute("aria-pressed", String(!this.#hidden.has(name)));
    this.redraw();
  }

  get isVisible() {
    return this.#isOnScreen;
  }

  /** @returns {Range | null} */
  #xRange() {
    const { zoom, range, lines } = this.#content;
    return zoom ?? range ?? extent(lines.map(({ xs }) => xs));
  }

  draw() {
    const width = this.canvas.clientWidth;
    const pen = emptied(this.canvas, width, HEIGHT_PX);
    this.#drawing = this.#arrange(width);
    if (this.#drawing) paint(pen, this.#drawing, this.#reading, getComputedStyle(this), width);
    this.#describe();
  }

  /** @param {number} width @returns {Drawing | null} */
  #arrange(width) {
    const range = this.#xRange();
    if (!range) return null;
    const { lines, isLog, smoothing } = this.#content;
    const swatches = this.#legend.querySelectorAll("i");
    const shown = lines
      .map((line, index) => ({ line: within({ ...line, ys: smoothed(line.ys, smoothing) }, range), color: getComputedStyle(swatches[index]).color }))
      .filter(({ line }) => !this.#hidden.has(line.name));
    const x = linear(range.low, range.high, LEFT_PX, width - RIGHT_PX, width / 110);
    const y = yScale(shown.map(({ line }) => line), isLog);
    return { x, y, lines: shown.map(({ line, color }) => ({ color, line: thinned(line, x.toPixel) })) };
  }

  /** Write the values at the reading line, or the newest ones, into the legend and for screen readers. */
  #describe() {
    const at = this.#reading;
    const texts = this.#content.lines.map((line, index) => {
      const value = valueAt(line, at);
      const output = this.#legend.children[index]?.querySelector("output");
      if (output) output.textContent = number(value);
      return `${line.name} ${number(value)}`;
    });
    const place = at === null ? "newest values" : `at ${this.#content.xLabel} ${number(Math.round(at))}`;
    this.canvas.setAttribute("aria-label", `${this.getAttribute("label") ?? "chart"}, ${place}: ${texts.join(", ")}`);
  }
}

/** @param {Line[]} lines @param {boolean} isLog */
function yScale(lines, isLog) {
  const range = extent(lines.map(({ ys }) => ys), isLog ? (value) => value > 0 && Number.isFinite(value) : undefined);
  const { low, high } = range ?? { low: isLog ? 0.1 : 0, high: 1 };
  const [bottom, top] = [HEIGHT_PX - BOTTOM_PX, TOP_PX];
  if (isLog) return logarithmic(low, high === low ? 10 * low : high, bottom, top);
  const margin = (high - low) * 0.05;
  return linear(low - margin, high + margin, bottom, top, 5);
}

/** @param {Line} line @param {number | null} at Null: the newest. */
function valueAt({ xs, ys }, at) {
  if (at === null) return ys[ys.length - 1];
  const index = indexOf(xs, at);
  const isBeforeNearer = index > 0 && (index === xs.length || at - xs[index - 1] < xs[index] - at);
  return ys[isBeforeNearer ? index - 1 : index];
}

/**
 * @param {CanvasRenderingContext2D} pen
 * @param {Drawing} drawing
 * @param {number | null} reading
 * @param {CSSStyleDeclaration} style Its `color` is that of text, its `outlineColor` that of the grid.
 * @param {number} width
 */
function paint(pen, drawing, reading, style, width) {
  pen.font = `12px ${style.fontFamily}`;
  paintGrid(pen, drawing, style, width);
  pen.save();
  pen.beginPath();
  pen.rect(LEFT_PX, TOP_PX, width - LEFT_PX - RIGHT_PX, HEIGHT_PX - TOP_PX - BOTTOM_PX);
  pen.clip();
  for (const { line, color } of drawing.lines) paintLine(pen, line, color, drawing);
  if (reading !== null) paintReading(pen, drawing.x.toPixel(reading), style.color);
  pen.restore();
}

/** @param {CanvasRenderingContext2D} pen @param {Drawing} drawing @param {CSSStyleDeclaration} style @param {number} width */
function paintGrid(pen, { x, y }, style, width) {
  const bottom = HEIGHT_PX - BOTTOM_PX;
  pen.strokeStyle = style.outlineColor;
  pen.fillStyle = style.color;
  pen.lineWidth = 1;
  pen.textAlign = "right";
  pen.textBaseline = "middle";
  for (const tick of y.ticks) {
    const at = Math.round(y.toPixel(tick)) + 0.5;
    stroke(pen, LEFT_PX, at, width - RIGHT_PX, at);
    pen.fillText(tickText(tick), LEFT_PX - 6, at);
  }
  pen.textAlign = "center";
  pen.textBaseline = "top";
  for (const tick of x.ticks) pen.fillText(tickText(tick), x.toPixel(tick), bottom + 6);
  stroke(pen, LEFT_PX, bottom + 0.5, width - RIGHT_PX, bottom + 0.5);
}

/** @param {CanvasRenderingContext2D} pen @param {Line} line @param {string} color @param {Drawing} drawing */
function paintLine(pen, { xs, ys }, color, { x, y }) {
  pen.strokeStyle = color;
  pen.fillStyle = color;
  pen.lineWidth = 1.6;
  pen.lineJoin = "round";
  pen.beginPath();
  let isDown = false;
  for (const [index, value] of xs.entries()) {
    const at = y.toPixel(ys[index]);
    if (!Number.isFinite(at)) isDown = false;
    else if (isDown) pen.lineTo(x.toPixel(value), at);
    else { pen.moveTo(x.toPixel(value), at); isDown = true; }
  }
  pen.stroke();
  if (xs.length <= 30) for (const [index, value] of xs.entries()) dot(pen, x.toPixel(value), y.toPixel(ys[index]));
}

/** @param {CanvasRenderingContext2D} pen @param {number} at @param {string} color */
function paintReading(pen, at, color) {
  pen.strokeStyle = color;
  pen.lineWidth = 1;
  pen.setLineDash([3, 3]);
  stroke(pen, at, TOP_PX, at, HEIGHT_PX - BOTTOM_PX);
}

/** @param {CanvasRenderingContext2D} pen @param {number} x @param {number} y */
function dot(pen, x, y) {
  pen.beginPath();
  pen.arc(x, y, 2.5, 0, 2 * Math.PI);
  pen.fill();
}

/** @param {CanvasRenderingContext2D} pen @param {number} x1 @param {number} y1 @param {number} x2 @param {number} y2 */
function stroke(pen, x1, y1, x2, y2) {
  pen.beginPath();
  pen.moveTo(x1, y1);
  pen.lineTo(x2, y2);
  pen.stroke();
}

customElements.define("fgd-chart", Chart);
