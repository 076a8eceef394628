// @ts-check
import { act, ACTIONS } from "../core/actions.js";
import { get } from "../core/api.js";
import { Follower, position } from "../core/follow.js";
import { JobList } from "../core/list.js";
import { missingRole } from "../core/session.js";
import { Store } from "../core/store.js";
import { coalesced } from "../core/timing.js";
import { fill, h } from "../ui/html.js";
import { announce, problemNotice, tried } from "../ui/parts.js";
import { VirtualTable } from "../ui/table.js";
import { filterBar, filterOf } from "./jobs_filter.js";
import { COLUMNS, sorted } from "./jobs_columns.js";

/** @typedef {import("../core/router.js").Context} Context */
/** @typedef {import("../core/types.js").JobSummary} JobSummary */
/** @typedef {import("../core/types.js").QueuedJob} QueuedJob */
/** @typedef {JobSummary & { wait?: QueuedJob }} Row */

const KINDS = ["submitted", "state_changed", "progress", "epoch_finished", "evaluated", "sweep_progressed", "stage_started", "priority_changed"];
const REFRESH_MS = 1000;
const QUEUE_MS = 3000;

/** The page of all jobs. @param {Context} context */
export function open({ query, life }) {
  return { title: "Jobs – fgd", element: new JobsPage(query, life).element };
}

class JobsPage {
  /** Ends the requests of the filter before. */
  #reading = new AbortController();
  /** @type {Map<string, QueuedJob>} */
  #queue = new Map();
  /** @type {Set<string>} */
  #picked = new Set();
  #changes = new Store(0);
  /** What an action was refused for; stays until the next one. */
  #refusals = h("div");
  /** Why the newest reading failed. */
  #trouble = h("div");
  #count = h("p", { className: "faint", "aria-live": "polite" });
  #buttons = ACTIONS.map((action) => h("button", { type: "button", on: { click: () => this.#act(action) } }, action.label));
  #filterText = "";

