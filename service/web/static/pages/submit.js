// @ts-check
import { change, get } from "../core/api.js";
import { catalogue } from "../core/catalogue.js";
import { Draft } from "../core/draft.js";
import { go } from "../core/router.js";
import { missingRole } from "../core/session.js";
import { Editor } from "../ui/editor.js";
import { time } from "../ui/format.js";
import { fill, h } from "../ui/html.js";
import { problemNotice, tried } from "../ui/parts.js";
import { runsOf } from "./cost.js";
import { detailsOf } from "./prediction.js";
import { SpecForm } from "./submit_form.js";
import { startPart } from "./submit_start.js";

/** @typedef {import("../core/draft.js").Checked} Checked */

const KEPT = "fgd-draft";

/** A form and the YAML that it writes, checked by the server while one types. @param {import("../core/router.js").Context} context */
export function open({ query, life }) {
  const missing = missingRole("submit");
  const element = h("section", { className: "submit" }, h("h1", {}, "Submit a job"));
  if (missing !== null) element.append(h("p", { className: "notice" }, `Submitting ${missing}.`));
  else show(element, query, life);
  return { title: "Submit – fgd", element };
}

/** @param {HTMLElement} element @param {import("../core/router.js").Query} query @param {AbortSignal} life */
function show(element, query, life) {
  const start = startOf(query);
  const pasted = query.get("pasted") ? sessionStorage.getItem(KEPT) : null;
  const trouble = h("div");
  if (start === "" && pasted === null) {
    element.append(trouble, startPart(query, trouble, life));
    // The address decides what is shown: with a start, the page opens anew.
    query.watch(() => { if (startOf(query) || query.get("pasted")) { element.replaceChildren(h("h1", {}, "Submit a job")); show(element, query, life); } }, life);
    return;
  }
  const page = new SubmitPage(query.get("like"), life);
  element.append(trouble, page.element);
  tried(trouble, life, () => page.begin(start, pasted));
}

/** @param {import("../core/router.js").Query} query */
function startOf(query) {
  const [kind, recipe, like] = [query.get("kind"), query.get("recipe"), query.get("like")];
  return like ? `job:${like}` : recipe ? `recipe:${recipe}` : kind ? `kind:${kind}` : "";
}

class SubmitPage {
  #verdict = h("div", { className: "verdict", role: "status" });
  #refusal = h("div");
  #button = h("button", { type: "button", className: "main", disabled: true, on: { click: () => this.#submit() } }, "Submit");
  /** The same press of the button never makes two jobs. */
  #key = crypto.randomUUID?.() ?? String(Math.random());

