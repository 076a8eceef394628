// @ts-check
import { pathOf } from "../core/actions.js";
import { BASE, get } from "../core/api.js";
import { differing, flattened } from "../core/fields.js";
import { toYaml } from "../core/yaml.js";
import { copyText } from "../ui/copy.js";
import { size } from "../ui/format.js";
import { fill, h } from "../ui/html.js";
import { tried } from "../ui/parts.js";
import { lineagePart } from "./job_lineage.js";

/** @typedef {import("../core/types.js").Job} Job */

const CARD = "model_card.md";

/** The files that a job has left, its model card, its lineage, and its spec beside that of another job. */
export class FilesTab {
  #files = h("section");
  #card = h("section");
  #spec = h("section");
  #trouble = h("div");
  #shown = "";
  /** @type {Job | null} */
  #job = null;

  /** @param {string} jobId @param {import("../core/router.js").Query} query @param {AbortSignal} life */
  constructor(jobId, query, life) {
    this.#query = query;
    this.#life = life;
    this.element = h("div", { className: "beside" }, h("div", {}, this.#trouble, this.#files, this.#card), h("div", {}, lineagePart(jobId, life), this.#spec));
    query.watch(() => this.#showSpec(), life);
  }

  #query;
  #life;

  /** @param {Job} job */
  setJob(job) {
    this.#job = job;
    const text = JSON.stringify([job.artifacts, job.spec]);
    if (text === this.#shown) return;
    this.#shown = text;
    fill(this.#files, filesOf(job));
    this.#showSpec();
    this.#showCard(job);
  }

  /** @param {Job} job */
  #showCard(job) {
    const card = job.artifacts.find(({ name }) => name === CARD);
    if (!card) return;
    tried(this.#trouble, this.#life, async () => {
      const answer = await fetch(`${BASE}${card.url}`, { signal: this.#life });
      if (answer.ok) fill(this.#card, h("h2", {}, "Model card"), h("pre", { tabIndex: 0, role: "region", "aria-label": "Model card" }, await answer.text()));
    });
  }

  #showSpec() {
    const job = this.#job;
    if (job === null) return;
    const against = this.#query.get("against");
    const bar = h("div", { className: "bar" }, h("h2", {}, "Spec"), this.#choice(job, against), copyButton(job));
    const lines = h("div", {}, against ? h("p", { className: "faint" }, "Reading the other job…") : h("pre", { tabIndex: 0, role: "region", "aria-label": "Spec", className: "spec" }, toYaml(job.spec)));
    fill(this.#spec, bar, lines);
    if (!against) return;
    tried(this.#trouble, this.#life, async () => {
      /** @type {Job} */
      const other = await get(pathOf(against), { life: this.#life });
      if (this.#query.get("against") === against) fill(lines, differencesOf(job, other));
    });
  }

  /** @param {Job} job @param {string} against */
  #choice(job, against) {
    const ids = [...new Set([job.parent_id ?? "", ...job.waits_for, ...neededBy(job.spec), against])].filter((id) => id && id !== job.job_id);
    const select = h("select", { "aria-label": "Compare with", on: { change: () => this.#query.write({ against: select.value }, { replace: true }) } }, h("option", { value: "" }, "as submitted"), ids.map((id) => h("option", { value: id }, `differences from ${id}`)));
    select.value = against;
    const other = h("input", { type: "text", placeholder: "or id of a job", "aria-label": "Id of another job", size: 14, on: { change: () => this.#query.write({ against: other.value.trim() }, { replace: true }) } });
    return [select, other];
  }
}

/** Ids of jobs whose checkpoints a spec names. @param {unknown} spec @returns {string[]} */
function neededBy(spec) {
  return [...JSON.stringify(spec).matchAll(/"job:([^/"]+)/g)].map(([, id]) => id);
}

/** @param {Job} job */
function copyButton(job) {
  return h("button", { type: "button", on: { click: () => copyText(toYaml(job.spec), "the spec, as fgd submit reads it") } }, "Copy");
}

/** @param {Job} job @param {Job} other */
function differencesOf(job, other) {
  const [before, after] = [flattened(other.spec), flattened(job.spec)];
  const paths = differing([before, after]);
  const link = h("a", { href: `${BASE}/jobs/${encodeURIComponent(other.job_id)}` }, other.name);
  if (paths.length === 0) return h("p", {}, "The same as the spec of ", link, ".");
  const head = h("tr", {}, h("th", { scope: "col" }, "Field"), h("th", { scope: "col" }, link), h("th", { scope: "col" }, "This job"));
  return h("table", { className: "differences" }, h("thead", {}, head), h("tbody", {}, paths.map((path) => h("tr", {}, h("th", { scope: "row" }, h("code", {}, path)), h("td", {}, before.get(path) ?? "–"), h("td", {}, after.get(path) ?? "–")))));
}

/** @param {Job} job */
function filesOf(job) {
  if (job.artifacts.length === 0) return [h("h2", {}, "Files"), h("p", { className: "faint" }, "None yet. A run saves checkpoints after its epochs, and the rest at its end.")];
  const rows = job.artifacts.map(({ name, size_bytes, sha256, url }) => h(
    "tr", {}, h("th", { scope: "row" }, h("a", { href: `${BASE}${url}`, download: "" }, name)),
    h("td", { className: "number" }, size(size_bytes)), h("td", {}, h("code", { title: sha256 }, `${sha256.slice(0, 12)}…`)),
  ));
  const head = h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Name"), h("th", { scope: "col", className: "number" }, "Size"), h("th", { scope: "col" }, "SHA-256")));
  return [h("h2", {}, "Files"), h("table", {}, head, h("tbody", {}, rows))];
}
