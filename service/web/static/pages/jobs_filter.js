// @ts-check
import { h } from "../ui/html.js";

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
const KINDS = ["train", "distill", "evaluate", "check_data", "sweep", "chain", "study", "export", "derive_data"];

/**
 * Read the filter from the address.
 * @param {Query} query
 */
export function filterOf(query) {
  return {
    q: query.get("q").slice(0, 100),
    state: query.all("is").flatMap((name) => CHOICES[name] ?? []),
    kind: query.all("kind").filter((kind) => KINDS.includes(kind)),
    project: query.all("project"),
  };
}

/**
 * Build the controls that write the filter into the address, and follow it.
 * @param {Query} query
 * @param {AbortSignal} life
 */
export function filterBar(query, life) {
  const search = searchField(query);
  const kind = kindChoice(query);
  const buttons = Object.keys(CHOICES).map((name) => h("button", { type: "button", className: "choice", on: { click: () => toggle(query, name) } }, name));
  query.watch(() => {
    if (document.activeElement !== search) search.value = query.get("q");
    kind.value = query.get("kind");
    for (const button of buttons) button.setAttribute("aria-pressed", String(query.all("is").includes(button.textContent ?? "")));
  }, life);
  return h("form", { className: "bar", role: "search", on: { submit: (/** @type {Event} */ event) => event.preventDefault() } }, search, kind, h("span", { className: "choices", role: "group", "aria-label": "State" }, buttons));
}

/** @param {Query} query */
function searchField(query) {
  const write = later(() => query.write({ q: field.value.trim() }, { replace: true }));
  /** @type {HTMLInputElement} */
  const field = h("input", { type: "search", placeholder: "Name or id", maxLength: 100, "aria-label": "Search by name or id", on: { input: write } });
  return field;
}

/** @param {Query} query */
function kindChoice(query) {
  const options = KINDS.map((kind) => h("option", { value: kind }, kind));
  /** @type {HTMLSelectElement} */
  const select = h("select", { "aria-label": "Kind", on: { change: () => query.write({ kind: select.value }) } }, h("option", { value: "" }, "all kinds"), options);
  return select;
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
