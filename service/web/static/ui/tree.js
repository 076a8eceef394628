// @ts-check
import { h } from "./html.js";

/**
 * Draw how items come from each other: columns from left to right, a line for each step. The list of the same items is
 * in the document too, so nothing depends on the picture.
 * @template Item
 * @param {object} options
 * @param {readonly Item[]} options.items
 * @param {(item: Item) => string} options.key
 * @param {(item: Item) => string[]} options.needs Keys of the items that it comes from; unknown ones are ignored.
 * @param {(item: Item) => import("./html.js").Child | import("./html.js").Child[]} options.box
 * @param {string} options.label
 */
export function tree({ items, key, needs, box, label }) {
  const known = new Map(items.map((item) => [key(item), item]));
  /** @type {Map<string, number>} */
  const columns = new Map();
  /** @type {(item: Item, above?: Set<string>) => number} */
  const columnOf = (item, above = new Set()) => {
    const id = key(item);
    const present = columns.get(id);
    if (present !== undefined || above.has(id)) return present ?? 0;
    const sources = needs(item).flatMap((each) => known.get(each) ?? []);
    const column = sources.length === 0 ? 0 : 1 + Math.max(...sources.map((source) => columnOf(source, new Set([...above, id]))));
    columns.set(id, column);
    return column;
  };
  items.forEach((item) => columnOf(item));
  const count = 1 + Math.max(0, ...columns.values());
  const boxOf = (/** @type {Item} */ item) => h("li", { className: "card", "data-key": key(item) }, box(item));
  const lists = Array.from({ length: count }, (_, column) => h("ol", {}, items.filter((item) => columns.get(key(item)) === column).map(boxOf)));
  const lines = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  lines.setAttribute("aria-hidden", "true");
  const element = h("div", { className: "tree", role: "group", "aria-label": label }, lines, lists);
  new ResizeObserver(() => drawLines(element, lines, items, key, needs)).observe(element);
  return element;
}

/**
 * @template Item
 * @param {HTMLElement} element
 * @param {SVGSVGElement} lines
 * @param {readonly Item[]} items
 * @param {(item: Item) => string} key
 * @param {(item: Item) => string[]} needs
 */
function drawLines(element, lines, items, key, needs) {
  const boxes = new Map([...element.querySelectorAll("li")].map((each) => [each.dataset.key, each]));
  const origin = element.getBoundingClientRect();
  const paths = items.flatMap((item) => needs(item).flatMap((source) => {
    const [from, to] = [boxes.get(source), boxes.get(key(item))];
    return from && to ? [pathBetween(from.getBoundingClientRect(), to.getBoundingClientRect(), origin)] : [];
  }));
  lines.replaceChildren(...paths);
}

/** @param {DOMRect} from @param {DOMRect} to @param {DOMRect} origin */
function pathBetween(from, to, origin) {
  const [x1, y1, x2, y2] = [from.right - origin.left, from.top + from.height / 2 - origin.top, to.left - origin.left, to.top + to.height / 2 - origin.top];
  const middle = (x1 + x2) / 2;
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  path.setAttribute("d", `M${x1},${y1} C${middle},${y1} ${middle},${y2} ${x2},${y2}`);
  return path;
}
