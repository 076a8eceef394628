// @ts-check
import { address, BASE, change, get } from "../core/api.js";
import { live } from "../core/live.js";
import { missingRole } from "../core/session.js";
import { aliasBadges } from "../ui/aliases.js";
import { ask } from "../ui/dialog.js";
import { time } from "../ui/format.js";
import { fill, h } from "../ui/html.js";
import { stateBadge, tried } from "../ui/parts.js";
import { revise } from "../ui/revise.js";
import { rows } from "../ui/rows.js";
import { tree } from "../ui/tree.js";

/** @typedef {import("./models.js").Model} Model */
/** @typedef {import("./models.js").Version} Version */
/** @typedef {{ job_id: string, name: string, kind: string, state: string, needs: string[], data: string }} LineageJob */
/** @typedef {{ made_by: LineageJob[], used_by: LineageJob[] }} Lineage */

const CARD = "model_card.md";

/** One model: its versions, and where the chosen one comes from. @param {import("../core/router.js").Context} context */
export function open({ parts: [name], query, life }) {
  const path = `/v1/models/${encodeURIComponent(name)}`;
  const project = query.get("project");
  const [trouble, refusal, versions, content] = [h("div"), h("div"), h("div"), h("div")];
  const read = () => tried(trouble, life, async () => {
    /** @type {Model} */
    const model = await get(path, { query: { project }, life });
    const version = model.versions.find((each) => String(each.version) === query.get("version")) ?? model.versions[0];
    /** @type {Lineage} */
    const lineage = await get(`${path}/versions/${version.version}/lineage`, { query: { project }, life });
    const alias = { set: () => nameVersion(model, version, path, project, again, life), remove: (/** @type {string} */ each) => tried(refusal, life, async () => { await change("DELETE", inProject(`${path}/aliases/${encodeURIComponent(each)}`, project)); again(); }) };
    revise(versions, versionsPart(model, version, query));
    fill(content, versionPart(version, alias), ...lineageParts(lineage, version));
  });
  const again = live({ kinds: ["state_changed"], read }, life);
  query.watch(() => again(), life);
  return { title: `${name} – fgd`, element: h("article", {}, h("h1", {}, name), h("p", { className: "faint" }, `A model of the project ${project || "default"}.`), trouble, refusal, versions, content) };
}

/** @param {Model} model @param {Version} chosen @param {import("../core/router.js").Query} query */
function versionsPart({ versions }, chosen, query) {
  const choose = (/** @type {Version} */ { version }) => h("button", { type: "button", className: "choice", "aria-pressed": version === chosen.version, on: { click: () => query.write({ version: String(version) }) } }, `Version ${version}`);
  return rows({
    caption: "Versions", items: versions, key: ({ version }) => String(version),
    columns: [
      { label: "Version", cell: choose },
      { label: "Aliases", cell: ({ aliases }) => aliasBadges(aliases) },
      { label: "File", cell: ({ artifact, job_id: id }) => h("a", { href: fileAddress(id, artifact), download: "" }, artifact) },
      { label: "Job", cell: ({ job_id: id }) => h("a", { href: `${BASE}/jobs/${encodeURIComponent(id)}` }, id) },
      { label: "Named by", className: "wide", cell: ({ created_by: by }) => by },
      { label: "At", className: "wide when", cell: ({ created_at: at }) => time(at) },
    ],
  });
}

/** @param {string} jobId @param {string} name */
function fileAddress(jobId, name) {
  return address(`/v1/jobs/${encodeURIComponent(jobId)}/artifacts/${name.split("/").map(encodeURIComponent).join("/")}`);
}

/** @param {Version} version @param {{ set: () => void, remove: (alias: string) => void }} alias */
function versionPart(version, alias) {
  const why = missingRole("submit");
  const remove = (/** @type {string} */ name) => h("button", { type: "button", disabled: why !== null, title: why ?? "", on: { click: () => alias.remove(name) } }, `Remove ${name}`);
  return h(
    "section", {}, h("h2", {}, `Version ${version.version}`),
    h("div", { className: "bar", role: "group", "aria-label": "Actions" }, h("a", { className: "button", href: fileAddress(version.job_id, version.artifact), download: "" }, `Download ${version.artifact}`), h("button", { type: "button", disabled: why !== null, title: why ?? "", on: { click: alias.set } }, "Set an alias"), version.aliases.map(remove)),
    h("p", { className: "faint" }, "SHA-256 ", h("code", {}, version.sha256)),
    cardPart(version),
  );
}

/** The model card that an export has written beside its file, if it has. @param {Version} version */
function cardPart({ job_id: jobId }) {
  const text = h("pre", { tabIndex: 0 });
  const details = h("details", { hidden: true }, h("summary", {}, "Model card"), text);
  fetch(fileAddress(jobId, CARD)).then(async (answer) => {
    if (!answer.ok) return;
    text.textContent = await answer.text();
    details.hidden = false;
  }).catch(() => {});
  return details;
}

/** @param {Lineage} lineage @param {Version} version */
function lineageParts({ made_by: madeBy, used_by: usedBy }, version) {
  const box = (/** @type {LineageJob} */ job) => [
    h("a", { href: `${BASE}/jobs/${encodeURIComponent(job.job_id)}` }, job.name), h("small", {}, `${job.kind}${job.job_id === version.job_id ? ", this version" : ""}`), job.data && h("small", {}, `data: ${job.data}`), stateBadge(job.state),
  ];
  const items = [...madeBy, ...usedBy.filter(({ job_id: id }) => !madeBy.some((each) => each.job_id === id))];
  return [
    h("h2", {}, "Where it comes from, and what used it"),
    tree({ items, key: ({ job_id: id }) => id, needs: ({ needs }) => needs, box, label: "Lineage" }),
  ];
}

/** @param {Model} model @param {Version} version @param {string} path @param {string} project @param {() => void} done @param {AbortSignal} life */
function nameVersion(model, { version }, path, project, done, life) {
  ask({
    title: `Let an alias name version ${version} of ${model.name}`, action: "Set", text: "If the alias names another version now, it moves to this one.",
    fields: [{ name: "alias", label: "Alias", value: "production", limits: { required: true, maxLength: 40 } }],
    send: async ({ alias }) => {
      await change("PUT", inProject(`${path}/aliases/${encodeURIComponent(alias)}`, project), { version });
      done();
    },
  }, life);
}

/** @param {string} path @param {string} project Empty: that of the token. */
function inProject(path, project) {
  return project ? `${path}?project=${encodeURIComponent(project)}` : path;
}