  /** @param {string} parent Id of the job that the spec is made from; empty without one. @param {AbortSignal} life */
  constructor(parent, life) {
    this.#parent = parent;
    this.#life = life;
    this.#draft = new Draft(life);
    this.#editor = new Editor({ label: "The spec in YAML", typed: (text) => this.#draft.write(text) });
    this.#form = new SpecForm(this.#draft, (line) => this.#editor.goTo(line));
    this.element = h(
      "div", { className: "draft" }, this.#form.element,
      h("div", { className: "text" }, h("div", { className: "bar" }, this.#button, this.#verdict), this.#refusal, this.#editor.element),
    );
    this.#draft.checked.watch((checked) => checked && this.#show(checked), life);
    this.#draft.trouble.watch((error) => fill(this.#refusal, error !== null && problemNotice(error)), life);
    this.#draft.isChecking.watch((isChecking) => { this.element.setAttribute("aria-busy", String(isChecking)); this.#arm(); }, life);
  }

  #parent;
  #life;
  #draft;
  #editor;
  #form;

  /** @param {string} start @param {string | null} pasted Text that another page has left. */
  async begin(start, pasted) {
    this.#form.offer(await catalogue(), await suggestions(this.#life));
    if (pasted === null) this.#draft.begin(start);
    else this.#draft.write(pasted);
  }

  /** @param {Checked} checked */
  #show(checked) {
    this.#editor.show(checked.text);
    this.#editor.mark(new Map(checked.reasons.flatMap(({ line, message }) => (line === null ? [] : [[line, message]]))));
    this.#form.show(checked);
    fill(this.#verdict, verdictOf(checked, (reason) => this.#goTo(reason)));
    this.#arm();
  }

  /** @param {import("../core/draft.js").Reason} reason */
  #goTo(reason) {
    if (!this.#form.goTo(reason.loc) && reason.line !== null) this.#editor.goTo(reason.line);
  }

  #arm() {
    const checked = this.#draft.checked.value;
    const isReady = checked !== null && checked.reasons.length === 0 && !this.#draft.isChecking.value && checked.text === this.#draft.text;
    this.#button.disabled = !isReady;
    this.#button.title = isReady ? "" : "correct what is listed first";
  }

  async #submit() {
    this.#button.disabled = true;
    try {
      const job = await change("POST", this.#parent ? `/v1/jobs?parent=${encodeURIComponent(this.#parent)}` : "/v1/jobs", this.#draft.checked.value?.spec, { "Idempotency-Key": this.#key });
      go(`/jobs/${encodeURIComponent(job.job_id)}`);
    } catch (error) {
      // Another spec needs another key.
      this.#key = crypto.randomUUID?.() ?? String(Math.random());
      if (!this.#life.aborted) fill(this.#refusal, problemNotice(error));
      this.#arm();
    }
  }
}

/** @param {Checked} checked @param {(reason: import("../core/draft.js").Reason) => void} goTo */
function verdictOf({ reasons, placement, spec, prediction, cost }, goTo) {
  if (reasons.length > 0) {
    const link = (/** @type {import("../core/draft.js").Reason} */ reason) => h("li", {}, h("button", { type: "button", className: "link", on: { click: () => goTo(reason) } }, reason.loc || (reason.line ? `line ${reason.line}` : "text")), " ", reason.message);
    return [h("p", { className: "bad" }, reasons.length === 1 ? "One thing to correct" : `${reasons.length} things to correct`), h("ul", {}, reasons.map(link))];
  }
  const predicted = [
    prediction && h("details", {}, h("summary", {}, prediction.sentence), detailsOf(prediction)),
    cost && (cost.runs.length === 1 ? h("p", {}, cost.sentence) : h("details", {}, h("summary", {}, cost.sentence), runsOf(cost))),
  ];
  if (placement === null) return [...predicted, h("p", {}, spec === null ? "" : "Ready. The cluster does not answer now; the job would wait for it.")];
  const { cpus, gpus, workers, num_ahead, code, message, not_before } = placement;
  const takes = `${workers === 1 ? "" : `${workers} workers, together `}${cpus} ${cpus === 1 ? "CPU" : "CPUs"}${gpus ? ` and ${gpus} ${gpus === 1 ? "GPU" : "GPUs"}` : ""}`;
  const when = code === "starts_now" ? "It would start at once." : `It would wait: ${message}${not_before ? `; it may start at ${time(not_before)}` : ""}${num_ahead ? `; jobs ahead: ${num_ahead}` : ""}.`;
  return [h("p", { className: "good" }, "Ready"), h("p", {}, `Takes ${takes}. ${when}`), ...predicted];
}

/**
 * What people would otherwise look up: checkpoints of jobs that may be teachers, and registered data sets.
 * @param {AbortSignal} life
 * @returns {Promise<{ checkpoints: { value: string, label: string }[], datasets: { value: string, label: string }[] }>}
 */
async function suggestions(life) {
  const [jobs, datasets] = await Promise.all([
    get("/v1/jobs", { query: { kind: ["train", "distill", "chain"], limit: 100 }, life }), get("/v1/datasets", { query: { limit: 100 }, life }),
  ]);
  const usable = jobs.items.filter((/** @type {any} */ job) => !["failed", "cancelled"].includes(job.state));
  return {
    checkpoints: usable.map((/** @type {any} */ { job_id, name, progress }) => ({ value: `job:${job_id}/best`, label: `${name}${progress.best_ap === null ? "" : `, AP ${progress.best_ap.toFixed(3)}`}` })),
    datasets: datasets.items.map((/** @type {any} */ { name, project, state }) => ({ value: name, label: `${project}, ${state}` })),
  };
}
