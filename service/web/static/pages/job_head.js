// @ts-check
import { act, ACTIONS } from "../core/actions.js";
import { address, BASE } from "../core/api.js";
import { missingRole } from "../core/session.js";
import { duration, number, score, secondsBetween } from "../ui/format.js";
import { fill, h } from "../ui/html.js";
import { OVER, progressBar, stateBadge } from "../ui/parts.js";

/** @typedef {import("../core/types.js").Job} Job */

/**
 * Draw a job's name, state, progress and buttons. The buttons stay the same elements, so that they keep the focus.
 * @param {HTMLElement} element
 * @param {Job} job
 * @param {(request: Promise<Job>) => void} onAct
 */
export function headPart(element, job, onAct) {
  const known = element.querySelector(".actions");
  const buttons = known ?? h("div", { className: "actions bar", role: "group", "aria-label": "Actions" }, ACTIONS.map((action) => h("button", { type: "button", name: action.name }, action.label)));
  for (const button of buttons.querySelectorAll("button")) arm(button, job, onAct);
  const parts = [titleOf(job), reasonOf(job), numbersOf(job)].filter((part) => part !== null);
  if (known === null) fill(element, h("div", { className: "summary" }, parts), buttons);
  else fill(/** @type {Element} */ (element.querySelector(".summary")), parts);
}

/** @param {HTMLButtonElement} button @param {Job} job @param {(request: Promise<Job>) => void} onAct */
function arm(button, job, onAct) {
  const action = ACTIONS.find(({ name }) => name === button.name);
  if (!action) return;
  const why = missingRole("submit") ?? (action.states.includes(job.state) ? null : `not possible while the job is ${job.state}`);
  button.disabled = why !== null;
  button.title = why ?? "";
  button.onclick = () => { if (!action.asks || confirm(`${action.label} ${job.name}?`)) onAct(act(action, job.job_id)); };
}

/** @param {Job} job */
function titleOf(job) {
  return h("div", { className: "title" }, h("h1", {}, job.name), stateBadge(job.state), h("p", { className: "faint" }, `${job.kind} · ${job.job_id} · ${job.project} · submitted by ${job.submitted_by}`));
}

/** @param {Job} job */
function reasonOf(job) {
  const links = job.waits_for.map((id) => h("a", { href: `${BASE}/jobs/${encodeURIComponent(id)}` }, id));
  const text = job.error?.message ?? job.reason;
  if (!text && links.length === 0) return null;
  return h("div", { className: `notice ${job.state === "failed" ? "bad" : ""}` }, h("p", {}, text, links.length > 0 && " Waits for ", links.flatMap((link) => [link, " "])));
}

/** @param {Job} job */
function numbersOf(job) {
  const { epoch, epochs, step, steps, images_per_s, eta_s, ap, best_ap, stage } = job.progress;
  const isOver = OVER.includes(job.state);
  /** @type {[string, string | null][]} */
  const facts = [
    ["stage", stage],
    ["epoch", epoch === null ? null : `${epoch} of ${epochs}`],
    ["step", step === null ? null : `${number(step)} of ${number(steps)}`],
    ["left", isOver || eta_s === null ? null : duration(eta_s)],
    ["took", isOver ? duration(secondsBetween(job.started_at, job.ended_at)) : null],
    ["images/s", images_per_s === null ? null : number(images_per_s)],
    ["AP", ap === null ? null : score(ap)],
    ["best AP", best_ap === null ? null : score(best_ap)],
  ];
  return h(
    "div", {}, isOver ? null : progressBar(step, steps, "progress"),
    h("dl", { className: "facts" }, facts.filter(([, value]) => value !== null).map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value)))),
    h("p", {}, h("a", { href: address(`/v1/jobs/${encodeURIComponent(job.job_id)}/report`, { format: "html" }), target: "_blank" }, "Report"), job.dashboard_url && " · ", job.dashboard_url && h("a", { href: job.dashboard_url, target: "_blank" }, "Run on Ray’s page")),
  );
}
