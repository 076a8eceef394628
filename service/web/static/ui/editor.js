// @ts-check
import { fill, h } from "./html.js";

const INDENT = "  ";

/**
 * A text with line numbers, in which lines can be marked. Tab indents the selected lines after a key was typed, so that
 * the keyboard can still leave the field: Escape and then Tab.
 */
export class Editor {
  #lines = h("div", { className: "line-numbers", "aria-hidden": "true" });
  #isEscaped = false;
  #count = 0;
  /** @type {Map<number, string>} */
  #marks = new Map();

  /** @param {{ label: string, typed: (text: string) => void }} options */
  constructor({ label, typed }) {
    this.#typed = typed;
    this.area = h("textarea", { "aria-label": label, spellcheck: false, autocapitalize: "off", wrap: "off", on: { input: () => this.#onInput(), keydown: (/** @type {KeyboardEvent} */ event) => this.#onKey(event) } });
    this.area.addEventListener("scroll", () => { this.#lines.style.transform = `translateY(${-this.area.scrollTop}px)`; }, { passive: true });
    this.element = h("div", { className: "editor" }, h("div", { className: "gutter" }, this.#lines), this.area);
  }

  #typed;

  /** Replace the text; the cursor stays in its line. @param {string} text */
  show(text) {
    if (this.area.value === text) return;
    const { scrollTop, selectionStart } = this.area;
    this.area.value = text;
    this.area.selectionStart = this.area.selectionEnd = Math.min(selectionStart, text.length);
    this.area.scrollTop = scrollTop;
    this.#number();
  }

  /** @param {Map<number, string>} marks Why each line is marked, by its number from 1. */
  mark(marks) {
    this.#marks = marks;
    this.#count = 0;
    this.#number();
  }

  /** Move the cursor to a line. @param {number} line From 1. */
  goTo(line) {
    const lines = this.area.value.split("\n");
    const start = lines.slice(0, line - 1).reduce((sum, each) => sum + each.length + 1, 0);
    this.area.focus();
    this.area.setSelectionRange(start, start + (lines[line - 1]?.length ?? 0));
    this.area.scrollTop = (this.area.scrollHeight / lines.length) * (line - 4);
  }

  #onInput() {
    this.#number();
    this.#typed(this.area.value);
  }

  #number() {
    const count = this.area.value.split("\n").length;
    if (count === this.#count) return;
    this.#count = count;
    fill(this.#lines, Array.from({ length: count }, (_, index) => h("span", { className: this.#marks.has(index + 1) ? "marked" : "", title: this.#marks.get(index + 1) }, String(index + 1))));
  }

  /** @param {KeyboardEvent} event */
  #onKey(event) {
    if (event.key === "Tab" && !this.#isEscaped && !event.shiftKey && !event.ctrlKey && !event.altKey) {
      event.preventDefault();
      this.area.setRangeText(INDENT, this.area.selectionStart, this.area.selectionEnd, "end");
      this.#onInput();
    }
    this.#isEscaped = event.key === "Escape";
  }
}
