// @ts-check
import { DrawingElement, emptied } from "./drawing.js";
import { panelsOf, stacked } from "./figure_axes.js";
import { paintAnnotations, paintColourBar, paintFrame, paintShapes } from "./figure_frame.js";
import { paintTraces } from "./figure_marks.js";
import { hoverText } from "./figure_text.js";
import { fill, h } from "./html.js";

/** @typedef {import("./figure_axes.js").Figure} Figure */
/** @typedef {import("./figure_axes.js").Panel} Panel */
/** @typedef {import("./figure_axes.js").Trace} Trace */
/** @typedef {import("./figure_marks.js").Target} Target */
/** @typedef {import("./figure_frame.js").Colours} Colours */

const NEAR_PX = 24;
const SMALLEST_DRAG_PX = 8;
const BEFORE_SCREEN_PX = 400;
const PRINT = { ink: "#000000", grid: "#bbbbbb" };
const PRINT_RATIO = 3;

/**
 * A figure of a report, as the server makes it: `{ data, layout }`, a part of plotly's format. On a canvas, drawn when it
 * comes near the screen. Drag to zoom, double-click or Escape shows everything, a name in the legend hides its marks.
 *
 * Event `pick`: a click on a point that has `customdata`, which is the `detail`; for example the number of a trial.
 */
export class FigureElement extends DrawingElement {
  /** @type {Figure} */
  #figure = { data: [], layout: {} };
  /** @type {Record<string, string>} */
  #labels = {};
  /** Entries of the legend that are switched off. @type {Set<string>} */
  #hidden = new Set();
  /** @type {Set<unknown> | null} */
  #selected = null;
  /** @type {Map<string, [number, number]>} */
  #zooms = new Map();
  /** @type {Panel[]} */
  #panels = [];
  /** @type {Target[]} */
  #targets = [];
  /** Where a drag began, and where it is. @type {{ x: number, y: number, toX: number, toY: number } | null} */
  #drag = null;
  #isNear = false;
  /** Of the canvas when it was drawn; 0: what is drawn is out of date. */
  #drawnWidth_px = 0;
  #legend = h("div", { className: "legend", role: "group", "aria-label": "Lines and marks" });
  #tip = h("div", { className: "tip", hidden: true });
  #resizes = new ResizeObserver(() => { if (this.canvas.clientWidth !== this.#drawnWidth_px) this.redraw(); });
  #nearness = new IntersectionObserver(([entry]) => { this.#isNear = entry.isIntersecting; if (this.#drawnWidth_px === 0) this.redraw(); }, { rootMargin: `${BEFORE_SCREEN_PX}px` });

