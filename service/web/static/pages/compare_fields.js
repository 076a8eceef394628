// @ts-check
import { differing } from "../core/fields.js";
import { h } from "../ui/html.js";
import { valueText } from "../ui/metrics.js";

/** @typedef {import("../core/compared.js").Run} Run */

/** The fields in which the runs differ, and only these. @param {Run[]} runs */
export function fieldsPart(runs) {
  if (runs.length < 2) return [];
  const specs = comparable(runs.map(({ fields }) => fields));
  const paths = differing(specs).filter((path) => path !== "name");
  const row = (/** @type {string} */ path) => h("tr", {}, h("th", { scope: "row" }, h("code", {}, path)), specs.map((fields) => h("td", { title: fields.get(path) ?? null }, shown(fields.get(path)))));
  const head = h("tr", {}, h("th", { scope: "col" }, "Field"), runs.map(({ name }) => h("th", { scope: "col" }, name)));
  return [
    h("h2", {}, "Fields that differ"),
    paths.length === 0 ? h("p", { className: "faint" }, "The specs are equal, apart from their names.") : h("div", { className: "wide-content" }, h("table", { className: "fields" }, h("thead", {}, head), h("tbody", {}, paths.map(row)))),
  ];
}

/**
 * Make the specs of different kinds of jobs comparable: the detector of a training stands for the student of a distillation, and a
 * part that only some specs have, such as the method, is one field with its type.
 * @param {Map<string, string>[]} specs
 */
function comparable(specs) {
  const hasStudent = specs.some((fields) => fields.has("student.type"));
  const renamed = specs.map((fields) => new Map([...fields].map(([path, value]) => [hasStudent ? path.replace(/^detector\./, "student.") : path, value])));
  const parts = renamed.map((fields) => new Set([...fields.keys()].map(partOf)));
  const isShared = (/** @type {string} */ path) => !path.includes(".") || parts.every((names) => names.has(partOf(path)));
  return renamed.map((fields, index) => {
    const lone = [...parts[index]].filter((part) => [...fields.keys()].some((path) => partOf(path) === part && !isShared(path)));
    return new Map([...[...fields].filter(([path]) => isShared(path)), ...lone.map((part) => /** @type {[string, string]} */ ([part, fields.get(`${part}.type`) ?? fields.get(`${part}.checkpoint`) ?? '"set"']))]);
  });
}

/** @param {string} path */
function partOf(path) {
  return path.split(".")[0];
}

/** @param {string | undefined} json Undefined: the spec has no such field. */
function shown(json) {
  return json === undefined ? h("span", { className: "faint" }, "–") : valueText(JSON.parse(json));
}
