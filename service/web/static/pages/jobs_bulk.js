// @ts-check
import { act, ACTIONS, patch, remove } from "../core/actions.js";
import { BASE } from "../core/api.js";
import { missingRole } from "../core/session.js";
import { ask } from "../ui/dialog.js";
import { fill, h } from "../ui/html.js";
import { announce, problemNotice } from "../ui/parts.js";

/** @typedef {import("../core/types.js").Job} Job */

const MOST_COMPARED = 8;

/** The buttons that act on all selected jobs. */
export class BulkBar {
  /** @type {string[]} */
  #ids = [];
  /** What an action was refused for; stays until the next one. */
  refusals = h("div");
  #compare = h("a", { className: "button" }, "Compare");

  /**
   * @param {object} options
   * @param {HTMLElement} options.count
   * @param {(job: Job) => void} options.changed Called with each job that has changed.
   * @param {(id: string) => void} options.removed Called with each job that is deleted.
   * @param {() => void} options.done Called after an action on all jobs.
   * @param {AbortSignal} life
   */
  constructor({ count, changed, removed, done }, life) {
    this.#changed = changed;
    this.#removed = removed;
    this.#done = done;
    const button = (/** @type {string} */ label, /** @type {() => void} */ act) => h("button", { type: "button", on: { click: act } }, label);
    this.#buttons = [
      ...ACTIONS.map((action) => button(action.label, () => this.#control(action))),
      button("Priority…", () => this.#askPriority(life)), button("Delete…", () => this.#askDelete(life)),
    ];
    this.element = h("div", { className: "bar", role: "group", "aria-label": "Selected jobs" }, this.#buttons, this.#compare, count);
    this.select([]);
  }

  #changed;
  #removed;
  #done;
  #buttons;

  /** @param {string[]} ids Of the selected jobs. */
  select(ids) {
    this.#ids = ids;
    const missing = missingRole("submit");
    for (const button of this.#buttons) {
      button.disabled = missing !== null || ids.length === 0;
      button.title = missing ?? (ids.length === 0 ? "select jobs first" : `${ids.length} selected`);
    }
    const why = ids.length === 0 ? "select jobs first" : ids.length > MOST_COMPARED ? `at most ${MOST_COMPARED} jobs fit side by side` : "";
    this.#compare.title = why;
    this.#compare.setAttribute("aria-disabled", String(why !== ""));
    if (why) this.#compare.removeAttribute("href");
    else this.#compare.href = `${BASE}/compare?jobs=${ids.map(encodeURIComponent).join()}`;
  }

  /** @param {import("../core/actions.js").Action} action */
  #control(action) {
    if (!action.asks || confirm(`${action.label} ${this.#inWords()}?`)) this.#each(action.label, (id) => act(action, id));
  }

  /** @param {AbortSignal} life */
  #askPriority(life) {
    ask({
      title: `Priority of ${this.#inWords()}`, text: "Jobs with a higher number start first; new jobs have 0.",
      fields: [{ name: "priority", label: "Priority", type: "number", value: 0, limits: { min: -100, max: 100, required: true } }],
      action: "Change", send: ({ priority }) => this.#each("Priority", (id) => patch(id, { priority })),
    }, life);
  }

  /** @param {AbortSignal} life */
  #askDelete(life) {
    ask({
      title: `Delete ${this.#inWords()}?`, text: "Only jobs that are over can be deleted. Their curves, logs, checkpoints and files are deleted too. This cannot be undone.",
      action: "Delete", send: () => this.#each("Delete", async (id) => { await remove(id, false); this.#removed(id); return null; }),
    }, life);
  }

  #inWords() {
    return this.#ids.length === 1 ? "1 job" : `${this.#ids.length} jobs`;
  }

  /** @param {string} label @param {(id: string) => Promise<Job | null>} request */
  async #each(label, request) {
    const answers = await Promise.allSettled(this.#ids.map(request));
    /** @type {unknown[]} */
    const problems = [];
    for (const answer of answers) {
      if (answer.status === "rejected") problems.push(answer.reason);
      else if (answer.value !== null) this.#changed(answer.value);
    }
    fill(this.refusals, problems.map(problemNotice));
    announce(`${label}: ${this.#ids.length - problems.length} of ${this.#ids.length} done`);
    this.#done();
  }
}
