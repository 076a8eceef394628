// @ts-check
import { at, choice, fieldsOf } from "../core/catalogue.js";
import { fill, h } from "../ui/html.js";
import { FieldView } from "./submit_field.js";

/** @typedef {import("../core/catalogue.js").Catalogue} Catalogue */
/** @typedef {import("../core/catalogue.js").Field} Field */
/** @typedef {import("../core/draft.js").Checked} Checked */

/** Parts in the order in which people think of them; others follow. */
const ORDER = ["name", "kind", "student", "detector", "teacher", "checkpoint", "stages", "base", "method", "data", "space", "budget", "training", "input"];
const FIRST = "job";
/** Fields that have no part of their own. */
const GENERAL = ["name", "project", "priority", "preemptible", "seed"];

/** A form with the fields that the spec can have now, made from the server's catalogue. */
export class SpecForm {
  /** @type {Catalogue | null} */
  #catalogue = null;
  /** By path and section: another entry needs another control. @type {Map<string, FieldView>} */
  #views = new Map();
  /** By name of the part: whether the rarely used fields are shown. @type {Set<string>} */
  #opened = new Set();
  /** @type {Checked | null} */
  #checked = null;
  #parts = h("div", { className: "parts" });
  #search = h("input", { type: "search", placeholder: "Find a setting", "aria-label": "Find a setting", on: { input: () => this.#draw() } });
  #kind = h("select", { "aria-label": "Kind of job", on: { change: () => this.#chooseKind() } });
  #lists = h("div");

  /** @param {import("../core/draft.js").Draft} draft @param {(line: number) => void} goToLine */
  constructor(draft, goToLine) {
    this.#draft = draft;
    this.#goToLine = goToLine;
    this.element = h("form", { className: "form", "aria-label": "Settings", on: { submit: (/** @type {Event} */ event) => event.preventDefault() } }, h("div", { className: "bar" }, this.#kind, this.#search), this.#parts, this.#lists);
  }

  #draft;
  #goToLine;

  /**
   * @param {Catalogue} all
   * @param {{ checkpoints: { value: string, label: string }[], datasets: { value: string, label: string }[] }} suggested
   */
  offer(all, suggested) {
    this.#catalogue = all;
    fill(this.#kind, all.jobs.map(({ name }) => h("option", { value: name }, name)));
    fill(this.#lists, Object.entries(suggested).map(([name, items]) => h("datalist", { id: `of-${name}` }, items.map(({ value, label }) => h("option", { value, label })))));
  }

  /** @param {Checked} checked */
  show(checked) {
    this.#checked = checked;
    this.#draw();
  }

  /** Move to the field of a reason; false if the form has none. @param {string} path */
  goTo(path) {
    const found = [...this.#views.values()].filter(({ field }) => path === field.path || path.startsWith(`${field.path}.`)).at(-1);
    if (!found) return false;
    if (!found.element.isConnected) { this.#opened.add(partOf(found.field.path)); this.#draw(); }
    found.focus();
    return true;
  }

  #chooseKind() {
    const { changes, removed } = choice(/** @type {Catalogue} */ (this.#catalogue), "jobs", this.#checked?.spec, "", this.#kind.value);
    this.#draft.set(changes, removed);
  }

  #draw() {
    const spec = this.#checked?.spec;
    if (!this.#catalogue || !this.#checked) return;
    this.element.classList.toggle("stale", !spec);
    if (!spec) return;
    this.#kind.value = spec.kind ?? "";
    const views = fieldsOf(this.#catalogue, spec).map((field) => this.#view(field));
    for (const view of views) view.show(at(spec, view.field.path), this.#reasonOf(view.field, views));
    const focused = document.activeElement;
    fill(this.#parts, this.#search.value ? this.#found(views) : this.#grouped(views));
    if (focused instanceof HTMLElement && focused !== document.activeElement && focused.isConnected) focused.focus();
  }

  /** @param {Field} field */
  #view(field) {
    const key = `${field.path} ${field.setting.section} ${field.setting.type}`;
    const known = this.#views.get(key) ?? new FieldView(field, { catalogue: /** @type {Catalogue} */ (this.#catalogue), draft: this.#draft, lineOf: this.#goToLine });
    this.#views.set(key, known);
    return known;
  }

  /** The reason that belongs to this field and to no field inside it. @param {Field} field @param {FieldView[]} views */
  #reasonOf({ path }, views) {
    const isInner = (/** @type {string} */ loc) => views.some(({ field }) => field.path !== path && field.path.startsWith(`${path}.`) && (loc === field.path || loc.startsWith(`${field.path}.`)));
    return this.#checked?.reasons.find(({ loc }) => (loc === path || loc.startsWith(`${path}.`)) && !isInner(loc));
  }

  /** @param {FieldView[]} views */
  #found(views) {
    const words = this.#search.value.toLowerCase().split(/\s+/);
    const found = views.filter(({ field: { path, setting } }) => words.every((word) => `${path} ${setting.help}`.toLowerCase().includes(word)));
    return found.length === 0 ? [h("p", { className: "faint" }, "No setting has these words in its name or its description.")] : [h("fieldset", {}, h("legend", {}, `${found.length} found`), found.map(({ element }) => element))];
  }

  /** @param {FieldView[]} views */
  #grouped(views) {
    /** @type {Map<string, FieldView[]>} */
    const parts = new Map();
    for (const view of views) {
      const name = partOf(view.field.path);
      parts.set(name, [...(parts.get(name) ?? []), view]);
    }
    return [...parts].sort(([a], [b]) => placeOf(a) - placeOf(b)).map(([name, of]) => this.#part(name, of));
  }

  /** @param {string} name @param {FieldView[]} views */
  #part(name, views) {
    const isOpen = this.#opened.has(name);
    const shown = views.filter((view) => isOpen || view.isNeeded);
    const toggle = () => { if (isOpen) this.#opened.delete(name); else this.#opened.add(name); this.#draw(); };
    const rest = views.length - views.filter((view) => view.isNeeded).length;
    const more = rest > 0 && h("button", { type: "button", className: "link", "aria-expanded": isOpen, on: { click: toggle } }, isOpen ? "Fewer settings" : `${rest} more settings`);
    return h("fieldset", {}, h("legend", {}, name.replaceAll("_", " ")), shown.map(({ element }) => element), more);
  }
}

/** @param {string} path */
function partOf(path) {
  const [first] = path.split(".");
  return GENERAL.includes(first) ? FIRST : first;
}

/** @param {string} part */
function placeOf(part) {
  const index = part === FIRST ? 0 : ORDER.indexOf(part);
  return index < 0 ? ORDER.length : index;
}
