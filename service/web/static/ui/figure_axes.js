// @ts-check
import { formatted } from "./figure_text.js";
import { extent, linear, logarithmic, tickText } from "./scale.js";

/** A trace, as `service/reports/drawing.py` describes it: a part of plotly's format. @typedef {Record<string, any>} Trace */
/** @typedef {{ data: Trace[], layout: Record<string, any> }} Figure */
/** A text at a place of an axis. @typedef {{ at: number, text: string }} Tick */
/** An axis before it has a place in the picture; `own` maps a value to where it is between `from` and `to`. */
/** @typedef {{ id: string, layout: Record<string, any>, own: (value: any) => number, back: (own: number) => unknown, from: number, to: number, isLog: boolean, categories: string[] | null }} Range */
/** An axis in pixels. @typedef {Range & { start: number, end: number, pixel: (own: number) => number, at: (value: any) => number, ownAt: (pixel: number) => number, ticks: Tick[] }} Axis */
/** @typedef {{ x: Axis, y: Axis, traces: Trace[], isFirst: boolean }} Panel */

const MARGIN = 0.05;
/** Texts above marks need more room. */
const TEXT_MARGIN = 0.15;
const LINE_PX = 16;
const TICK_PX = 6;
const TOP_PX = 14;
const RIGHT_PX = 14;
const COLOUR_BAR_PX = 84;
const LONGEST_TICK_PX = 170;

/**
 * Place all panels of a figure.
 * @param {Figure} figure Its traces as `stacked` returns them.
 * @param {{ width: number, height: number }} size In pixels.
 * @param {(text: string) => number} widthOf Measures a text.
 * @param {Map<string, [number, number]>} zooms Ranges that a user chose, by axis.
 * @returns {Panel[]}
 */
export function panelsOf({ data, layout }, size, widthOf, zooms) {
  const pairs = [...new Set(data.map((trace) => `${trace.xaxis ?? "x"} ${trace.yaxis ?? "y"}`))].map((pair) => pair.split(" "));
  /** @type {Map<string, Range>} */
  const ranges = new Map(pairs.flat().map((id) => [id, rangeOf(id, layout, data, zooms)]));
  const range = (/** @type {string} */ id) => /** @type {Range} */ (ranges.get(id));
  const area = areaOf(layout, data, pairs.map(([x, y]) => [range(x), range(y)]), size, widthOf);
  return pairs.map(([x, y], index) => ({
    x: placed(range(x), area.left, area.right, 65),
    y: placed(range(y), area.bottom, area.top, 45),
    traces: data.filter((trace) => (trace.xaxis ?? "x") === x && (trace.yaxis ?? "y") === y),
    isFirst: index === 0,
  }));
}

/** Add up the lines of a stack; each gets the line below it as `base`. @param {Trace[]} data @returns {Trace[]} */
export function stacked(data) {
  /** @type {Map<string, Map<number, number>>} */
  const tops = new Map();
  return data.map((trace) => {
    if (!trace.stackgroup) return trace;
    const top = tops.get(trace.stackgroup) ?? new Map();
    tops.set(trace.stackgroup, top);
    const base = trace.x.map((/** @type {number} */ x) => top.get(x) ?? 0);
    const y = trace.y.map((/** @type {number | null} */ value, /** @type {number} */ index) => base[index] + (value ?? 0));
    trace.x.forEach((/** @type {number} */ x, /** @type {number} */ index) => top.set(x, y[index]));
    return { ...trace, y, base, own: trace.y };
  });
}

/** @param {Trace} trace Whether a mark of another part of the figure has a bar that explains its colours. */
export function colourBar(trace) {
  const of = trace.colorbar ? trace : trace.marker?.colorbar ? trace.marker : null;
  if (of === null) return null;
  const { low, high } = of === trace ? extent(trace.z) ?? { low: 0, high: 1 } : { low: of.cmin, high: of.cmax };
  return { low, high, scale: of.colorscale, title: of.colorbar.title?.text ?? "" };
}

/** @param {string} id `x`, `y`, `x2` … @param {Record<string, any>} layout */
function axisLayout(id, layout) {
  return layout[`${id[0]}axis${id.slice(1)}`] ?? {};
}

/**
 * @param {string} id
 * @param {Record<string, any>} layout
 * @param {Trace[]} data
 * @param {Map<string, [number, number]>} zooms
 * @returns {Range}
 */
function rangeOf(id, layout, data, zooms) {
  const side = id[0];
  const own = axisLayout(id, layout);
  const first = own.matches ?? id;
  const isHere = (/** @type {Trace} */ trace) => {
    const at = trace[`${side}axis`] ?? side;
    return (axisLayout(at, layout).matches ?? at) === first;
  };
  const here = data.filter(isHere);
  const categories = categoriesOf(own, here.flatMap((trace) => trace[side]));
  const isLog = own.type === "log";
  const order = new Map(categories?.map((name, index) => [name, index]));
  const toOwn = categories ? (/** @type {any} */ value) => order.get(String(value)) ?? NaN : isLog ? Math.log10 : (/** @type {any} */ value) => (value === null ? NaN : Number(value));
  const back = categories ? (/** @type {number} */ at) => categories[Math.round(at)] : isLog ? (/** @type {number} */ at) => 10 ** at : (/** @type {number} */ at) => at;
  const [from, to] = zooms.get(first) ?? own.range ?? automatic(own, here.flatMap((trace) => reach(trace, side)).map(toOwn), categories, here);
  return { id: first, layout: own, own: toOwn, back, from, to, isLog, categories };
}

