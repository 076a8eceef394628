// @ts-check
import { get } from "./api.js";

/** @typedef {import("./types.js").Series} Series */
/** A curve: its points by increasing step. @typedef {{ name: string, steps: number[], values: number[] }} Curve */

/** As many as a chart of this width can show; a zoom reads its range with as many again. */
const POINTS = 300;
/** Evaluations and steps are reported by different events; points so close before the newest one may come late. */
const OVERLAP_STEPS = 20;
/** Beyond this many points, a curve is read again in thinned form. */
const MAX_POINTS = 12 * POINTS;
const END = 2 ** 53;

/**
 * The curves of a job. The server has the points; each request replaces a range of steps by what it answers. So no
 * point is missing or there twice, whatever was replayed, and a run that resumes at an earlier step replaces its later
 * points.
 */
export class Curves {
  /** @type {Map<string, Curve>} */
  #curves = new Map();
  /** All points up to here have been read. */
  #readUpTo = 0;

  /** @param {string} jobId @param {AbortSignal} life */
  constructor(jobId, life) {
    this.#path = `/v1/jobs/${encodeURIComponent(jobId)}/metrics`;
    this.#life = life;
  }

  #path;
  #life;

  /** @returns {Curve[]} By name. */
  get all() {
    return [...this.#curves.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  /** Step of the newest point of all curves; 0 without any. */
  get lastStep() {
    return Math.max(0, ...this.all.map(({ steps }) => steps[steps.length - 1] ?? 0));
  }

  /** Read everything, thinned. */
  async load() {
    await this.#read(0, END);
    this.#readUpTo = this.lastStep;
  }

  /**
   * Read what is new.
   * @param {number} step The run has reported all points up to this step.
   */
  async extend(step) {
    if (this.all.some((curve) => curve.steps.length > MAX_POINTS)) return this.load();
    await this.#read(Math.max(0, Math.min(step, this.#readUpTo) - OVERLAP_STEPS), END);
    this.#readUpTo = step;
  }

  /** Read a range of steps with as many points as a whole curve has. @param {number} from @param {number} to */
  async detail(from, to) {
    await this.#read(Math.max(0, Math.floor(from)), Math.ceil(to));
  }

  /** @param {number} from @param {number} to Inclusive. */
  async #read(from, to) {
    const range = to === END ? { from_step: from } : { from_step: from, to_step: to };
    /** @type {{ items: Series[] }} */
    const { items } = await get(this.#path, { query: { trial: "", max_points: POINTS, ...range }, life: this.#life });
    for (const series of items) if (series.trial === "") this.#replace(series, from, to);
  }

  /** @param {Series} series @param {number} from @param {number} to */
  #replace({ name, points }, from, to) {
    const old = this.#curves.get(name) ?? { name, steps: [], values: [] };
    const [first, end] = [indexOf(old.steps, from), indexOf(old.steps, to + 1)];
    this.#curves.set(name, {
      name,
      steps: [...old.steps.slice(0, first), ...points.map(({ step }) => step), ...old.steps.slice(end)],
      values: [...old.values.slice(0, first), ...points.map(({ value }) => value), ...old.values.slice(end)],
    });
  }
}

/**
 * Return the index of the first element that is not below `wanted`.
 * @param {readonly number[]} sorted
 * @param {number} wanted
 */
export function indexOf(sorted, wanted) {
  let [low, high] = [0, sorted.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sorted[middle] < wanted) low = middle + 1;
    else high = middle;
  }
  return low;
}
