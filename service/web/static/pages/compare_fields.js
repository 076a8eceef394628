// @ts-check
import { differing } from "../core/fields.js";
import { h } from "../ui/html.js";
import { valueText } from "../ui/metrics.js";

/** @typedef {import("../core/compared.js").Run} Run */

/** The fields in which the runs differ, and only these. @param {Run[]} runs */
export function fieldsPart(runs) {
  if (runs.length < 2) return [];
  const paths = differing(runs.map(({ fields }) => fields)).filter((path) => path !== "name");
  const row = (/** @type {string} */ path) => h("tr", {}, h("th", { scope: "row" }, h("code", {}, path)), runs.map(({ fields }) => h("td", { title: fields.get(path) ?? null }, shown(fields.get(path)))));
  const head = h("tr", {}, h("th", { scope: "col" }, "Field"), runs.map(({ name }) => h("th", { scope: "col" }, name)));
  return [
    h("h2", {}, "Fields that differ"),
    paths.length === 0 ? h("p", { className: "faint" }, "The specs are equal, apart from their names.") : h("div", { className: "wide-content" }, h("table", { className: "fields" }, h("thead", {}, head), h("tbody", {}, paths.map(row)))),
  ];
}

/** @param {string | undefined} json Undefined: the spec has no such field. */
function shown(json) {
  return json === undefined ? h("span", { className: "faint" }, "–") : valueText(JSON.parse(json));
}
