// @ts-check

const PARTS = { mask: "mask", keypoint: "keypoint" };
/** @type {Record<string, string>} */
const NAMES = { images_per_s: "images/s", num_parameters: "parameters" };
/** @type {Record<string, string>} */
const ORIGINS = { plain: "no distillation", published: "default weights", finalist: "repeat" };

/** Write the name of a metric as the reports do: AP50, AP small, AP of cat, mask AP. @param {string} metric @returns {string} */
export function metricName(metric) {
  const [kind, ofClass] = split(metric, ":");
  if (ofClass) return `${kind === "class50" ? "AP50" : "AP"} of ${ofClass}`;
  const [part, name] = split(metric, "_");
  if (part in PARTS) return `${part} ${metricName(name)}`;
  if (metric in NAMES) return NAMES[metric];
  return ["small", "medium", "large"].includes(name) ? `${part.toUpperCase()} ${name}` : metric.toUpperCase();
}

/** @param {string} metric @param {number | null | undefined} value */
export function metricValue(metric, value) {
  if (value === null || value === undefined) return "–";
  if (metric === "num_parameters") return `${(value / 1e6).toFixed(2)} M`;
  return value.toFixed(metric === "images_per_s" ? 1 : 3);
}

/** Write why a trial runs. @param {string} origin */
export function originText(origin) {
  return ORIGINS[origin] ?? origin;
}

/** Write a value of a spec, a fraction with four digits. @param {unknown} value */
export function valueText(value) {
  if (typeof value === "string") return value;
  return typeof value === "number" && !Number.isInteger(value) ? digits(value, 4) : JSON.stringify(value);
}

/** @param {number} value @param {number} count Significant digits. */
export function digits(value, count) {
  const rounded = Number(value.toPrecision(count));
  return rounded !== 0 && Math.abs(rounded) < 1e-3 ? rounded.toExponential() : String(rounded);
}

/** Write values: `alpha = 0.002, temperature = 0.5`. @param {Record<string, unknown>} values */
export function valuesText(values) {
  return Object.entries(values).map(([path, value]) => `${lastPart(path)} = ${valueText(value)}`).join(", ") || "the base job’s values";
}

/** The last part of a field's path, which fits on an axis. @param {string} path */
export function lastPart(path) {
  return path.slice(path.lastIndexOf(".") + 1);
}

/** @param {string} text @param {string} sign @returns {[string, string]} */
function split(text, sign) {
  const index = text.indexOf(sign);
  return index < 0 ? [text, ""] : [text.slice(0, index), text.slice(index + 1)];
}
