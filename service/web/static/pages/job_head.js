// @ts-check
import { act, ACTIONS } from "../core/actions.js";
import { BASE } from "../core/api.js";
import { missingRole } from "../core/session.js";
import { duration, number, score, secondsBetween, time } from "../ui/format.js";
import { fill, h } from "../ui/html.js";
import { Menu } from "../ui/menu.js";
import { OVER, progressBar, stateBadge } from "../ui/parts.js";
import { menuOf } from "./job_menu.js";

/** @typedef {import("../core/types.js").Job} Job */
/** @typedef {import("../core/types.js").QueuedJob} QueuedJob */

/** A job's name, state, progress and buttons. The buttons stay the same elements, so that they keep the focus. */
export class HeadPart {
  #title = h("div", { className: "title" });
  #summary = h("div", { className: "summary" });
  #answer = h("div", { role: "status" });

  /**
   * @param {object} options
   * @param {(request: Promise<Job>) => void} options.act Shows the job of the answer, or the refusal.
   * @param {(job: Job) => void} options.put
   * @param {AbortSignal} life
   */
  constructor({ act: onAct, put }, life) {
    this.#act = onAct;
    this.#put = put;
    this.#life = life;
    this.#buttons = ACTIONS.map((action) => h("button", { type: "button", name: action.name }, action.label));
    this.#menu = new Menu("More", life);
    const bar = h("div", { className: "actions bar", role: "group", "aria-label": "Actions" }, this.#buttons, this.#menu.element);
    this.element = h("section", { className: "head" }, h("div", { className: "top" }, this.#title, bar), this.#answer, this.#summary);
  }

  #act;
  #put;
  #life;
  #buttons;
  #menu;

  /** @param {Job} job @param {QueuedJob | null} wait Its place in the queue, if it waits there. */
  show(job, wait) {
    fill(this.#title, h("h1", {}, job.name), stateBadge(job.state), aboutOf(job));
    fill(this.#summary, reasonOf(job, wait), numbersOf(job));
    for (const button of this.#buttons) this.#arm(button, job);
    const say = (/** @type {import("../ui/html.js").Child[]} */ ...children) => fill(this.#answer, h("p", { className: "notice" }, children));
    this.#menu.show(menuOf(job, { put: this.#put, say }, this.#life));
  }

  /** @param {HTMLButtonElement} button @param {Job} job */
  #arm(button, job) {
    const action = ACTIONS.find(({ name }) => name === button.name);
    if (!action) return;
    const why = missingRole("submit") ?? (action.states.includes(job.state) ? null : `not possible while the job is ${job.state}`);
    button.disabled = why !== null;
    button.title = why ?? "";
    button.onclick = () => { if (!action.asks || confirm(`${action.label} ${job.name}?`)) this.#act(act(action, job.job_id)); };
  }
}

/** @param {Job} job */
function aboutOf(job) {
  const project = h("a", { href: `${BASE}/?project=${encodeURIComponent(job.project)}` }, job.project);
  const seeds = job.seed_group === null ? null : h("a", { href: `${BASE}/?seed_group=${job.seed_group}`, title: "all runs of this spec, whatever their seed" }, `seed ${job.seed}`);
  const parent = job.parent_id === null ? null : [" · made from ", h("a", { href: `${BASE}/jobs/${encodeURIComponent(job.parent_id)}` }, job.parent_id)];
  const study = job.part_of === null ? null : [" · run of the study ", h("a", { href: `${BASE}/jobs/${encodeURIComponent(job.part_of.job_id)}` }, job.part_of.name), `, ${job.part_of.arm}`];
  const by = job.submitted_by ? ` by ${job.submitted_by}` : "";
  return h("p", { className: "faint" }, `${job.kind} in project `, project, seeds && " · ", seeds, ...(parent ?? []), ...(study ?? []), ` · priority ${job.priority} · submitted${by} ${time(job.created_at)} · `, h("code", {}, job.job_id));
}

/** @param {Job} job @param {QueuedJob | null} wait */
function reasonOf(job, wait) {
  const links = job.waits_for.map((id) => h("a", { href: `${BASE}/jobs/${encodeURIComponent(id)}` }, id));
  const text = job.error?.message ?? wait?.message ?? job.reason;
  if (!text && links.length === 0) return null;
  return h(
    "div", { className: `notice ${job.state === "failed" ? "bad" : ""}` },
    h("p", {}, text, links.length > 0 && " Waits for ", links.flatMap((link) => [link, " "])),
    wait && h("p", { className: "faint" }, `Place ${number(wait.position)} in the queue`, wait.not_before && `; starts at ${time(wait.not_before)} or later`, ". ", h("a", { href: `${BASE}/queue` }, "Queue")),
  );
}

/** @param {Job} job */
function numbersOf(job) {
  const { epoch, epochs, step, steps, images_per_s, eta_s, ap, best_ap, stage, gpu_memory_of_workers: memory } = job.progress;
  const isOver = OVER.includes(job.state);
  const ran = (job.ran_s ?? 0) + (job.running_since ? secondsBetween(job.running_since, null) ?? 0 : 0);
  /** @type {[string, string | null][]} */
  const facts = [
    ["stage", stage],
    ["epoch", epoch === null ? null : `${epoch} of ${epochs}`],
    ["step", step === null ? null : `${number(step)} of ${number(steps)}`],
    ["time left", isOver || eta_s === null ? null : duration(eta_s)],
    ["ran for", job.attempts.length === 0 ? null : duration(isOver ? job.ran_s ?? secondsBetween(job.started_at, job.ended_at) : ran)],
    ["images per second", images_per_s === null ? null : number(images_per_s)],
    ["GPU memory", memory?.length ? `${number(Math.max(...memory.map((each) => each.peak_bytes)) / 1e9)} GB` : null],
    ["AP", ap === null ? null : score(ap)],
    ["best AP", best_ap === null ? null : score(best_ap)],
  ];
  return h(
    "div", {}, isOver ? null : progressBar(step, steps, "progress"),
    h("dl", { className: "facts" }, facts.filter(([, value]) => value !== null).map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value)))),
  );
}
