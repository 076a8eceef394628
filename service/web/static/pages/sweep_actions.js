// @ts-check
import { BASE, change } from "../core/api.js";
import { missingRole } from "../core/session.js";
import { toYaml } from "../core/yaml.js";
import { ask } from "../ui/dialog.js";
import { h } from "../ui/html.js";
import { lastPart, valueText } from "../ui/metrics.js";
import { announce, OVER } from "../ui/parts.js";

/** @typedef {import("../core/sweep.js").Sweep} Sweep */
/** @typedef {import("../core/types.js").Job} Job */

/** What a budget can limit: name in the spec, and words. */
const LIMITS = [["trials", "More trials"], ["epochs", "More epochs, over all trials"], ["gpu_hours", "More GPU hours"], ["wall_clock_s", "More seconds of running time"]];

/** The buttons for a sweep as a whole. @param {string} jobId @param {Sweep} sweep @param {AbortSignal} life */
export function sweepActions(jobId, sweep, life) {
  const path = `/v1/jobs/${encodeURIComponent(jobId)}`;
  const add = h("button", { type: "button", on: { click: () => askForTrial(jobId, sweep, {}, life) } }, "Add a trial …");
  const extend = h("button", { type: "button", on: { click: () => askForBudget(path, sweep, life) } }, "Extend …");
  const fork = h("a", { className: "button", href: `${BASE}/submit?pasted=1`, title: "A new sweep with another space or budget, which counts these trials and repeats none" }, "Fork …");
  fork.addEventListener("click", () => sessionStorage.setItem("fgd-draft", toYaml({ ...sweep.spec, fork: jobId })));
  const setState = (/** @type {string} */ state) => {
    show(add, missingRole("submit") ?? ([...OVER, "cancelling"].includes(state) ? `the sweep is ${state}; extend it to continue` : null), "It runs next, whatever the searcher suggests.");
    show(extend, missingRole("submit") ?? (state === "cancelling" ? "the sweep is being cancelled" : null), "Adds to the budget. A sweep that is over continues and repeats no trial.");
  };
  return { element: h("div", { className: "bar", role: "group", "aria-label": "Sweep" }, add, extend, fork), setState };
}

/** @param {HTMLButtonElement} button @param {string | null} why @param {string} help */
function show(button, why, help) {
  button.disabled = why !== null;
  button.title = why ?? help;
}

/**
 * Ask for the values of a new trial.
 * @param {string} jobId
 * @param {Sweep} sweep
 * @param {Record<string, unknown>} values To begin with; without any, those of the best configuration.
 * @param {AbortSignal} life
 */
export function askForTrial(jobId, { question, findings }, values, life) {
  const begin = Object.keys(values).length > 0 ? values : findings?.standings[0]?.values ?? {};
  const fields = Object.entries(question?.dimensions ?? {}).map(([path, dimension]) => ({
    name: path, label: lastPart(path), value: path in begin ? exact(begin[path]) : "", help: `${path}: ${spaceText(dimension)}`,
  }));
  ask({
    title: "Add a trial", text: "It runs next. An empty field keeps the value of the base job.", fields, action: "Add",
    send: async (entered) => {
      const filled = Object.entries(entered).filter(([, text]) => text !== "");
      await change("POST", `/v1/jobs/${encodeURIComponent(jobId)}/trials`, { values: Object.fromEntries(filled.map(([path, text]) => [path, parsed(text)])) });
      announce("The trial is next.");
    },
  }, life);
}

/** @param {string} path @param {Sweep} sweep @param {AbortSignal} life */
function askForBudget(path, { spec: { budget } }, life) {
  const limits = LIMITS.filter(([name]) => budget[name] !== null && budget[name] !== undefined);
  const fields = limits.map(([name, label]) => ({ name, label, type: /** @type {const} */ ("number"), value: 0, help: `The limit is ${valueText(budget[name])}.`, limits: { min: 0, step: name === "gpu_hours" ? "any" : 1 } }));
  ask({
    title: "Extend the sweep", text: "The limit that is reached first ends the search.", fields, action: "Extend",
    send: async (entered) => {
      await change("POST", `${path}/budget`, entered);
      announce("The budget is raised.");
    },
  }, life);
}

/** @param {import("../core/sweep.js").Dimension} dimension */
function spaceText({ type, low, high, values }) {
  return type === "choice" ? `one of ${values.map(valueText).join(", ")}` : `searched from ${valueText(low)} to ${valueText(high)}`;
}

/** @param {unknown} value */
function exact(value) {
  return typeof value === "string" ? value : JSON.stringify(value);
}

/** Read a value as JSON, and as text if it is none. @param {string} text */
function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
