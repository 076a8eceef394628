// @ts-check
import { get } from "../core/api.js";
import { SORTS } from "../core/list.js";
import { h } from "../ui/html.js";
import { columnChoice } from "./jobs_choice.js";

/** @typedef {import("../core/router.js").Query} Query */

const TYPING_MS = 250;

/** Each choice stands for some states. @type {Record<string, string[]>} */
const CHOICES = {
  active: ["starting", "running", "pausing", "cancelling", "lost"],
  waiting: ["blocked", "queued", "paused"],
  succeeded: ["succeeded"],
  failed: ["failed"],
  cancelled: ["cancelled"],
};
const KINDS = ["train", "distill", "chain", "evaluate", "export", "check_data", "derive_data", "sweep", "study"];
const BY_AGE = "-created";

/**
 * Read from the address which jobs are shown, and in which order.
 * @param {Query} query
 * @returns {import("../core/list.js").Wanted}
 */
export function wantedOf(query) {
  const sort = query.get("sort");
  return {
    q: query.get("q").slice(0, 100),
    state: query.all("is").flatMap((name) => CHOICES[name] ?? []),
    kind: query.all("kind").filter((kind) => KINDS.includes(kind)),
    project: query.all("project"),
    seed_group: query.get("seed_group"),
    sort: sort.replace("-", "") in SORTS ? sort : BY_AGE,
  };
}

/** Whether runs that differ only in their seed are one row. @param {Query} query */
export function isFolded(query) {
  return query.get("fold") === "seeds";
}

/**
 * Sort by a column; by the same one in the other direction.
 * @param {Query} query
 * @param {string} name
 */
export function sortBy(query, name) {
  const { sort } = wantedOf(query);
  const next = sort === `-${name}` ? name : `-${name}`;
  query.write({ sort: next === BY_AGE ? "" : next });
}

/**
 * Build the controls that write the filter into the address, and follow it.
 * @param {Query} query
 * @param {AbortSignal} life
 */
export function filterBar(query, life) {
  const search = searchField(query);
  const kind = choice(query, "kind", "Kind", "all kinds");
  add(kind, KINDS);
  const project = choice(query, "project", "Project", "all projects");
  readProjects(project, query, life);
  const buttons = Object.keys(CHOICES).map((name) => h("button", { type: "button", className: "choice", on: { click: () => toggle(query, name) } }, name));
  const fold = h("button", { type: "button", className: "choice", title: "one row for all runs that differ only in their seed, with mean and 95 % interval", on: { click: () => query.write({ fold: isFolded(query) ? "" : "seeds", seed_group: "" }) } }, "Fold seeds");
  const one = h("button", { type: "button", className: "choice", ariaPressed: "true", title: "shows one spec with all its seeds; click for all jobs", on: { click: () => query.write({ seed_group: "" }) } }, "one spec, all seeds ✕");
  query.watch(() => {
    if (document.activeElement !== search) search.value = query.get("q");
    kind.value = query.get("kind");
    show(project, query.get("project"));
    for (const button of buttons) button.setAttribute("aria-pressed", String(query.all("is").includes(button.textContent ?? "")));
    fold.setAttribute("aria-pressed", String(isFolded(query)));
    one.hidden = query.get("seed_group") === "";
  }, life);
  const states = h("span", { className: "choices", role: "group", "aria-label": "State" }, buttons);
  return h("form", { className: "bar", role: "search", on: { submit: (/** @type {Event} */ event) => event.preventDefault() } }, search, kind, project, states, fold, one, columnChoice(query, life));
}

/** @param {Query} query */
function searchField(query) {
  const write = later(() => query.write({ q: field.value.trim() }, { replace: true }));
  /** @type {HTMLInputElement} */
  const field = h("input", { type: "search", placeholder: "Name or id", maxLength: 100, "aria-label": "Search by name or id", on: { input: write } });
  return field;
}

/** @param {Query} query @param {string} name @param {string} label @param {string} all */
function choice(query, name, label, all) {
  /** @type {HTMLSelectElement} */
  const select = h("select", { "aria-label": label, on: { change: () => query.write({ [name]: select.value }) } }, h("option", { value: "" }, all));
  return select;
}

/** @param {HTMLSelectElement} select @param {string[]} values */
function add(select, values) {
  const known = new Set([...select.options].map(({ value }) => value));
  select.append(...values.filter((value) => !known.has(value)).map((value) => h("option", { value }, value)));
}

/** Show a value, also one that the list lacks. @param {HTMLSelectElement} select @param {string} value */
function show(select, value) {
  add(select, [value]);
  select.value = value;
}

/** @param {HTMLSelectElement} select @param {Query} query @param {AbortSignal} life */
async function readProjects(select, query, life) {
  try {
    /** @type {{ items: { name: string }[] }} */
    const { items } = await get("/v1/projects", { life });
    add(select, items.map(({ name }) => name));
    show(select, query.get("project"));
  } catch {
    // The page works without the list; an address may name a project.
  }
}

/** @param {Query} query @param {string} name */
function toggle(query, name) {
  const chosen = query.all("is");
  query.write({ is: chosen.includes(name) ? chosen.filter((each) => each !== name) : [...chosen, name] });
}

/** @param {() => void} work */
function later(work) {
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(work, TYPING_MS);
  };
}
