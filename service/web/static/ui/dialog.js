// @ts-check
import { Problem } from "../core/api.js";
import { fill, h } from "./html.js";
import { problemNotice } from "./parts.js";

/**
 * @typedef {object} Field
 * @property {string} name A refusal with this path is shown at the field.
 * @property {string} label
 * @property {"text" | "number" | "checkbox"} [type] With `options` it is a choice.
 * @property {string | number | boolean} [value]
 * @property {string[]} [options]
 * @property {string} [help]
 * @property {Record<string, unknown>} [limits] Properties of the input, such as `min`, `pattern`, `required`.
 */
/** What a user has entered, by the field's name. @typedef {Record<string, any>} Values */

let numDialogs = 0;

/**
 * Ask a user in a dialog, send the answer, and show a refusal inside it, so that it can be corrected.
 * @param {object} options
 * @param {string} options.title
 * @param {string} [options.text]
 * @param {Field[]} [options.fields]
 * @param {string} options.action What the button says.
 * @param {(values: Values) => Promise<void>} options.send
 * @param {AbortSignal} life Closes it.
 */
export function ask({ title, text, fields = [], action, send }, life) {
  const id = `dialog-${(numDialogs += 1)}`;
  const inputs = fields.map((field, index) => inputOf(field, `${id}-${index}`));
  const faults = fields.map((_, index) => h("small", { className: "bad", id: `${id}-${index}-fault` }));
  const problem = h("div");
  const showFaults = (/** @type {unknown} */ error) => {
    const reasons = error instanceof Problem ? error.reasons : [];
    const messages = fields.map(({ name }) => reasons.filter(({ loc }) => loc === name).map(({ message }) => message).join("; "));
    messages.forEach((message, index) => { fill(faults[index], message); inputs[index].setAttribute("aria-invalid", String(message !== "")); });
    inputs[messages.findIndex(Boolean)]?.focus();
  };
  const close = () => { dialog.close(); dialog.remove(); };
  const go = h("button", { type: "submit", className: "main" }, action);
  const onSubmit = async (/** @type {Event} */ event) => {
    event.preventDefault();
    go.disabled = true;
    try {
      await send(Object.fromEntries(fields.map(({ name }, index) => [name, valueOf(inputs[index])])));
      close();
    } catch (error) {
      fill(problem, problemNotice(error));
      showFaults(error);
    } finally {
      go.disabled = false;
    }
  };
  const dialog = h(
    "dialog", { "aria-labelledby": id, on: { cancel: close } },
    h(
      "form", { on: { submit: onSubmit } }, h("h2", { id }, title), text && h("p", {}, text), problem,
      fields.map((field, index) => rowOf(field, inputs[index], faults[index])),
      h("div", { className: "bar" }, go, h("button", { type: "button", on: { click: close } }, "Close")),
    ),
  );
  document.body.append(dialog);
  life.addEventListener("abort", close);
  dialog.showModal();
}

/** @param {Field} field @param {string} id */
function inputOf({ type = "text", value = "", options, limits }, id) {
  if (options) {
    const select = h("select", { id, ...limits }, options.map((option) => h("option", { value: option }, option)));
    select.value = String(value || options[0]);
    return select;
  }
  return h("input", { id, type, ...(type === "checkbox" ? { checked: value } : { value }), ...limits });
}

/** @param {Field} field @param {HTMLElement} input @param {HTMLElement} fault */
function rowOf({ label, help, type }, input, fault) {
  input.setAttribute("aria-describedby", fault.id);
  if (help) input.setAttribute("aria-description", help);
  const name = h("label", { htmlFor: input.id }, label);
  return h("div", { className: "field" }, type === "checkbox" ? [input, name] : [name, input], fault, help && h("small", {}, help));
}

/** @param {HTMLInputElement | HTMLSelectElement} input */
function valueOf(input) {
  if (input instanceof HTMLSelectElement || input.type === "text") return input.value.trim();
  return input.type === "checkbox" ? input.checked : Number(input.value);
}
