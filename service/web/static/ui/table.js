// @ts-check
import { fill, h } from "./html.js";
import { become, place } from "./revise.js";

/**
 * @template Row
 * @typedef {object} Column
 * @property {string} name
 * @property {string} label
 * @property {(row: Row) => import("./html.js").Child} cell
 * @property {boolean} [isSortable]
 * @property {string} [className] `wide`: hidden on narrow screens. `number`: aligned to the right.
 */

const ROW_PX = 40;
const SPARE_ROWS = 12;

/**
 * A table of any length: only the rows on the screen, and some around them, are in the document. All rows are equally
 * high, so their place follows from their index.
 * @template Row
 */
export class VirtualTable {
  /** @type {readonly Row[]} */
  #rows = [];
  /** Rows in the document, by key. @type {Map<string, { row: Row, element: HTMLTableRowElement }>} */
  #drawn = new Map();
  #selected = new Set();
  #body = h("tbody");
  #head = h("tr");

  /**
   * @param {object} options
   * @param {string} options.caption
   * @param {Column<Row>[]} options.columns
   * @param {(row: Row) => string} options.key
   * @param {(row: Row) => string} options.title Names a row for its checkbox.
   * @param {(name: string) => void} options.sort Called when a user clicks a sortable heading.
   * @param {(keys: Set<string>) => void} options.selected Called when the selection changes.
   * @param {() => void} options.more Called when the last rows come near the screen.
   * @param {AbortSignal} life
   */
  constructor(options, life) {
    this.#options = options;
    this.#columns = options.columns;
    this.#table = h(
      "table", { className: "virtual" },
      h("caption", { className: "unseen" }, options.caption), h("thead", {}, this.#head), this.#body,
    );
    this.element = h("div", { className: "scroll", tabIndex: 0, role: "region", "aria-label": options.caption }, this.#table);
    this.element.addEventListener("scroll", () => this.#draw(), { passive: true });
    const resizes = new ResizeObserver(() => this.#draw());
    resizes.observe(this.element);
    life.addEventListener("abort", () => resizes.disconnect());
    this.showSort("", false);
  }

  #options;
  #columns;
  #table;

  /** @param {readonly Row[]} rows In the order to show. */
  show(rows) {
    this.#rows = rows;
    this.element.classList.toggle("empty", rows.length === 0);
    this.#table.setAttribute("aria-rowcount", String(rows.length + 1));
    this.#draw();
  }

  /** Show other columns; draw the head row next. @param {Column<Row>[]} columns */
  setColumns(columns) {
    this.#columns = columns;
    this.#drawn.clear();
    this.#draw();
  }

  /**
   * Draw the head row.
   * @param {string} name The column by which the rows are sorted.
   * @param {boolean} isDescending
   */
  showSort(name, isDescending) {
    fill(
      this.#head, h("th", { scope: "col", className: "pick" }, h("span", { className: "unseen" }, "selected")),
      this.#columns.map((column) => this.#heading(column, column.name === name, isDescending)),
    );
  }

  clearSelection() {
    this.#selected.clear();
    this.#drawn.clear();
    this.#draw();
    this.#options.selected(this.#selected);
  }

  /** @param {Column<Row>} column @param {boolean} isSorted @param {boolean} isDescending */
  #heading(column, isSorted, isDescending) {
    const sort = isSorted ? (isDescending ? "descending" : "ascending") : null;
    const button = () => h("button", { type: "button", on: { click: () => this.#options.sort(column.name) } }, column.label);
    return h(
      "th", { scope: "col", className: column.className ?? "", "aria-sort": sort },
      column.isSortable ? button() : column.label,
    );
  }

  #draw() {
    const first = Math.max(0, Math.floor(this.element.scrollTop / ROW_PX) - SPARE_ROWS);
    const end = Math.min(this.#rows.length, Math.ceil((this.element.scrollTop + this.element.clientHeight) / ROW_PX) + SPARE_ROWS);
    const rows = this.#rows.slice(first, end);
    const elements = rows.map((row, index) => this.#element(row, first + index));
    this.#drawn = new Map(rows.map((row, index) => [this.#options.key(row), { row, element: elements[index] }]));
    place(this.#body, [spacer(first), ...elements, spacer(this.#rows.length - end)]);
    if (end > this.#rows.length - 2 * SPARE_ROWS) this.#options.more();
  }

  /** @param {Row} row @param {number} index */
  #element(row, index) {
    const key = this.#options.key(row);
    const known = this.#drawn.get(key);
    const element = known?.element ?? h("tr", {}, this.#pick(row, key));
    if (known?.row !== row) {
      const [pick, ...known] = element.cells;
      const cells = this.#columns.map((column) => h("td", { className: column.className ?? "" }, column.cell(row)));
      place(element, [pick, ...cells.map((cell, index) => (known[index] ? become(known[index], cell) : cell))]);
    }
    element.setAttribute("aria-rowindex", String(index + 2));
    return element;
  }

  /** @param {Row} row @param {string} key */
  #pick(row, key) {
    const onChange = (/** @type {Event} */ event) => {
      const isPicked = /** @type {HTMLInputElement} */ (event.target).checked;
      if (isPicked) this.#selected.add(key);
      else this.#selected.delete(key);
      this.#options.selected(this.#selected);
    };
    const box = h("input", { type: "checkbox", checked: this.#selected.has(key), "aria-label": `select ${this.#options.title(row)}`, on: { change: onChange } });
    return h("td", { className: "pick" }, box);
  }
}

/** @param {number} rows */
function spacer(rows) {
  const element = h("tr", { "aria-hidden": "true", className: "spacer" });
  element.style.height = `${rows * ROW_PX}px`;
  return element;
}
