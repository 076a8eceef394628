// @ts-check
import { h } from "./html.js";

/** @typedef {{ path: string, from: string, to: string }} Difference */

/** A spec as nested lists of its fields. @param {unknown} spec */
export function specLines(spec) {
  return h("pre", { tabIndex: 0, role: "region", "aria-label": "Spec", className: "spec" }, JSON.stringify(spec, null, 2));
}

/**
 * Return the fields in which two specs differ, by path; a dash where one of them lacks the field.
 * @param {unknown} from
 * @param {unknown} to
 * @returns {Difference[]}
 */
export function differences(from, to) {
  const [before, after] = [leaves(from), leaves(to)];
  const paths = [...new Set([...before.keys(), ...after.keys()])];
  return paths.map((path) => ({ path, from: before.get(path) ?? "–", to: after.get(path) ?? "–" })).filter((each) => each.from !== each.to);
}

/** @param {unknown} value @param {string} [path] @param {Map<string, string>} [found] */
function leaves(value, path = "", found = new Map()) {
  if (value === null || typeof value !== "object" || Object.keys(value).length === 0) return found.set(path, JSON.stringify(value));
  for (const [name, each] of Object.entries(value)) leaves(each, path ? `${path}.${name}` : name, found);
  return found;
}
