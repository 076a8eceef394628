// @ts-check
import { get } from "../core/api.js";
import { coalesced } from "../core/timing.js";
import { fill, h } from "../ui/html.js";
import { tried } from "../ui/parts.js";
import { matching } from "./sweep_filter.js";

/** @typedef {import("../ui/figure.js").FigureElement} FigureElement */
/** @typedef {import("../core/sweep.js").Sweep} Sweep */
/** @typedef {{ name: string, title: string, caption: string, alt: string, is_wide: boolean, figure: import("../ui/figure_axes.js").Figure }} ChartView */

const READ_MS = 3000;
const LARGEST_SHARE = 0.2;
/** Drawn by the page itself, with limits. */
const OWN = "parallel";
const NEAR_PX = 600;
/** About the sweep as a whole: limits leave nothing out. */
const WHOLE = ["cost"];

/** The charts of the sweep's report, read when they come near the screen and after each change there. */
export class ChartsPart {
  /** @type {Map<string, FigureElement>} */
  #figures = new Map();
  /** @type {(new () => FigureElement) | null} */
  #element = null;
  #isNear = false;
  #isOld = false;
  #trouble = h("div");
  #grid = h("div", { className: "charts" });
  element = h("section", { className: "sweep-charts" }, h("h2", {}, "Charts"), this.#trouble, this.#grid);

  /** @param {string} jobId @param {Sweep} sweep @param {import("../core/router.js").Query} query @param {AbortSignal} life */
  constructor(jobId, sweep, query, life) {
    this.#path = `/v1/jobs/${encodeURIComponent(jobId)}/report`;
    this.#sweep = sweep;
    this.#query = query;
    this.#life = life;
    this.#read = coalesced(() => tried(this.#trouble, life, () => this.#update()), READ_MS, life, LARGEST_SHARE);
    const nearness = new IntersectionObserver(([entry]) => { this.#isNear = entry.isIntersecting; this.#readIfOld(); }, { rootMargin: `${NEAR_PX}px` });
    nearness.observe(this.element);
    life.addEventListener("abort", () => nearness.disconnect());
    this.element.addEventListener("pick", (event) => query.write({ trial: String(/** @type {CustomEvent} */ (event).detail) }));
    // In the next frame the new verdict has its place, and has moved this part; the observer may tell so later.
    const afterVerdict = () => requestAnimationFrame(() => {
      this.#isNear &&= this.element.getBoundingClientRect().top < innerHeight + NEAR_PX;
      this.#readIfOld();
    });
    sweep.conclusions.watch(() => { this.#isOld = sweep.findings !== null; afterVerdict(); }, life);
    sweep.changes.watch(() => this.#select(), life);
    query.watch(() => this.#select(), life);
  }

  #path;
  #sweep;
  #query;
  #life;
  #read;

  #readIfOld() {
    if (!this.#isNear || !this.#isOld) return;
    this.#isOld = false;
    this.#read();
  }

  async #update() {
    // The figures are a fifth of the page's code, and below the first screen.
    this.#element ??= (await import("../ui/figure.js")).FigureElement;
    /** @type {{ charts: ChartView[], labels: Record<string, string> }} */
    const { charts, labels } = await get(this.#path, { query: { format: "charts" }, life: this.#life });
    const frames = charts.filter(({ name }) => name !== OWN).map((chart) => this.#frame(chart, labels));
    if (frames.length === 0) fill(this.#grid, h("p", { className: "faint" }, "The charts come with the first results."));
    else if (frames.some((frame, index) => this.#grid.children[index] !== frame)) fill(this.#grid, frames);
    this.#select();
  }

  /** @param {ChartView} chart @param {Record<string, string>} labels */
  #frame({ name, title, caption, alt, is_wide, figure }, labels) {
    const known = this.#figures.get(name);
    const element = known ?? new /** @type {new () => FigureElement} */ (this.#element)();
    this.#figures.set(name, element);
    element.setAttribute("alt", alt);
    const frame = known ? /** @type {HTMLElement} */ (known.parentElement) : h("figure", { className: is_wide ? "wide" : "" }, h("h3", {}, title), element, h("figcaption", {}));
    fill(/** @type {Element} */ (frame.lastElementChild), caption);
    element.show(figure, labels);
    return frame;
  }

  /** Fade the trials that the filter leaves out. */
  #select() {
    if (this.#figures.size === 0) return;
    const { trials, isAll } = matching(this.#sweep, this.#query);
    const chosen = isAll ? null : new Set(trials.map(({ trial }) => trial));
    for (const [name, figure] of this.#figures) if (!WHOLE.includes(name)) figure.select(chosen);
  }
}
