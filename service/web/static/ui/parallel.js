// @ts-check
import { DrawingElement, emptied } from "./drawing.js";
import { number } from "./format.js";
import { fill, h } from "./html.js";
import { fraction, isInside, valueAt } from "./axis.js";
import { paintAxes, paintLines, paintMarked } from "./parallel_drawing.js";
import { keyed } from "./parallel_keys.js";

/** @typedef {import("./axis.js").Axis} Axis */
/** @typedef {import("./scale.js").Range} Range */
/**
 * A line through all axes.
 * @typedef {object} Item
 * @property {number} key
 * @property {string} label Shown when the pointer is on the line.
 * @property {(number | null)[]} values One for each axis; null leaves a gap.
 * @property {number} share From 0, poor, to 1, best: the colour.
 * @property {boolean} isFaint
 */
/**
 * What is shown.
 * @typedef {object} Content
 * @property {Axis[]} axes
 * @property {Item[]} items The last one is drawn on top.
 * @property {Record<string, Range>} brushes By key of the axis.
 * @property {[string, string]} ends The values of the poorest and the best item in words.
 * @property {number | null} marked Key of an item that stands out.
 */
/** @typedef {{ width: number, height: number, xs: number[], top: number, bottom: number }} Frame In pixels; `xs` are those of the axes. */
/** A limit that is being drawn: index of the axis, and pixels. @typedef {{ axis: number, from: number, to: number }} Drag */

const HEIGHT_PX = 330;
const TOP_PX = 46;
const BOTTOM_PX = 14;
const LEFT_PX = 24;
const RIGHT_PX = 76;
const SMALLEST_AXIS_PX = 92;
const REACH_PX = 8;
const SMALLEST_DRAG_PX = 4;
const NUM_SHADES = 9;

/**
 * Parallel coordinates on a canvas. Drag along an axis to keep only the lines that pass there; click the axis to
 * release it. With the keyboard: left and right choose an axis, up and down move its range, + and - widen and narrow it,
 * Delete releases the axis.
 *
 * Events: `brush`, `detail` is `{ axis, range }` with null to release; the page answers with `show({ brushes })`. `pick`,
 * `detail` is the key of the clicked line.
 */
export class Parallel extends DrawingElement {
  /** @type {Content} */
  #content = { axes: [], items: [], brushes: {}, ends: ["", ""], marked: null };
  /** @type {Item[]} */
  #inside = [];
  /** @type {Frame | null} */
  #frame = null;
  /** @type {Item | null} */
  #pointed = null;
  /** Index of the axis that the keyboard changes. */
  #active = 0;
  /** @type {Drag | null} */
  #drag = null;
  /** The lines, which stay the same while a limit is drawn and while the pointer moves: thousands take a tenth of a second. */
  #lines = h("canvas");
  #areLinesOld = true;
  #scale = h("div", { className: "ramp" });
  #label = h("p", { className: "faint pointed" });
  #watcher = new ResizeObserver(() => this.renew());