/** @param {Record<string, any>} layout @param {unknown[]} values */
function categoriesOf(layout, values) {
  if (layout.type !== "category" && !values.some((value) => typeof value === "string")) return null;
  return [...new Set([...(layout.categoryarray ?? []), ...values.map(String)])];
}

/** All values that must fit on an axis. @param {Trace} trace @param {string} side @returns {any[]} */
function reach(trace, side) {
  const values = trace[side];
  if (trace.type === "bar") return side === valueSide(trace) ? [0, ...values] : values;
  if (side === "x" && trace.error_x) {
    return values.flatMap((/** @type {number} */ value, /** @type {number} */ index) => [value - (trace.error_x.arrayminus[index] ?? 0), value + (trace.error_x.array[index] ?? 0)]);
  }
  return trace.base && side === "y" ? [...values, ...trace.base] : values;
}

/** The side on which a bar has its value. @param {Trace} trace */
export function valueSide(trace) {
  return trace.orientation === "h" ? "x" : "y";
}

/** @param {Record<string, any>} layout @param {number[]} values @param {string[] | null} categories @param {Trace[]} here @returns {[number, number]} */
function automatic(layout, values, categories, here) {
  let [from, to] = categories ? [-0.5, categories.length - 0.5] : [0, 1];
  const found = categories ? null : extent([values]);
  if (found) {
    const isMap = here.some(({ type }) => type === "contour" || type === "heatmap");
    const margin = isMap ? 0 : (found.high - found.low || Math.abs(found.high) || 1) * (here.some(({ mode }) => mode?.includes("text")) ? TEXT_MARGIN : MARGIN);
    [from, to] = [found.low - margin, found.high + margin];
    // Bars and such axes begin at zero, without a gap.
    if (layout.rangemode === "tozero" || here.some(({ type }) => type === "bar")) [from, to] = [found.low < 0 ? from : 0, found.high > 0 ? to : 0];
  }
  return layout.autorange === "reversed" ? [to, from] : [from, to];
}

/**
 * Find how much room texts leave for the panels.
 * @param {Record<string, any>} layout
 * @param {Trace[]} data
 * @param {[Range, Range][]} ranges
 * @param {{ width: number, height: number }} size
 * @param {(text: string) => number} widthOf
 */
function areaOf(layout, data, ranges, { width, height }, widthOf) {
  const widest = (/** @type {Range} */ range, /** @type {number} */ length) => Math.min(LONGEST_TICK_PX, Math.max(0, ...ticksOf(range, length / 45).map(({ text }) => widthOf(text))));
  const atEdge = ranges.filter(([x]) => (x.layout.domain?.[0] ?? 0) < 0.1).map(([, y]) => y);
  const left = Math.max(TICK_PX, ...atEdge.map((y) => (y.layout.visible === false ? 0 : widest(y, height) + 2 * TICK_PX) + (y.layout.title?.text ? LINE_PX : 0)));
  const right = width - RIGHT_PX - (data.some(colourBar) ? COLOUR_BAR_PX : 0);
  const below = ranges.map(([x]) => (isCrowded(x, right - left, widthOf) ? widest(x, width) + 2 * TICK_PX : LINE_PX + TICK_PX) + (x.layout.title?.text ? LINE_PX : 0));
  return { left, right, top: TOP_PX, bottom: height - Math.max(...below) - 2 };
}

/** Whether the names of a category axis need more room than lies between them. @param {Range} axis @param {number} length @param {(text: string) => number} widthOf */
export function isCrowded(axis, length, widthOf) {
  return axis.categories !== null && Math.max(...axis.categories.map(widthOf)) > length / axis.categories.length;
}

/** @param {Range} range @param {number} begin @param {number} end Of the whole area. @param {number} tick_px @returns {Axis} */
function placed(range, begin, end, tick_px) {
  const [low, high] = range.layout.domain ?? [0, 1];
  const [start, stop] = [begin + low * (end - begin), begin + high * (end - begin)];
  const factor = (stop - start) / (range.to - range.from || 1);
  const pixel = (/** @type {number} */ own) => start + (own - range.from) * factor;
  return {
    ...range, start, end: stop, pixel, at: (value) => pixel(range.own(value)), ownAt: (at) => range.from + (at - start) / factor,
    ticks: ticksOf(range, Math.abs(stop - start) / tick_px),
  };
}

/** @param {Range} range @param {number} count Roughly how many. @returns {Tick[]} */
function ticksOf({ layout, own, from, to, isLog, categories }, count) {
  if (layout.visible === false || layout.showticklabels === false) return [];
  const [low, high] = from < to ? [from, to] : [to, from];
  const isInside = (/** @type {Tick} */ { at }) => at >= low - 1e-9 && at <= high + 1e-9;
  if (categories) return categories.map((text, at) => ({ at, text })).filter(isInside);
  /** @type {number[]} */
  const values = layout.tickvals ?? (isLog ? logarithmic(10 ** low, 10 ** high, 0, 1) : linear(low, high, 0, 1, count)).ticks;
  const textOf = layout.tickformat ? (/** @type {number} */ value) => formatted(value, layout.tickformat) : tickText;
  return values.map((value, index) => ({ at: own(value), text: String(layout.ticktext?.[index] ?? textOf(value)) })).filter(isInside);
}
