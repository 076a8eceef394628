// @ts-check
import { BASE } from "../core/api.js";
import { size } from "../ui/format.js";
import { h } from "../ui/html.js";

/** The files that a job has left. @param {import("../core/types.js").Job} job */
export function filesPart(job) {
  const rows = job.artifacts.map(({ name, size_bytes, sha256, url }) => h(
    "tr", {}, h("th", { scope: "row" }, h("a", { href: `${BASE}${url}`, download: "" }, name)),
    h("td", { className: "number" }, size(size_bytes)), h("td", { title: `SHA-256 ${sha256}` }, h("code", {}, sha256.slice(0, 8))),
  ));
  const spec = h("details", {}, h("summary", {}, "Spec"), h("pre", { tabIndex: 0, role: "region", "aria-label": "Spec" }, JSON.stringify(job.spec, null, 2)));
  const head = h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Name"), h("th", { scope: "col", className: "number" }, "Size"), h("th", { scope: "col" }, "SHA-256")));
  return [rows.length > 0 && h("h2", {}, "Files"), rows.length > 0 && h("table", {}, head, h("tbody", {}, rows)), spec];
}
