// @ts-check
import { get } from "../core/api.js";
import { Follower, position } from "../core/follow.js";
import { changed } from "../core/list.js";
import { Store } from "../core/store.js";
import { coalesced } from "../core/timing.js";
import { fill, h } from "../ui/html.js";
import { tried } from "../ui/parts.js";
import { attemptsPart } from "./job_attempts.js";
import { CurvesPart } from "./job_curves.js";
import { FACTS, factsPart, readFacts } from "./job_facts.js";
import { filesPart } from "./job_files.js";
import { headPart } from "./job_head.js";
import { LogPart } from "./job_log.js";

/** @typedef {import("../core/types.js").Job} Job */
/** @typedef {import("../core/types.js").Event} Event */

const PROGRESS = ["progress", "epoch_finished", "evaluated", "sweep_progressed", "stage_started"];
const CHANGES = ["state_changed", "priority_changed", "attempt_started", "artifact_saved", "checkpoint_saved", "resumed"];
const READ_MS = 500;

/** The page of one job. @param {import("../core/router.js").Context} context */
export function open({ parts: [jobId], query, life }) {
  return { title: `${jobId} – fgd`, element: new JobPage(jobId, query, life).element };
}

class JobPage {
  /** @type {Store<Job | null>} */
  #job = new Store(/** @type {Job | null} */ (null));
  /** By sequence. @type {Store<Map<number, Event>>} */
  #facts = new Store(new Map());
  /** What an action was refused for; stays until the next one. */
  #refusal = h("div");
  /** Why the newest reading failed. */
  #trouble = h("div");

  /** @param {string} jobId @param {import("../core/router.js").Query} query @param {AbortSignal} life */
  constructor(jobId, query, life) {
    this.#jobId = jobId;
    this.#life = life;
    this.#path = `/v1/jobs/${encodeURIComponent(jobId)}`;
    this.#curves = new CurvesPart(jobId, query, life);
    this.#log = new LogPart(jobId, life);
    this.#read = coalesced(() => this.#tried(() => this.#readJob()), READ_MS, life);
    const [head, attempts, facts, files] = ["head", "attempts", "facts", "files"].map((className) => h("section", { className }));
    this.element = h("article", { className: "job" }, this.#trouble, this.#refusal, head, this.#curves.element, h("div", { className: "beside" }, h("div", {}, facts, attempts, files), this.#log.element));
    this.#job.watch((job) => job && this.#show(job, head, attempts, files), life);
    this.#facts.watch((events) => fill(facts, factsPart([...events.values()])), life);
    this.#follow();
  }

  #jobId;
  #life;
  #path;
  #curves;
  #log;
  #read;

  /** Read the position first and the job second: events in between are replayed. */
  async #follow() {
    const after = await position(this.#life);
    if (this.#life.aborted) return;
    this.#read();
    this.#tried(() => this.#curves.load());
    this.#tried(async () => { for (const event of await readFacts(this.#jobId, this.#life)) this.#keep(event); });
    new Follower({
      after, jobs: [this.#jobId], kinds: [...PROGRESS, ...CHANGES, ...FACTS],
      take: (event) => this.#take(event), reconnected: () => { this.#read(); this.#curves.renew(); }, lost: () => this.#follow(),
    }, this.#life);
  }

  /** @param {Event} event */
  #take(event) {
    const job = this.#job.value;
    if (job && event.sequence > job.last_sequence) this.#job.set({ ...job, ...changed(job, event), last_sequence: event.sequence });
    if (CHANGES.includes(event.kind)) this.#read();
    if (FACTS.includes(event.kind)) this.#keep(event);
    this.#curves.take(event);
  }

  /** @param {Event} event */
  #keep(event) {
    this.#facts.set(this.#facts.value.set(event.sequence, event));
  }

  async #readJob() {
    /** @type {Job} */
    const job = await get(this.#path, { life: this.#life });
    const known = this.#job.value;
    // An event may have overtaken the answer; the next one is newer.
    if (known === null || job.last_sequence >= known.last_sequence) this.#job.set(job);
    else this.#read();
  }

  /** @param {Job} job @param {HTMLElement} head @param {HTMLElement} attempts @param {HTMLElement} files */
  #show(job, head, attempts, files) {
    document.title = `${job.name} (${job.state}) – fgd`;
    const act = (/** @type {Promise<Job>} */ request) => tried(this.#refusal, this.#life, async () => this.#job.set(await request));
    headPart(head, job, act);
    fill(attempts, attemptsPart(job));
    fill(files, filesPart(job));
    this.#curves.setProgress(job.progress);
    this.#log.setJob(job);
  }

  /** @param {() => Promise<void>} work */
  #tried(work) {
    return tried(this.#trouble, this.#life, work);
  }
}
