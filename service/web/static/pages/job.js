// @ts-check
import { pathOf } from "../core/actions.js";
import { get } from "../core/api.js";
import { follow } from "../core/follow.js";
import { changed, FACTS } from "../core/changes.js";
import { Store } from "../core/store.js";
import { SWEEP_KINDS } from "../core/sweep.js";
import { coalesced } from "../core/timing.js";
import { fill, h } from "../ui/html.js";
import { tried } from "../ui/parts.js";
import { openTab, tabList } from "../ui/tabs.js";
import { HeadPart } from "./job_head.js";

/** @typedef {import("../core/types.js").Job} Job */
/** @typedef {import("../core/types.js").Event} Event */
/** @typedef {import("../core/types.js").QueuedJob} QueuedJob */
/** @typedef {import("../core/router.js").Query} Query */
/**
 * What a tab shows. It ends with the signal that it is made with.
 * @typedef {object} Part
 * @property {HTMLElement} element
 * @property {(job: Job) => void} setJob Called with the job now and after each change.
 * @property {(event: Event) => void} [take] Called with each event of the job.
 * @property {() => void} [renew] Called when the stream is back: requests may have failed meanwhile.
 */
/** @typedef {new (jobId: string, query: Query, life: AbortSignal) => Part} PartClass */
/** @typedef {import("../ui/tabs.js").Tab & { isOfRuns?: boolean, load: (job: Job) => PartClass | Promise<PartClass> }} JobTab */

/** @type {JobTab[]} */
const TABS = [
  { name: "progress", label: "Progress", load: async ({ kind }) => (kind === "sweep" ? (await import("./sweep.js")).SweepPart : kind === "study" ? (await import("./study.js")).StudyPart : (await import("./job_progress.js")).ProgressTab) },
  { name: "results", label: "Results", isOfRuns: true, load: async () => (await import("./job_results.js")).ResultsTab },
  { name: "images", label: "Images", isOfRuns: true, load: async () => (await import("./job_images.js")).ImagesTab },
  { name: "history", label: "History", load: async () => (await import("./job_history.js")).HistoryTab },
  { name: "files", label: "Files and spec", load: async () => (await import("./job_files.js")).FilesTab },
];
const PROGRESS = ["progress", "epoch_finished", "evaluated", "sweep_progressed", "stage_started"];
const CHANGES = ["state_changed", "priority_changed", "attempt_started", "artifact_saved", "checkpoint_saved", "run_started", "resumed", "run_finished", "study_reported"];
const READ_MS = 500;
const QUEUE_MS = 5000;

/** The page of one job. @param {import("../core/router.js").Context} context */
export function open({ parts: [jobId], query, life }) {
  return { title: `${jobId} – fgd`, element: new JobPage(jobId, query, life).element };
}

class JobPage {
  /** @type {Store<Job | null>} */
  #job = new Store(/** @type {Job | null} */ (null));
  /** @type {Store<QueuedJob | null>} */
  #wait = new Store(/** @type {QueuedJob | null} */ (null));
  /** What an action was refused for; stays until the next one. */
  #refusal = h("div");
  /** Why the newest reading failed. */
  #trouble = h("div");
  #tabs = h("div");
  #panel = h("div", { className: "panel" });
  /** @type {Part | null} */
  #part = null;
  #partName = "";
  #partLife = new AbortController();

  /** @param {string} jobId @param {Query} query @param {AbortSignal} life */
  constructor(jobId, query, life) {
    this.#jobId = jobId;
    this.#query = query;
    this.#life = life;
    this.#read = coalesced(() => this.#tried(() => this.#readJob()), READ_MS, life);
    this.#readQueue = coalesced(() => this.#tried(() => this.#findInQueue()), QUEUE_MS, life);
    this.#head = new HeadPart({
      act: (request) => { tried(this.#refusal, life, async () => this.#job.set(await request)); }, put: (job) => this.#job.set(job),
    }, life);
    this.element = h("article", { className: "job" }, this.#trouble, this.#refusal, this.#head.element, this.#tabs, this.#panel);
    life.addEventListener("abort", () => this.#partLife.abort());
    this.#job.watch(() => this.#show(), life);
    this.#wait.watch(() => this.#show(), life);
    query.watch(() => this.#open(), life);
    this.#follow();
  }

  #jobId;
  #query;
  #life;
  #head;
  #read;
  #readQueue;

  /** Follow events first and read the job second, so that none is missed in between. */
  async #follow() {
    await follow({
      jobs: [this.#jobId], kinds: [...new Set([...PROGRESS, ...CHANGES, ...FACTS, ...SWEEP_KINDS])], take: (event) => this.#take(event),
      reconnected: () => { this.#read(); this.#part?.renew?.(); }, lost: () => { this.#part?.renew?.(); this.#follow(); },
    }, this.#life);
    this.#read();
  }

  /** @param {Event} event */
  #take(event) {
    const job = this.#job.value;
    if (job && event.sequence > job.last_sequence) this.#job.set({ ...job, ...changed(job, event), last_sequence: event.sequence });
    if (CHANGES.includes(event.kind)) this.#read();
    this.#part?.take?.(event);
  }

  async #readJob() {
    /** @type {Job} */
    const job = await get(pathOf(this.#jobId), { life: this.#life });
    const known = this.#job.value;
    // An event may have overtaken the answer; the next one is newer.
    if (known === null || job.last_sequence >= known.last_sequence) this.#job.set(job);
    else this.#read();
    if (job.state === "queued") this.#readQueue();
    else this.#wait.set(null);
  }

  async #findInQueue() {
    /** @type {{ items: QueuedJob[] }} */
    const { items } = await get("/v1/queue", { life: this.#life });
    this.#wait.set(items.find(({ job_id }) => job_id === this.#jobId) ?? null);
  }

  #show() {
    const job = this.#job.value;
    if (job === null) return;
    document.title = `${job.name} (${job.state}) – fgd`;
    this.#head.show(job, job.state === "queued" ? this.#wait.value : null);
    if (this.#tabs.childElementCount === 0) fill(this.#tabs, tabList({ tabs: tabsOf(job), label: "Parts of the job", panel: this.#panel, query: this.#query }, this.#life));
    if (this.#part === null) this.#open();
    else this.#part.setJob(job);
  }

  /** Open the tab that the address names; what the one before has started ends. */
  async #open() {
    const job = this.#job.value;
    if (job === null) return;
    const tab = openTab(tabsOf(job), this.#query);
    if (tab.name === this.#partName) return;
    this.#partName = tab.name;
    this.#partLife.abort();
    this.#partLife = new AbortController();
    const life = this.#partLife.signal;
    await this.#tried(async () => {
      const Part = await tab.load(job);
      if (life.aborted) return;
      const part = new Part(this.#jobId, this.#query, life);
      this.#part = part;
      part.setJob(this.#job.value ?? job);
      fill(this.#panel, part.element);
    });
  }

  /** @param {() => Promise<void>} work */
  #tried(work) {
    return tried(this.#trouble, this.#life, work);
  }
}

/** @param {Job} job */
function tabsOf({ kind }) {
  return ["sweep", "study"].includes(kind) ? TABS.filter(({ isOfRuns = false }) => !isOfRuns) : TABS;
}
