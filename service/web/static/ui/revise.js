// @ts-check
import { h, takeListeners } from "./html.js";

/** Attributes that do not come from the page's data: a user opens and closes details, and `place` makes rows focusable. */
const OWN = ["open", "tabindex"];

/**
 * Replace an element's content, and keep each child that is still wanted: the one with the same `data-key`, or without a
 * key the one with the same tag at the same place. So a live page keeps the focus and the scroll position.
 *
 * Not for elements to which a program holds on, such as figures: it would hold the new one, which is not shown.
 * @param {Element} element
 * @param {...(import("./html.js").Child | import("./html.js").Child[])} children
 */
export function revise(element, ...children) {
  const wanted = [...h("div", {}, ...children).childNodes];
  const keyed = new Map([...element.children].flatMap((each) => (keyOf(each) === null ? [] : [[keyOf(each), each]])));
  const others = [...element.childNodes].filter((each) => keyOf(each) === null);
  place(element, wanted.map((each) => {
    const known = keyOf(each) === null ? others.shift() : keyed.get(keyOf(each));
    keyed.delete(keyOf(each));
    return known === undefined ? each : become(known, each);
  }));
}

/**
 * Make a node look and act like another one.
 * @param {Node} known
 * @param {Node} wanted
 * @returns {Node} `wanted` itself if the known node cannot become it.
 */
export function become(known, wanted) {
  if (known instanceof Text && wanted instanceof Text) {
    if (known.data !== wanted.data) known.data = wanted.data;
    return known;
  }
  if (!(known instanceof Element && wanted instanceof Element) || known.nodeName !== wanted.nodeName || !takeListeners(known, wanted)) return wanted;
  for (const name of known.getAttributeNames()) if (!wanted.hasAttribute(name) && !OWN.includes(name)) known.removeAttribute(name);
  for (const { name, value } of wanted.attributes) if (known.getAttribute(name) !== value) known.setAttribute(name, value);
  revise(known, ...wanted.childNodes);
  return known;
}

/**
 * Make these nodes the children of an element, in this order. The child with the focus is not moved, because it would lose
 * the focus; if it is removed, the child that is at its place afterwards gets the focus.
 * @param {Element} element
 * @param {readonly Node[]} nodes
 */
export function place(element, nodes) {
  const shown = () => [...element.children].filter(({ ariaHidden }) => ariaHidden !== "true");
  const before = shown().findIndex((each) => each.contains(document.activeElement));
  for (const old of [...element.childNodes]) if (!nodes.includes(old)) old.remove();
  const fixed = Math.max(0, nodes.findIndex((each) => each.contains(document.activeElement)));
  if (nodes.length > 0 && nodes[fixed].parentNode !== element) element.append(nodes[fixed]);
  for (let at = fixed - 1; at >= 0; at -= 1) if (nodes[at].nextSibling !== nodes[at + 1]) element.insertBefore(nodes[at], nodes[at + 1]);
  for (let at = fixed + 1; at < nodes.length; at += 1) if (nodes[at].previousSibling !== nodes[at - 1]) element.insertBefore(nodes[at], nodes[at - 1].nextSibling);
  if (before >= 0 && !element.contains(document.activeElement)) focusNear(shown(), before);
}

/** @param {Element[]} elements @param {number} index */
function focusNear(elements, index) {
  const near = elements[Math.min(index, elements.length - 1)];
  if (!(near instanceof HTMLElement)) return;
  // Not reached by Tab, but Tab goes on from there.
  near.tabIndex = -1;
  near.focus({ preventScroll: true });
}

/** @param {Node} node */
function keyOf(node) {
  return node instanceof Element ? node.getAttribute("data-key") : null;
}