  connectedCallback() {
    super.connectedCallback();
    this.replaceChildren(h("div", { className: "wide-canvas" }, this.canvas), this.#scale, this.#label);
    this.#watcher.observe(this);
    const canvas = this.canvas;
    canvas.onpointerdown = (event) => this.#press(event);
    canvas.onpointermove = (event) => this.#move(event);
    canvas.onpointerup = (event) => this.#release(event);
    canvas.onpointerleave = () => this.#point(null);
    canvas.onkeydown = (event) => this.#onKey(event);
    canvas.onfocus = canvas.onblur = () => this.redraw();
  }

  disconnectedCallback() {
    super.disconnectedCallback();
    this.#watcher.disconnect();
  }

  /** @param {Partial<Content>} changes */
  show(changes) {
    this.#content = { ...this.#content, ...changes };
    const { items, axes, brushes } = this.#content;
    this.#inside = items.filter((item) => isInside(item.values, axes, brushes));
    this.#active = Math.min(this.#active, Math.max(0, axes.length - 1));
    this.renew();
  }

  /** What is shown, for tests: keys of the lines that pass all brushes, and pixels. */
  get shown() {
    return { inside: this.#inside.map(({ key }) => key), frame: this.#frame };
  }

  renew() {
    this.#areLinesOld = true;
    this.redraw();
  }

  draw() {
    const { axes, items, ends } = this.#content;
    const canvas = this.canvas;
    const width = Math.max(this.clientWidth, LEFT_PX + RIGHT_PX + SMALLEST_AXIS_PX * (axes.length - 1));
    const step = (width - LEFT_PX - RIGHT_PX) / Math.max(1, axes.length - 1);
    this.#frame = { width, height: HEIGHT_PX, xs: axes.map((_, index) => LEFT_PX + index * step), top: TOP_PX, bottom: HEIGHT_PX - BOTTOM_PX };
    if (this.#scale.childElementCount === 0) fill(this.#scale, h("span"), Array.from({ length: NUM_SHADES }, (_, index) => h("i", { className: `ramp-${index}` })), h("span"));
    [this.#scale.children[0].textContent, this.#scale.children[NUM_SHADES + 1].textContent] = ends;
    canvas.style.width = `${width}px`;
    const shades = [...this.#scale.querySelectorAll("i")].map((each) => getComputedStyle(each).color);
    const marked = items.filter((item) => item === this.#pointed || item.key === this.#content.marked);
    const drawing = {
      frame: this.#frame, axes, items, inside: new Set(this.#inside), marked, shades, brushes: this.#shownBrushes(),
      style: getComputedStyle(this), active: document.activeElement === canvas ? this.#active : null,
    };
    if (this.#areLinesOld) {
      paintLines(emptied(this.#lines, width, HEIGHT_PX), drawing);
      this.#areLinesOld = false;
    }
    const pen = emptied(canvas, width, HEIGHT_PX);
    pen.drawImage(this.#lines, 0, 0, width, HEIGHT_PX);
    paintAxes(pen, drawing);
    paintMarked(pen, drawing);
    canvas.setAttribute("aria-label", this.#words());
  }

  /** The brushes, with the one that is being drawn. @returns {Record<string, Range>} */
  #shownBrushes() {
    const { axes, brushes } = this.#content;
    if (this.#drag === null) return brushes;
    return { ...brushes, [axes[this.#drag.axis].key]: this.#draggedRange() };
  }

  /** @returns {Range} */
  #draggedRange() {
    const { axis, from, to } = /** @type {Drag} */ (this.#drag);
    const [low, high] = [from, to].map((pixel) => valueAt(this.#content.axes[axis], this.#part(pixel))).sort((a, b) => a - b);
    return { low, high };
  }

  #words() {
    const { axes, items, brushes } = this.#content;
    const axis = axes[this.#active];
    const range = axis && brushes[axis.key];
    const chosen = axis ? ` Axis ${axis.label}: ${range ? `${number(range.low)} to ${number(range.high)}` : "not limited"}.` : "";
    return `Parallel coordinates: ${this.#inside.length} of ${items.length} lines pass all limits.${chosen} Arrow keys choose an axis and move its limits.`;
  }

  /** @param {number} y In pixels. @returns {number} From 0 at the bottom to 1. */
  #part(y) {
    const { top, bottom } = /** @type {Frame} */ (this.#frame);
    return Math.min(1, Math.max(0, (bottom - y) / (bottom - top)));
  }

  /** @param {PointerEvent} event */
  #press({ offsetX, offsetY, pointerId }) {
    const axis = this.#frame?.xs.findIndex((x) => Math.abs(x - offsetX) <= 2 * REACH_PX) ?? -1;
    if (axis < 0) return;
    this.#active = axis;
    this.#drag = { axis, from: offsetY, to: offsetY };
    this.canvas.setPointerCapture(pointerId);
  }

  /** @param {PointerEvent} event */
  #move({ offsetX, offsetY }) {
    if (this.#drag === null) return this.#point(this.#nearest(offsetX, offsetY));
    this.#drag.to = offsetY;
    this.redraw();
  }

  /** @param {PointerEvent} event */
  #release({ offsetX, offsetY }) {
    const drag = this.#drag;
    if (drag === null) {
      const item = this.#nearest(offsetX, offsetY);
      if (item) this.dispatchEvent(new CustomEvent("pick", { detail: item.key, bubbles: true }));
      return;
    }
    const isClick = Math.abs(drag.to - drag.from) < SMALLEST_DRAG_PX;
    const range = isClick ? null : this.#draggedRange();
    this.#drag = null;
    this.#brush(drag.axis, range);
  }

  /** @param {number} axis @param {Range | null} range */
  #brush(axis, range) {
    this.dispatchEvent(new CustomEvent("brush", { detail: { axis: this.#content.axes[axis].key, range }, bubbles: true }));
  }

  /** @param {Item | null} item */
  #point(item) {
    if (item === this.#pointed) return;
    this.#pointed = item;
    this.#label.textContent = item?.label ?? "";
    this.redraw();
  }

  /** The line under the pointer. @param {number} x @param {number} y @returns {Item | null} */
  #nearest(x, y) {
    const { xs, top, bottom } = this.#frame ?? { xs: [], top: 0, bottom: 0 };
    const right = xs.findIndex((each) => each >= x);
    if (right < 1) return null;
    const along = (x - xs[right - 1]) / (xs[right] - xs[right - 1]);
    /** @type {Item | null} */
    let found = null;
    let reach = REACH_PX;
    for (const item of this.#inside) {
      const [a, b] = [right - 1, right].map((index) => fraction(this.#content.axes[index], item.values[index]));
      if (a === null || b === null) continue;
      const distance = Math.abs(bottom - (a + (b - a) * along) * (bottom - top) - y);
      if (distance <= reach) [found, reach] = [item, distance];
    }
    return found;
  }

  /** @param {KeyboardEvent} event */
  #onKey(event) {
    const change = keyed(event.key, this.#content, this.#active);
    if (change === null) return;
    event.preventDefault();
    this.#active = change.active;
    if (change.range !== undefined) this.#brush(change.active, change.range);
    this.redraw();
  }
}

customElements.define("fgd-parallel", Parallel);
