// @ts-check

/** How steps become positions on the axis of the charts, and back. @typedef {{ label: string, toX: (step: number) => number, toStep: (x: number) => number }} Axis */

/** @type {[string, number][]} */
const UNITS = [["days", 86_400], ["hours", 3_600], ["minutes", 60], ["seconds", 1]];
/** From so many units on, the larger unit reads better. */
const FEWEST = 2;

/**
 * @param {string} wanted `epoch`, `time`, or anything else for steps.
 * @param {number} stepsPerEpoch 0 if unknown.
 * @param {import("../core/step_times.js").StepTimes} times
 * @returns {Axis}
 */
export function axisOf(wanted, stepsPerEpoch, times) {
  if (wanted === "epoch" && stepsPerEpoch > 0) return { label: "epoch", toX: (step) => step / stepsPerEpoch, toStep: (x) => x * stepsPerEpoch };
  if (wanted === "time" && times.isKnown) {
    const [unit, size] = UNITS.find(([, seconds]) => times.last >= FEWEST * seconds) ?? UNITS[UNITS.length - 1];
    return { label: `${unit} since the start`, toX: (step) => times.secondsAt(step) / size, toStep: (x) => times.stepAt(x * size) };
  }
  return { label: "step", toX: (step) => step, toStep: (x) => x };
}
