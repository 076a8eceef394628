// @ts-check
import { indexOf } from "./curves.js";

/** Kinds of events that say when a run was at a step. */
export const TIMED = ["run_started", "resumed", "epoch_finished", "evaluated"];

/**
 * When a run reached its steps: exact where an event says so, and in between as if all steps took equally long. A curve
 * has steps only, so this gives it an axis of time; a pause is a gap in it.
 */
export class StepTimes {
  /** @type {number[]} */
  #steps = [];
  /** Since the first attempt began. @type {number[]} */
  #seconds = [];
  /** In ms; null before the first attempt. @type {number | null} */
  #begin = null;

  /** Take an event into account; events come in order. @param {import("./types.js").Event} event */
  take({ kind, at, data }) {
    const now = Date.parse(at);
    if (kind === "run_started") this.#begin ??= now;
    const step = kind === "run_started" ? (this.#steps.length === 0 ? 0 : null) : data.step;
    if (typeof step !== "number" || this.#begin === null) return;
    // A resumed run repeats steps; at the step where it resumed, both times stay: between them it did not run.
    const kept = indexOf(this.#steps, kind === "resumed" ? step + 1 : step);
    this.#steps.splice(kept, Infinity, step);
    this.#seconds.splice(kept, Infinity, (now - this.#begin) / 1000);
  }

  /** Whether `secondsAt` has something to go by. */
  get isKnown() {
    return this.#steps.length > 1;
  }

  /** The time of the newest event, in seconds. */
  get last() {
    return this.#seconds[this.#seconds.length - 1] ?? 0;
  }

  /** Return the seconds from the first attempt's begin to a step. @param {number} step */
  secondsAt(step) {
    return between(step, this.#steps, this.#seconds);
  }

  /** Return the step at a time. @param {number} seconds */
  stepAt(seconds) {
    return between(seconds, this.#seconds, this.#steps);
  }
}

/**
 * Interpolate; beyond the ends go on as the first or the last two points do.
 * @param {number} x
 * @param {readonly number[]} xs Ascending; at least two.
 * @param {readonly number[]} ys
 */
function between(x, xs, ys) {
  const end = Math.min(Math.max(1, indexOf(xs, x)), xs.length - 1);
  const [x1, x2, y1, y2] = [xs[end - 1], xs[end], ys[end - 1], ys[end]];
  return x1 === x2 ? y2 : y1 + ((x - x1) * (y2 - y1)) / (x2 - x1);
}