  /** @param {import("../core/router.js").Query} query @param {AbortSignal} life */
  constructor(query, life) {
    this.#query = query;
    this.#life = life;
    this.#list = new JobList(filterOf(query), this.#reading.signal);
    this.#table = new VirtualTable({
      caption: "Jobs", columns: COLUMNS, key: (job) => job.job_id, title: (job) => job.name,
      sort: (name) => this.#sortBy(name), selected: (keys) => this.#showPicked(keys), more: () => this.#more(),
    }, life);
    this.#refresh = coalesced(() => this.#tried(() => this.#list.refresh()), REFRESH_MS, life);
    this.#readQueue = coalesced(() => this.#tried(() => this.#loadQueue()), QUEUE_MS, life);
    this.element = h(
      "section", { className: "jobs" }, h("h1", {}, "Jobs"), filterBar(query, life), this.#trouble, this.#refusals,
      h("div", { className: "bar", role: "group", "aria-label": "Selected jobs" }, this.#buttons, this.#count), this.#table.element,
    );
    this.#showPicked(this.#picked);
    this.#changes.watch(() => this.#show(), life);
    this.#follow(() => query.watch(() => this.#onQuery(), life));
  }

  #query;
  #life;
  #list;
  #table;
  #refresh;
  #readQueue;

  /**
   * Read the position first and the jobs second: events in between are replayed.
   * @param {() => void} read Begins to read the jobs.
   */
  async #follow(read) {
    const after = await position(this.#life);
    if (this.#life.aborted) return;
    read();
    new Follower({
      after, kinds: KINDS, take: (event) => this.#take(event), reconnected: () => this.#refresh(),
      lost: () => this.#follow(() => this.#restart(filterOf(this.#query))),
    }, this.#life);
  }

  /** @param {import("../core/types.js").Event} event */
  #take(event) {
    const isKnown = this.#list.apply(event);
    if (!isKnown) this.#refresh();
    if (["submitted", "state_changed", "priority_changed"].includes(event.kind)) this.#readQueue();
    if (isKnown) this.#changed();
  }

  #onQuery() {
    const filter = filterOf(this.#query);
    const text = JSON.stringify(filter);
    const [name, isDescending] = this.#sort();
    this.#table.showSort(name, isDescending);
    if (text !== this.#filterText) this.#restart(filter);
    this.#filterText = text;
    this.#loadAllIfSorted();
    this.#changed();
  }

  /** @param {ReturnType<typeof filterOf>} filter */
  #restart(filter) {
    this.#reading.abort();
    this.#reading = new AbortController();
    this.#life.addEventListener("abort", () => this.#reading.abort(), { signal: this.#reading.signal });
    this.#list = new JobList(filter, this.#reading.signal);
    this.#table.element.scrollTop = 0;
    this.#more();
    this.#readQueue();
  }

  #more() {
    const list = this.#list;
    if (list.isComplete) return;
    this.#tried(() => list.more().then(() => this.#changed()));
  }

  #loadAllIfSorted() {
    const list = this.#list;
    if (this.#sort()[0] !== "created") this.#tried(() => list.all(() => this.#changed()));
  }

  async #loadQueue() {
    /** @type {{ items: QueuedJob[] }} */
    const { items } = await get("/v1/queue", { life: this.#life });
    this.#queue = new Map(items.map((item) => [item.job_id, item]));
    this.#changed();
  }

  /** @returns {[string, boolean]} Column, and whether the largest comes first. */
  #sort() {
    const text = this.#query.get("sort") || "-created";
    return [text.replace("-", ""), text.startsWith("-")];
  }

  /** @param {string} name */
  #sortBy(name) {
    const [present, isDescending] = this.#sort();
    const isDown = name === present ? !isDescending : true;
    this.#query.write({ sort: name === "created" && isDown ? "" : `${isDown ? "-" : ""}${name}` });
  }

  #changed() {
    this.#changes.set(this.#changes.value + 1);
  }

  #show() {
    /** @type {Row[]} */
    const rows = this.#list.rows.map((job) => withWait(job, this.#queue.get(job.job_id)));
    this.#table.show(sorted(rows, ...this.#sort()));
    const count = `${rows.length.toLocaleString("en")} ${rows.length === 1 ? "job" : "jobs"}`;
    this.#count.textContent = this.#list.isComplete ? count : `${count} loaded; more follow`;
  }

  /** @param {Set<string>} keys */
  #showPicked(keys) {
    this.#picked = keys;
    const missing = missingRole("submit");
    for (const button of this.#buttons) {
      button.disabled = missing !== null || keys.size === 0;
      button.title = missing ?? (keys.size === 0 ? "select jobs first" : `${keys.size} selected`);
    }
  }

  /** @param {import("../core/actions.js").Action} action */
  async #act(action) {
    const ids = [...this.#picked];
    if (action.asks && !confirm(`${action.label} ${ids.length} ${ids.length === 1 ? "job" : "jobs"}?`)) return;
    const answers = await Promise.allSettled(ids.map((id) => act(action, id)));
    /** @type {unknown[]} */
    const problems = [];
    for (const answer of answers) {
      if (answer.status === "fulfilled") this.#list.put(answer.value);
      else problems.push(answer.reason);
    }
    fill(this.#refusals, problems.map(problemNotice));
    announce(`${action.label}: ${ids.length - problems.length} of ${ids.length} done`);
    this.#table.clearSelection();
    this.#changed();
  }

  /** @param {() => Promise<void>} work */
  #tried(work) {
    return tried(this.#trouble, this.#life, work);
  }
}

/** Rows are compared by identity, so a row changes only if its job or its wait does. */
const WAITS = new WeakMap();

/** @param {JobSummary} job @param {QueuedJob | undefined} wait @returns {Row} */
function withWait(job, wait) {
  if (wait === undefined || !["queued", "blocked"].includes(job.state)) return job;
  const known = WAITS.get(job);
  if (known?.wait === wait) return known;
  const row = { ...job, wait };
  WAITS.set(job, row);
  return row;
}
