// @ts-check
import { BASE, get } from "../core/api.js";
import { follow } from "../core/follow.js";
import { JobList } from "../core/list.js";
import { SeedGroups } from "../core/seed_groups.js";
import { Store } from "../core/store.js";
import { coalesced } from "../core/timing.js";
import { fill, h } from "../ui/html.js";
import { tried } from "../ui/parts.js";
import { VirtualTable } from "../ui/table.js";
import { BulkBar } from "./jobs_bulk.js";
import { chosenColumns } from "./jobs_choice.js";
import { filterBar, isFolded, sortBy, wantedOf } from "./jobs_filter.js";
import { SeedsTable } from "./jobs_seeds.js";

/** @typedef {import("../core/router.js").Context} Context */
/** @typedef {import("../core/types.js").JobSummary} JobSummary */
/** @typedef {import("../core/types.js").QueuedJob} QueuedJob */
/** @typedef {JobSummary & { wait?: QueuedJob }} Row */

const KINDS = ["submitted", "state_changed", "progress", "epoch_finished", "evaluated", "sweep_progressed", "stage_started", "priority_changed"];
/** After these, a list of groups is read again: the server computes its means. */
const REGROUPED = ["submitted", "state_changed", "evaluated"];
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
  #changes = new Store(0);
  /** Why the newest reading failed. */
  #trouble = h("div");
  #count = h("p", { className: "faint", "aria-live": "polite" });
  #nothing = h("div", { className: "nothing" });
  #shown = "";

  /** @param {import("../core/router.js").Query} query @param {AbortSignal} life */
  constructor(query, life) {
    this.#query = query;
    this.#life = life;
    this.#list = new JobList(wantedOf(query), this.#reading.signal);
    this.#groups = new SeedGroups(wantedOf(query), this.#reading.signal);
    const [selected, more] = [(/** @type {string[]} */ ids) => this.#bulk.select(ids), () => this.#more()];
    this.#bulk = new BulkBar({ count: this.#count, changed: (job) => this.#list.put(job), removed: (id) => this.#list.remove(id), done: () => this.#onDone() }, life);
    this.#table = new VirtualTable({
      caption: "Jobs", columns: chosenColumns(query), key: (job) => job.job_id, title: (job) => job.name,
      sort: (name) => sortBy(query, name), selected: (keys) => selected([...keys]), more,
    }, life);
    this.#seeds = new SeedsTable({ selected, more }, life);
    this.#refresh = coalesced(() => this.#tried(() => this.#present().refresh().then(() => this.#changed())), REFRESH_MS, life);
    this.#readQueue = coalesced(() => this.#tried(() => this.#loadQueue()), QUEUE_MS, life);
    this.element = h("section", { className: "jobs" }, h("h1", { className: "unseen" }, "Jobs"), filterBar(query, life), this.#trouble, this.#bulk.refusals, this.#bulk.element, this.#table.element, this.#nothing);
    this.#changes.watch(() => this.#show(), life);
    this.#follow(() => query.watch(() => this.#onQuery(), life));
  }

  #query;
  #life;
  #list;
  #groups;
  #bulk;
  #table;
  #seeds;
  #refresh;
  #readQueue;

  /**
   * Follow events first and read the jobs second, so that none is missed in between.
   * @param {() => void} read Begins to read the jobs.
   */
  async #follow(read) {
    await follow({
      kinds: KINDS, take: (event) => this.#take(event), reconnected: () => this.#refresh(),
      lost: () => this.#follow(() => this.#restart()),
    }, this.#life);
    if (!this.#life.aborted) read();
  }

  /** @param {import("../core/types.js").Event} event */
  #take(event) {
    const isKnown = this.#list.apply(event);
    if (isFolded(this.#query) ? REGROUPED.includes(event.kind) : !isKnown) this.#refresh();
    if (["submitted", "state_changed", "priority_changed"].includes(event.kind)) this.#readQueue();
    if (isKnown) this.#changed();
  }

  #onQuery() {
    const { sort, ...filter } = wantedOf(this.#query);
    this.#table.setColumns(chosenColumns(this.#query));
    this.#table.showSort(sort.replace("-", ""), sort.startsWith("-"));
    const wanted = isFolded(this.#query) ? this.#seeds.table.element : this.#table.element;
    if (wanted !== this.element.querySelector(".scroll")) this.element.querySelector(".scroll")?.replaceWith(wanted);
    const shown = JSON.stringify([filter, sort, isFolded(this.#query)]);
    const isOther = shown !== this.#shown;
    this.#shown = shown;
    if (isOther) this.#restart();
    this.#changed();
  }

  #restart() {
    this.#reading.abort();
    this.#reading = new AbortController();
    this.#life.addEventListener("abort", () => this.#reading.abort(), { signal: this.#reading.signal });
    this.#list = new JobList(wantedOf(this.#query), this.#reading.signal);
    this.#groups = new SeedGroups(wantedOf(this.#query), this.#reading.signal);
    for (const { element } of [this.#table, this.#seeds.table]) element.scrollTop = 0;
    this.#onDone();
    this.#more();
    this.#readQueue();
  }

  #present() {
    return isFolded(this.#query) ? this.#groups : this.#list;
  }

  #more() {
    // The empty table asks for rows before events are followed: rows shown then would be replaced, with what is selected.
    if (this.#shown === "") return;
    const list = this.#present();
    if (!list.isComplete) this.#tried(() => list.more().then(() => this.#changed()));
  }

  /** Nothing is selected any more. */
  #onDone() {
    this.#table.clearSelection();
    this.#seeds.table.clearSelection();
    this.#changed();
  }

  async #loadQueue() {
    /** @type {{ items: QueuedJob[] }} */
    const { items } = await get("/v1/queue", { life: this.#life });
    this.#queue = new Map(items.map((item) => [item.job_id, item]));
    this.#changed();
  }

  #changed() {
    this.#changes.set(this.#changes.value + 1);
  }

  #show() {
    const list = this.#present();
    if (isFolded(this.#query)) this.#seeds.show(this.#groups.rows);
    else this.#table.show(this.#list.rows.map((job) => withWait(job, this.#queue.get(job.job_id))));
    const { length } = list.rows;
    const what = isFolded(this.#query) ? "spec" : "job";
    const count = `${length.toLocaleString("en")} ${what}${length === 1 ? "" : "s"}`;
    this.#count.textContent = list.isComplete ? count : `${count} loaded; more follow`;
    fill(this.#nothing, list.isComplete && length === 0 && this.#whyNothing());
  }

  #whyNothing() {
    const { sort, ...filter } = wantedOf(this.#query);
    const isFiltered = Object.values(filter).some((value) => value.length > 0);
    if (isFiltered) return [h("p", {}, "No job matches this filter."), h("p", {}, h("a", { href: `${BASE}/` }, "Show all jobs"))];
    return [
      h("h2", {}, "No jobs yet"), h("p", {}, "Start with a demo that trains a teacher and its student in a few minutes:"), h("pre", {}, "fgd submit examples/demo/teacher.yaml"),
      h("p", {}, "or fill in a form: ", h("a", { href: `${BASE}/submit` }, "Submit a job"), ". Jobs appear here as soon as they are submitted."),
    ];
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
