// @ts-check
import { address, BASE, change } from "../core/api.js";
import { missingRole } from "../core/session.js";
import { bestFirst } from "../core/sweep.js";
import { later } from "../core/timing.js";
import { fill, h } from "../ui/html.js";
import { announce, tried } from "../ui/parts.js";
import { VirtualTable } from "../ui/table.js";
import { columnsOf, sorted } from "./sweep_columns.js";
import { matching } from "./sweep_filter.js";

/** @typedef {import("../core/sweep.js").Sweep} Sweep */
/** @typedef {import("./sweep_columns.js").Row} Row */
/** @typedef {import("../core/router.js").Query} Query */

const STATES = ["running", "completed", "stopped", "paused", "failed", "lost"];

/** The table of trials; the address holds its filter and its order. */
export class TrialsPart {
  /** @type {VirtualTable<Row> | null} */
  #table = null;
  /** @type {import("./sweep_columns.js").Column[]} */
  #columns = [];
  /** Rows of the table before, by trial: an equal row is not drawn again. @type {Map<number, Row>} */
  #rows = new Map();
  /** @type {string[]} */
  #picked = [];
  #refusal = h("div");
  #place = h("div", { className: "trials" });
  #count = h("p", { className: "faint", "aria-live": "polite" });
  #stop = h("button", { type: "button", on: { click: () => this.#stopPicked() } }, "Stop");
  #compare = h("a", { className: "button" }, "Compare");

  /** @param {string} jobId @param {Sweep} sweep @param {Query} query @param {AbortSignal} life */
  constructor(jobId, sweep, query, life) {
    this.#jobId = jobId;
    this.#sweep = sweep;
    this.#query = query;
    this.#life = life;
    const csv = address(`/v1/jobs/${encodeURIComponent(jobId)}/trials`, { format: "csv" });
    this.element = h(
      "section", {}, h("h2", {}, "Trials"), this.#filters(), this.#refusal,
      h("div", { className: "bar" }, this.#compare, this.#stop, h("a", { className: "button", href: csv, download: "" }, "CSV"), this.#count), this.#place,
    );
    this.#showPicked(new Set());
    sweep.changes.watch(() => this.#show(), life);
    query.watch(() => this.#show(), life);
  }

  #jobId;
  #sweep;
  #query;
  #life;
  #state = "";

  /** @param {string} state Of the sweep. */
  setState(state) {
    this.#state = state;
    this.#showPicked(new Set(this.#picked));
  }

  #filters() {
    const search = h("input", { type: "search", placeholder: "Find: stopped, user, 0.05 …", "aria-label": "Find trials", maxLength: 100 });
    search.addEventListener("input", later(() => this.#query.write({ q: search.value.trim() }, { replace: true })));
    const buttons = STATES.map((state) => h("button", { type: "button", className: "choice", on: { click: () => this.#toggle(state) } }, state));
    this.#query.watch(() => {
      if (document.activeElement !== search) search.value = this.#query.get("q");
      for (const button of buttons) button.setAttribute("aria-pressed", String(this.#query.all("is").includes(button.textContent ?? "")));
    }, this.#life);
    return h("div", { className: "bar", role: "search" }, search, h("span", { className: "choices", role: "group", "aria-label": "State" }, buttons));
  }

  /** @param {string} state */
  #toggle(state) {
    const chosen = this.#query.all("is");
    this.#query.write({ is: chosen.includes(state) ? chosen.filter((each) => each !== state) : [...chosen, state] });
  }

  #show() {
    const { question, findings, trials } = this.#sweep;
    if (question === null) return;
    if (trials.size === 0) { fill(this.#place, h("p", { className: "faint" }, "No trial has started yet.")); return; }
    this.#table ??= this.#makeTable(question);
    const ranks = new Map((findings?.ranking ?? []).flatMap((numbers, index) => numbers.map((number) => [number, index + 1])));
    const found = matching(this.#sweep, this.#query).trials;
    const rows = bestFirst(found, question.objectives[0]).map((trial) => this.#row(trial, ranks.get(trial.trial) ?? null));
    const [name, isDescending] = this.#sort();
    const column = this.#columns.find((each) => each.name === name);
    this.#table.showSort(column ? name : "", isDescending);
    this.#table.show(sorted(rows, column, isDescending));
    this.#count.textContent = found.length === trials.size ? `${trials.size.toLocaleString("en")} trials` : `${found.length.toLocaleString("en")} of ${trials.size.toLocaleString("en")} trials`;
  }

  /** @param {import("../core/sweep.js").Trial} trial @param {number | null} rank @returns {Row} */
  #row(trial, rank) {
    const known = this.#rows.get(trial.trial);
    if (known?.trial === trial && known.rank === rank) return known;
    const row = { trial, rank };
    this.#rows.set(trial.trial, row);
    return row;
  }

  /** @param {import("../core/sweep.js").Question} question */
  #makeTable(question) {
    this.#columns = columnsOf(question, (trial) => this.#query.write({ trial: String(trial) }));
    /** @type {VirtualTable<Row>} */
    const table = new VirtualTable({
      caption: "Trials", columns: this.#columns, key: ({ trial }) => String(trial.trial), title: ({ trial }) => `trial ${trial.trial}`,
      sort: (name) => this.#sortBy(name), selected: (keys) => this.#showPicked(keys), more: () => {},
    }, this.#life);
    fill(this.#place, table.element);
    return table;
  }

  /** @returns {[string, boolean]} Column, and whether the largest comes first; best first without a column. */
  #sort() {
    const text = this.#query.get("sort");
    return [text.replace("-", ""), text.startsWith("-")];
  }

  /** @param {string} name */
  #sortBy(name) {
    const [present, isDescending] = this.#sort();
    const isDown = name === present ? !isDescending : true;
    this.#query.write({ sort: `${isDown ? "-" : ""}${name}` }, { replace: true });
  }

  /** @param {Set<string>} keys */
  #showPicked(keys) {
    this.#picked = [...keys];
    const missing = missingRole("submit") ?? (keys.size === 0 ? "select trials first" : null) ?? (["running", "paused", "pausing", "starting", "queued"].includes(this.#state) ? null : `the sweep is ${this.#state}`);
    this.#stop.disabled = missing !== null;
    this.#stop.title = missing ?? "They save a checkpoint and end; the others continue.";
    const references = this.#picked.map((trial) => `${this.#jobId}/trial/${trial}`);
    this.#compare.title = keys.size < 2 ? "select two or more trials" : `${keys.size} selected`;
    if (keys.size < 2) this.#compare.removeAttribute("href");
    else this.#compare.href = `${BASE}/compare?${new URLSearchParams({ jobs: references.join(",") })}`;
  }

  #stopPicked() {
    return tried(this.#refusal, this.#life, async () => {
      for (const trial of this.#picked) await change("POST", `/v1/jobs/${encodeURIComponent(this.#jobId)}/trials/${trial}/stop`);
      announce(`Asked ${this.#picked.length} ${this.#picked.length === 1 ? "trial" : "trials"} to stop.`);
      this.#table?.clearSelection();
    });
  }
}
