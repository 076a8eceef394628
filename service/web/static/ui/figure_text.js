// @ts-check
import { number } from "./format.js";

/** @typedef {import("./figure_axes.js").Trace} Trace */

const FIELD = /%\{([\w.[\]]+)(?::([^}]+))?\}/g;

/**
 * Write a number by a format of the figures, for example `.3f`, `+.3f`, `.4g`, `.3~g` or `.0%`.
 * @param {unknown} value Anything but a number is written as it is.
 * @param {string} [format] Without one, a number gets three or four significant digits.
 */
export function formatted(value, format) {
  if (typeof value !== "number") return String(value ?? "–");
  const [, sign, digits, kind] = /^(\+?)\.(\d+)~?([fg%])$/.exec(format ?? "") ?? [];
  if (kind === undefined) return number(value);
  const count = Number(digits);
  const text = kind === "%" ? `${(100 * value).toFixed(count)} %` : kind === "f" ? value.toFixed(count) : String(Number(value.toPrecision(Math.max(1, count))));
  return sign && value >= 0 ? `+${text}` : text;
}

/**
 * Return the text under the pointer for one point. Values are inserted after the template was split into lines, so text of
 * users has no meaning of its own.
 * @param {Trace} trace
 * @param {number} index Of the point.
 * @param {Record<string, unknown>} point `x` and `y`; of a map `z` as well.
 * @param {Record<string, string>} labels Texts for `%{text}`, by the point's `customdata`.
 */
export function hoverText(trace, index, point, labels) {
  const custom = trace.customdata?.[index];
  const template = trace.hovertemplate ?? "%{x}: %{y}<extra>%{fullData.name}</extra>";
  const values = { ...point, customdata: custom, text: labels[String(custom)] ?? trace.text?.[index] ?? "", "fullData.name": trace.name ?? "" };
  /** @type {string[]} */
  const lines = template.replace("<extra></extra>", "").replace("</extra>", "").split(/<br>|<extra>/);
  return lines.map((line) => line.replace(FIELD, (/** @type {string} */ _, /** @type {string} */ path, /** @type {string} */ format) => formatted(valueOf(values, path), format))).filter((line) => line !== "").join("\n");
}

/** @param {Record<string, unknown>} values @param {string} path A name, or a name with an index: `customdata[0]`. */
function valueOf(values, path) {
  const [, name, index] = /^([\w.]+)(?:\[(\d+)\])?$/.exec(path) ?? [];
  const value = values[name];
  return index === undefined ? value : /** @type {unknown[]} */ (value ?? [])[Number(index)];
}
