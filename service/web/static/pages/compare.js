// @ts-check
import { partsOf, readCurves, readRun, sides } from "../core/compared.js";
import { follow } from "../core/follow.js";
import { Store } from "../core/store.js";
import { coalesced } from "../core/timing.js";
import { fill, h } from "../ui/html.js";
import { tried } from "../ui/parts.js";
import { addForm } from "./compare_add.js";
import { CurvesPart } from "./compare_curves.js";
import { fieldsPart } from "./compare_fields.js";
import { ImagesPart } from "./compare_images.js";
import { runsTable } from "./compare_runs.js";
import { ScoresPart } from "./compare_scores.js";

/** @typedef {import("../core/compared.js").Run} Run */
/** @typedef {import("../core/types.js").Series} Series */

const KINDS = ["state_changed", "progress", "epoch_finished", "evaluated", "trial_reported", "trial_ended"];
const READ_MS = 2000;
const MOST_RUNS = 20;

/** Runs side by side: the address names them and the sides of the test. @param {import("../core/router.js").Context} context */
export function open({ query, life }) {
  return { title: "Compare – fgd", element: new ComparePage(query, life).element };
}

class ComparePage {
  /** By reference. @type {Store<Map<string, Run>>} */
  #runs = new Store(new Map());
  /** By reference. @type {Store<Map<string, Series[]>>} */
  #curves = new Store(new Map());
  /** References to read again. @type {Set<string>} */
  #due = new Set();
  /** Ends the stream of the runs before. */
  #following = new AbortController();
  #trouble = h("div");
  #followed = "";

  /** @param {import("../core/router.js").Query} query @param {AbortSignal} life */
  constructor(query, life) {
    this.#query = query;
    this.#life = life;
    this.#read = coalesced(() => tried(this.#trouble, life, () => this.#readDue()), READ_MS, life);
    this.#scores = new ScoresPart(life);
    this.#charts = new CurvesPart(query, life);
    const images = new ImagesPart(life);
    life.addEventListener("abort", () => this.#following.abort());
    const [table, fields] = [h("div"), h("section")];
    const body = h("div", { hidden: true }, this.#scores.element, fields, this.#charts.element, images.element);
    const empty = h("p", { className: "notice" }, "Nothing is pinned yet. Select jobs in the table of jobs, or trials of a sweep, and press Compare; or add them here by name or id.");
    this.element = h("article", { className: "compare" }, h("h1", {}, "Compare"), addForm((reference) => this.#add(reference), life), this.#trouble, table, empty, body);
    const show = () => {
      const runs = this.#shown();
      const at = sides(runs, { a: query.all("a"), b: query.all("b") });
      empty.hidden = this.#references().length > 0;
      body.hidden = runs.length === 0;
      fill(table, runs.length > 0 && runsTable(runs, at, { remove: (reference) => this.#remove(reference), put: (reference, side) => this.#put(reference, side, at) }));
      this.#scores.show(runs, at);
      this.#charts.show(runs, this.#curves.value);
      fill(fields, fieldsPart(runs));
      images.show(runs);
    };
    this.#runs.watch(show, life);
    this.#curves.watch(() => this.#charts.show(this.#shown(), this.#curves.value), life);
    query.watch(() => { this.#follow(); show(); }, life);
  }

  #query;
  #life;
  #read;
  #scores;
  #charts;

  #references() {
    return [...new Set(this.#query.get("jobs").split(",").filter(Boolean))].slice(0, MOST_RUNS);
  }

  /** @returns {Run[]} In the order of the address. */
  #shown() {
    return this.#references().flatMap((reference) => this.#runs.value.get(reference) ?? []);
  }

  /** @param {string} reference */
  #add(reference) {
    this.#query.write({ jobs: [...this.#references(), reference].join(",") });
  }

  /** @param {string} reference */
  #remove(reference) {
    const others = (/** @type {string} */ side) => this.#query.all(side).filter((each) => each !== reference);
    this.#query.write({ jobs: this.#references().filter((each) => each !== reference).join(","), a: others("a"), b: others("b") });
  }

  /** @param {string} reference @param {string} side `a`, `b` or empty. @param {Record<"a" | "b", string[]>} at The sides before. */
  #put(reference, side, at) {
    const members = (/** @type {"a" | "b"} */ name) => [...at[name].filter((each) => each !== reference), ...(side === name ? [reference] : [])];
    this.#query.write({ a: members("a"), b: members("b") });
  }

  /** Follow the runs of the address: first their events, then what they have reported so far. */
  async #follow() {
    const references = this.#references();
    if (references.join() === this.#followed) return;
    this.#followed = references.join();
    this.#following.abort();
    const following = new AbortController();
    this.#following = following;
    if (references.length === 0) return;
    await follow({
      kinds: KINDS, jobs: [...new Set(references.map((each) => partsOf(each).jobId))], take: (event) => this.#take(event),
      reconnected: () => this.#read(), lost: () => { this.#followed = ""; this.#follow(); },
    }, following.signal);
    if (following.signal.aborted) return;
    this.#due = new Set(references);
    this.#read();
  }

  /** @param {import("../core/types.js").Event} event */
  #take({ job_id, data }) {
    for (const reference of this.#references()) {
      const { jobId, trial } = partsOf(reference);
      if (jobId === job_id && (trial === null || data.trial === undefined || String(data.trial) === trial)) this.#due.add(reference);
    }
    this.#read();
  }

  async #readDue() {
    const due = [...this.#due];
    this.#due = new Set();
    const answers = await Promise.allSettled(due.map(async (reference) => {
      const run = await readRun(reference, this.#life);
      this.#runs.set(new Map(this.#runs.value).set(reference, run));
      const curves = await readCurves(run, this.#life);
      this.#curves.set(new Map(this.#curves.value).set(reference, curves));
    }));
    const failed = answers.find((answer) => answer.status === "rejected");
    if (failed) throw failed.reason;
  }
}