  connectedCallback() {
    super.connectedCallback();
    this.replaceChildren(this.#legend, this.canvas, this.#tip);
    this.#resizes.observe(this.canvas);
    this.#nearness.observe(this);
    this.#listen();
  }

  disconnectedCallback() {
    super.disconnectedCallback();
    this.#resizes.disconnect();
    this.#nearness.disconnect();
  }

  /**
   * @param {Figure} figure
   * @param {Record<string, string>} [labels] Texts under the pointer, by `customdata`.
   */
  show(figure, labels = {}) {
    this.#figure = { ...figure, data: stacked(figure.data) };
    this.#labels = labels;
    this.canvas.style.height = `${figure.layout.height - 30}px`;
    this.canvas.setAttribute("aria-label", this.getAttribute("alt") ?? "chart");
    this.#showLegend();
    // What is in view at once does not wait for the observer and the next picture.
    this.#isNear ||= this.getBoundingClientRect().top < innerHeight + BEFORE_SCREEN_PX;
    if (this.#drawnWidth_px === 0 && this.#isNear && this.isConnected) this.draw();
    else this.redraw();
  }

  /** Fade the points of traces with `customdata` that is not in the set. @param {Set<unknown> | null} selected Null: fade none. */
  select(selected) {
    this.#selected = selected;
    this.redraw();
  }

  /** Draw black on white, finely, for the printer; until it is called with false. @param {boolean} isPrinting */
  print(isPrinting) {
    this.draw(isPrinting ? PRINT : undefined, isPrinting ? PRINT_RATIO : undefined);
  }

  /** What is drawn, for tests. */
  get drawn() {
    const lines = this.#panels.flatMap(({ traces }) => traces).filter(({ type, mode }) => type === "scatter" && (mode ?? "lines").includes("lines"));
    return { traces: this.#panels.flatMap(({ traces }) => traces.map(({ type, name, x, y, xaxis = "x" }) => ({ type, name, x, y, xaxis }))), points: this.#targets.length, lines: lines.length };
  }

  /** Where the points are, in pixels; for tests. */
  get places() {
    return this.#targets.map(({ x, y }) => ({ x, y }));
  }

  #listen() {
    const canvas = this.canvas;
    canvas.onpointerdown = ({ offsetX: x, offsetY: y, pointerType, pointerId }) => {
      if (pointerType === "touch") return;
      this.#drag = { x, y, toX: x, toY: y };
      canvas.setPointerCapture(pointerId);
    };
    canvas.onpointermove = ({ offsetX: x, offsetY: y }) => this.#onMove(x, y);
    canvas.onpointerup = () => this.#endDrag();
    canvas.onpointerleave = () => { this.#tip.hidden = true; };
    canvas.ondblclick = () => this.#showAll();
    canvas.onkeydown = ({ key }) => { if (key === "Escape") this.#showAll(); };
    canvas.onclick = ({ offsetX, offsetY }) => {
      const found = this.#nearest(offsetX, offsetY);
      const custom = found?.trace.customdata?.[found.index];
      if (custom !== undefined) this.dispatchEvent(new CustomEvent("pick", { detail: custom, bubbles: true }));
    };
  }

  #showAll() {
    this.#zooms.clear();
    this.redraw();
  }

  /** @param {number} x @param {number} y */
  #onMove(x, y) {
    if (this.#drag) { Object.assign(this.#drag, { toX: x, toY: y }); this.redraw(); return; }
    const found = this.#nearest(x, y);
    this.#tip.hidden = found === undefined;
    if (!found) return;
    this.#tip.textContent = hoverText(found.trace, found.index, found.point, this.#labels);
    const isRight = x > this.canvas.clientWidth / 2;
    this.#tip.style.left = isRight ? "" : `${x + 14}px`;
    this.#tip.style.right = isRight ? `${this.canvas.clientWidth - x + 14}px` : "";
    this.#tip.style.top = `${this.canvas.offsetTop + y + 10}px`;
  }

  /** @param {number} x @param {number} y */
  #nearest(x, y) {
    const away = (/** @type {Target} */ { x: left, y: top, width, height }) => Math.hypot(Math.max(left - x, 0, x - left - width), Math.max(top - y, 0, y - top - height));
    /** @type {[Target | undefined, number]} */
    let [best, distance] = [undefined, NEAR_PX];
    for (const target of this.#targets) {
      const here = away(target);
      if (here < distance) [best, distance] = [target, here];
    }
    return best;
  }

  #endDrag() {
    const drag = this.#drag;
    this.#drag = null;
    if (!drag) return;
    const panel = this.#panels.find(({ x, y }) => drag.x >= x.start && drag.x <= x.end && drag.y >= y.end && drag.y <= y.start);
    const sides = /** @type {const} */ ([["x", drag.x, drag.toX], ["y", drag.y, drag.toY]]);
    for (const [side, from, to] of panel ? sides : []) {
      const axis = /** @type {Panel} */ (panel)[side];
      if (Math.abs(to - from) >= SMALLEST_DRAG_PX) this.#zooms.set(axis.id, towards(axis, axis.ownAt(from), axis.ownAt(to)));
    }
    this.redraw();
  }

  /** One entry for each name or group, if the figure has several; a chart of one line needs none. */
  #showLegend() {
    const named = this.#figure.data.filter(({ showlegend, name }) => showlegend !== false && name);
    const isNeeded = named.length > 1 || named.some(({ showlegend }) => showlegend === true);
    fill(this.#legend, (isNeeded ? named : []).map((trace) => {
      const swatch = h("i");
      swatch.style.color = trace.line?.color ?? trace.marker?.color ?? "";
      return h("button", { type: "button", "aria-pressed": !this.#hidden.has(groupOf(trace)), on: { click: (/** @type {MouseEvent} */ event) => this.#toggle(groupOf(trace), event) } }, swatch, h("span", {}, trace.name));
    }));
  }

