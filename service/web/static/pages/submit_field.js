// @ts-check
import { choice } from "../core/catalogue.js";
import { fill, h } from "../ui/html.js";

/** @typedef {import("../core/catalogue.js").Field} Field */
/** @typedef {import("../core/draft.js").Reason} Reason */

let numFields = 0;

/** One field: its name, its control, the server's words about it, and a way back to its default. */
export class FieldView {
  #value = /** @type {unknown} */ (undefined);
  #id = `field-${(numFields += 1)}`;
  #problem = h("small", { className: "bad", id: `${this.#id}-problem` });
  #reset = h("button", { type: "button", className: "link", title: "back to the default", on: { click: () => this.#send("") } }, "reset");

  /**
   * @param {Field} field
   * @param {{ catalogue: import("../core/catalogue.js").Catalogue, draft: import("../core/draft.js").Draft, lineOf: (line: number) => void }} context
   */
  constructor(field, context) {
    this.field = field;
    this.#context = context;
    this.#control = this.#makeControl();
    const { path, setting } = field;
    const depth = path.split(".").length - 1;
    this.element = h(
      "div", { className: "field" },
      h("div", { className: "field-name" }, h("label", { htmlFor: this.#id, title: path }, path.split(".").slice(depth > 0 ? 1 : 0).join(".").replaceAll("_", " ")), setting.required && h("small", {}, " needed"), this.#reset),
      this.#control, this.#problem, setting.help && h("small", { className: "help", id: `${this.#id}-help` }, setting.help),
    );
    this.#control.setAttribute("aria-describedby", `${this.#id}-problem${setting.help ? ` ${this.#id}-help` : ""}`);
  }

  #context;
  #control;

  /** Whether the field is shown without asking: it must be filled, or it has a value or a fault. */
  get isNeeded() {
    return this.field.setting.required || this.#value !== undefined || this.#problem.textContent !== "";
  }

  focus() {
    this.#control.focus();
    this.element.scrollIntoView({ block: "center" });
  }

  /** @param {unknown} value Undefined if the spec does not have it. @param {Reason | undefined} reason */
  show(value, reason) {
    this.#value = value;
    // What a user is typing is newer.
    if (document.activeElement !== this.#control || this.#control instanceof HTMLSelectElement) this.#control.value = this.#textOf(value);
    this.#reset.hidden = value === undefined || this.field.setting.required;
    fill(this.#problem, reason && (reason.loc === this.field.path ? reason.message : `${reason.loc.slice(this.field.path.length + 1)}: ${reason.message}`));
    this.#control.setAttribute("aria-invalid", String(reason !== undefined));
  }

  #makeControl() {
    const { path, setting, isList } = this.field;
    const values = isList ? null : (setting.values ?? (setting.type.startsWith("true or false") ? [true, false] : null));
    if (values) {
      const empty = h("option", { value: "" }, setting.required ? "choose" : `default: ${shownDefault(setting)}`);
      return h("select", { id: this.#id, on: { change: () => this.#choose() } }, empty, values.map((each) => h("option", { value: String(each) }, String(each))));
    }
    const isNumber = /^(whole )?number/.test(setting.type);
    const list = path.endsWith("checkpoint") ? "of-checkpoints" : path.endsWith("data.name") ? "of-datasets" : null;
    const placeholder = setting.required ? rangeOf(setting) : `default: ${shownDefault(setting)}`;
    return h("input", { id: this.#id, type: "text", inputMode: isNumber ? "decimal" : null, list, placeholder, autocomplete: "off", on: { input: (/** @type {Event} */ event) => this.#send(/** @type {HTMLInputElement} */ (event.target).value) } });
  }

  #choose() {
    const { setting: { section }, path } = this.field;
    const name = this.#control.value;
    if (section === null || name === "") { this.#send(name); return; }
    const { catalogue, draft } = this.#context;
    const { changes, removed } = choice(catalogue, section, this.#value, path, name);
    draft.set(changes, removed);
  }

  /** @param {string} text Empty: the default. */
  #send(text) {
    const { path, setting } = this.field;
    if (text === "" && !setting.required) this.#context.draft.set({}, [path]);
    else this.#context.draft.set({ [path]: valueOf(text, this.field) });
  }

  /** @param {unknown} value */
  #textOf(value) {
    if (value === undefined || (value === null && this.field.setting.required)) return "";
    const { section } = this.field.setting;
    if (section !== null && value !== null && typeof value === "object" && this.#control instanceof HTMLSelectElement) {
      const tag = this.#context.catalogue[section][0].chosen_by;
      return String(/** @type {any} */ (value)[tag] ?? "");
    }
    if (Array.isArray(value) && value.every((item) => typeof item !== "object")) return value.join(", ");
    return typeof value === "object" ? JSON.stringify(value) : String(value);
  }
}

/** @param {string} text @param {Field} field */
function valueOf(text, { setting, isList }) {
  const typed = text.trim();
  if (isList) return typed.startsWith("[") || typed.startsWith("{") ? parsed(typed) : setting.type.startsWith("list") ? typed.split(",").map((item) => scalar(item.trim())) : typed;
  if (setting.type.startsWith("text")) return typed === "" ? null : typed;
  return scalar(typed);
}

/** @param {string} text */
function scalar(text) {
  if (text === "true" || text === "false") return text === "true";
  return text !== "" && Number.isFinite(Number(text)) ? Number(text) : text === "" || text === "null" ? null : text;
}

/** @param {string} text */
function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

/** @param {import("../core/catalogue.js").Setting} setting */
function shownDefault({ default: value }) {
  if (value === null) return "none";
  if (typeof value !== "object") return String(value);
  const tag = /** @type {any} */ (value).type;
  return tag ? String(tag) : JSON.stringify(value);
}

/** @param {import("../core/catalogue.js").Setting} setting */
function rangeOf({ type, minimum, maximum, exclusive_minimum: above }) {
  const low = minimum !== null ? `from ${minimum}` : above !== null ? `above ${above}` : "";
  return [type, low, maximum !== null ? `up to ${maximum}` : ""].filter(Boolean).join(", ");
}
