// @ts-check
import { BASE, get } from "../core/api.js";
import { live } from "../core/live.js";
import { aliasBadges } from "../ui/aliases.js";
import { time } from "../ui/format.js";
import { h } from "../ui/html.js";
import { tried } from "../ui/parts.js";
import { revise } from "../ui/revise.js";
import { rows } from "../ui/rows.js";

/** @typedef {{ version: number, job_id: string, artifact: string, sha256: string, created_at: string, created_by: string, aliases: string[] }} Version */
/** @typedef {{ project: string, name: string, versions: Version[] }} Model */

/** The models: names over checkpoints and exports. @param {import("../core/router.js").Context} context */
export function open({ life }) {
  const trouble = h("div");
  const list = h("div");
  const read = () => tried(trouble, life, async () => revise(list, table((await get("/v1/models", { life })).items)));
  live({ kinds: ["state_changed"], read }, life);
  return { title: "Models – fgd", element: h("section", {}, h("h1", {}, "Models"), h("p", { className: "faint" }, "A model is a name with numbered versions; each version is one file of one job. An alias, such as production, names the version that is in use."), trouble, list) };
}

/** @param {Model} model */
export function modelAddress({ project, name }) {
  return `${BASE}/models/${encodeURIComponent(name)}?project=${encodeURIComponent(project)}`;
}

/** @param {Model[]} items */
function table(items) {
  return rows({
    caption: "Models", items, key: modelAddress,
    empty: ["No model has a name yet. Open a job that succeeded and name one of its files, or ", h("code", {}, "fgd models add NAME JOB"), "."],
    columns: [
      { label: "Model", cell: (model) => h("a", { href: modelAddress(model) }, model.name) },
      { label: "Newest", className: "number", cell: ({ versions }) => versions[0].version },
      { label: "Aliases", cell: ({ versions }) => versions.filter(({ aliases }) => aliases.length > 0).map(({ version, aliases }) => h("div", {}, aliasBadges(aliases), h("small", {}, ` version ${version}`))) },
      { label: "File", className: "wide", cell: ({ versions }) => versions[0].artifact },
      { label: "Project", className: "wide", cell: ({ project }) => project },
      { label: "Changed", className: "wide when", cell: ({ versions }) => time(versions[0].created_at) },
    ],
  });
}
