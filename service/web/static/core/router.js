// @ts-check
import { BASE } from "./api.js";
import { Store } from "./store.js";

/**
 * What a page gets. All that it starts ends with `life`.
 * @typedef {object} Context
 * @property {string[]} parts The variable parts of the path.
 * @property {Query} query
 * @property {AbortSignal} life
 */

/**
 * Opens a page.
 * @typedef {(context: Context) => { title: string, element: HTMLElement }} Page
 */

/** A page and its module, which is loaded when it is opened. @typedef {{ path: RegExp, load: () => Promise<{ open: Page }> }} Route */

/** The path that is shown, without the base. */
export const place = new Store(location.pathname.slice(BASE.length));

/**
 * The part of the address behind `?`: filters, sorting and whatever else a link must show again.
 * @extends {Store<URLSearchParams>}
 */
export class Query extends Store {
  constructor() {
    super(new URLSearchParams(location.search));
  }

  /** @param {string} name */
  get(name) {
    return this.value.get(name) ?? "";
  }

  /** @param {string} name */
  all(name) {
    return this.value.getAll(name);
  }

  /**
   * Replace parameters; an empty value removes one.
   * @param {Record<string, string | string[]>} changes
   * @param {{ replace?: boolean }} [options] `replace`: without a new step for the browser's button Back.
   */
  write(changes, { replace = false } = {}) {
    const params = new URLSearchParams(this.value);
    for (const [name, value] of Object.entries(changes)) {
      params.delete(name);
      for (const each of [value].flat()) if (each) params.append(name, each);
    }
    const text = params.toString();
    const path = `${location.pathname}${text && `?${text}`}`;
    if (replace) history.replaceState(null, "", path);
    else history.pushState(null, "", path);
    this.set(params);
  }
}

/** Open another page. @param {string} path On this server, without the base. */
export function go(path) {
  history.pushState(null, "", `${BASE}${path}`);
  dispatchEvent(new PopStateEvent("popstate"));
}

/** Shows the page that belongs to the address, and follows links without loading the shell again. */
export class Router {
  /** @type {AbortController | null} */
  #page = null;
  /** @type {Query | null} */
  #query = null;
  #path = "";

  /**
   * @param {Route[]} routes
   * @param {HTMLElement} main Holds the page.
   * @param {{ unknown: Page, failed: Page }} others `unknown` opens if no route matches, `failed` if a page cannot be loaded.
   */
  constructor(routes, main, others) {
    this.#routes = routes;
    this.#main = main;
    this.#others = others;
    addEventListener("popstate", () => this.#follow());
    document.addEventListener("click", (event) => this.#onClick(event));
  }

  #routes;
  #main;
  #others;

  /** Show the page of the present address anew. The page before stays on the screen until then. */
  async open() {
    this.#page?.abort();
    const page = new AbortController();
    this.#page = page;
    this.#path = location.pathname;
    this.#query = new Query();
    place.set(this.#path.slice(BASE.length));
    const { load, parts } = this.#match(place.value);
    const { open } = await load().catch(() => ({ open: this.#others.failed }));
    if (page.signal.aborted) return;
    const { title, element } = open({ parts, query: this.#query, life: page.signal });
    document.title = title;
    this.#main.replaceChildren(element);
    scrollTo(0, 0);
  }

  /** End the page. */
  close() {
    this.#page?.abort();
    this.#page = null;
    this.#main.replaceChildren();
  }

  /** @param {string} path Without the base. */
  #match(path) {
    for (const { path: pattern, load } of this.#routes) {
      const found = pattern.exec(path);
      if (found) return { load, parts: found.slice(1).map((part) => decodeURIComponent(part)) };
    }
    return { load: async () => ({ open: this.#others.unknown }), parts: [] };
  }

  #follow() {
    if (location.pathname === this.#path && this.#query && this.#page) {
      this.#query.set(new URLSearchParams(location.search));
      return;
    }
    this.open();
  }

  /** @param {MouseEvent} event */
  #onClick(event) {
    const link = event.target instanceof Element ? event.target.closest("a") : null;
    if (!link || link.target || link.hasAttribute("download") || link.origin !== location.origin) return;
    if (event.button !== 0 || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
    const isPage = this.#routes.some(({ path }) => path.test(link.pathname.slice(BASE.length)));
    if (!isPage || !link.pathname.startsWith(BASE) || link.hash) return;
    event.preventDefault();
    history.pushState(null, "", link.href);
    this.open();
    this.#main.focus({ preventScroll: true });
  }
}
