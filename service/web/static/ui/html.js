// @ts-check

/** @typedef {Node | string | number | null | undefined | false} Child */

/**
 * Build an element. Text of users becomes text nodes, never markup.
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag
 * @param {Record<string, any>} [properties] `on` holds listeners; a name with a hyphen, or `role`, is an attribute; any other name
 *   is a property of the element. Null and undefined are left out.
 * @param {...(Child | Child[])} children
 * @returns {HTMLElementTagNameMap[T]}
 */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined) continue;
    if (name === "on") listen(element, value);
    else if (name.includes("-") || name === "role") element.setAttribute(name, String(value));
    else Reflect.set(element, name, value);
  }
  element.append(...shown(children));
  return element;
}

/**
 * Replace an element's content.
 * @param {Element} element
 * @param {...(Child | Child[])} children
 */
export function fill(element, ...children) {
  element.replaceChildren(...shown(children));
}

/** @param {(Child | Child[])[]} children */
function shown(children) {
  return children.flat().filter((child) => child !== null && child !== undefined && child !== false).map((child) => (child instanceof Node ? child : String(child)));
}

/** What the listeners of an element call, by kind of event. @type {WeakMap<Element, Record<string, (event: any) => void>>} */
const CALLED = new WeakMap();

/**
 * @param {Element} element
 * @param {Record<string, (event: any) => void>} listeners
 */
function listen(element, listeners) {
  CALLED.set(element, listeners);
  for (const kind of Object.keys(listeners)) element.addEventListener(kind, (event) => CALLED.get(element)?.[kind](event));
}

/**
 * Let the listeners of an element call what those of another one call.
 * @param {Element} element
 * @param {Element} other
 * @returns {boolean} False if they listen to different kinds of events; nothing is changed then.
 */
export function takeListeners(element, other) {
  const [own, wanted] = [CALLED.get(element) ?? {}, CALLED.get(other) ?? {}];
  if (Object.keys(own).join() !== Object.keys(wanted).join()) return false;
  if (CALLED.has(other)) CALLED.set(element, wanted);
  return true;
}