  /** @param {string} group @param {MouseEvent} event */
  #toggle(group, event) {
    if (!this.#hidden.delete(group)) this.#hidden.add(group);
    /** @type {Element} */ (event.currentTarget).setAttribute("aria-pressed", String(!this.#hidden.has(group)));
    this.redraw();
  }

  redraw() {
    this.#drawnWidth_px = 0;
    super.redraw();
  }

  get isVisible() {
    return this.#isNear;
  }

  /** @param {Colours} [colours] Those of the page, unless given. @param {number} [ratio] Of the canvas's pixels to the page's. */
  draw(colours, ratio = devicePixelRatio) {
    const style = getComputedStyle(this);
    const { ink, grid } = colours ?? { ink: style.color, grid: style.outlineColor };
    const [width, height] = [this.canvas.clientWidth, this.canvas.clientHeight];
    this.#drawnWidth_px = width;
    const pen = emptied(this.canvas, width, height, ratio);
    pen.font = `12px ${style.fontFamily}`;
    const shown = { ...this.#figure, data: this.#figure.data.filter((trace) => !this.#hidden.has(groupOf(trace))) };
    this.#panels = panelsOf(shown, { width, height }, (text) => pen.measureText(text).width, this.#zooms);
    this.#targets = [];
    for (const panel of this.#panels) this.#paint(pen, panel, { ink, grid });
    paintColourBar(pen, this.#panels, width, { ink, grid });
    if (this.#drag) frameOf(pen, this.#drag, ink);
    this.dispatchEvent(new Event("drawn", { bubbles: true }));
  }

  /** @param {CanvasRenderingContext2D} pen @param {Panel} panel @param {Colours} colours */
  #paint(pen, panel, colours) {
    const { x, y, isFirst } = panel;
    paintFrame(pen, panel, colours);
    pen.save();
    if (this.#zooms.size > 0) {
      pen.beginPath();
      pen.rect(x.start, y.end, x.end - x.start, y.start - y.end);
      pen.clip();
    }
    paintShapes(pen, panel, this.#figure.layout);
    const isFaded = (/** @type {Trace} */ trace, /** @type {number} */ index) => this.#selected !== null && trace.customdata !== undefined && !this.#selected.has(trace.customdata[index]);
    paintTraces({ pen, ink: colours.ink, isFaded, targets: this.#targets }, panel);
    pen.restore();
    if (isFirst) paintAnnotations(pen, panel, this.#figure.layout, colours);
  }
}

/** @param {Trace} trace @returns {string} */
const groupOf = ({ legendgroup, name }) => legendgroup ?? name ?? "";

/** Order two ends of a range as the axis is directed. @param {{ from: number, to: number }} axis @param {number} one @param {number} other @returns {[number, number]} */
function towards({ from, to }, one, other) {
  return (one < other) === (from < to) ? [one, other] : [other, one];
}

/** @param {CanvasRenderingContext2D} pen @param {{ x: number, y: number, toX: number, toY: number }} drag @param {string} ink */
function frameOf(pen, { x, y, toX, toY }, ink) {
  pen.strokeStyle = ink;
  pen.setLineDash([3, 3]);
  pen.strokeRect(x, y, toX - x, toY - y);
}

customElements.define("fgd-figure", FigureElement);
