// @ts-check

/** @typedef {import("../core/curves.js").Curve} Curve */
/** A curve with the name that its chart shows. @typedef {Curve & { group: string }} NamedCurve */

/** The charts, in this order; curves of other names come last. @type {Record<string, { title: string, help: string }>} */
export const GROUPS = {
  val: { title: "Validation", help: "average precision (AP) on the validation images; higher is better" },
  loss: { title: "Loss", help: "what the training minimises: task and distillation together" },
  task: { title: "Task losses", help: "the detector’s own losses" },
  distill: { title: "Distillation by term", help: "before the weights of the method" },
  place: { title: "Distillation by place", help: "weighted; P3 sees small objects, P7 large ones" },
  ratio: { title: "Distillation relative to the task", help: "0.1 to 2 is usual; below it has little effect, above it drowns the task" },
  learning_rate: { title: "Learning rate", help: "" },
  images_per_s: { title: "Images per second", help: "" },
  data_wait: { title: "Waiting for images", help: "fraction of the time; near 0 is good" },
  gpu_memory: { title: "GPU memory", help: "in GB, of the first worker" },
  epoch: { title: "Means of each epoch", help: "" },
  control: { title: "Control", help: "the same student without the chain’s stages" },
};
const ORDER = Object.keys(GROUPS);
const PLACE = /^distill\/(.*\/)?([PC]\d+|head|regions|total|teacher_\d+)$/;

/**
 * Distribute curves over charts.
 * @param {Curve[]} curves By name.
 * @returns {{ name: string, lines: NamedCurve[] }[]}
 */
export function grouped(curves) {
  /** @type {Map<string, NamedCurve[]>} */
  const groups = new Map();
  for (const curve of [...curves.map(named), ...ratio(curves)]) groups.set(curve.group, [...(groups.get(curve.group) ?? []), curve]);
  return [...groups].map(([name, lines]) => ({ name, lines })).sort((a, b) => rank(a.name) - rank(b.name));
}

/** @param {Curve} curve @returns {NamedCurve} */
function named(curve) {
  const [group, ...rest] = curve.name.split("/");
  if (group === "gpu_memory_bytes") return { ...curve, group: "gpu_memory", name: "GPU memory", values: curve.values.map((bytes) => bytes / 1e9) };
  const isPlace = PLACE.test(curve.name);
  return { ...curve, group: isPlace ? "place" : group, name: (rest.join("/") || group).replaceAll("_", " ") };
}

/**
 * Divide the distillation by the task loss, epoch by epoch: the curves of single steps are thinned at different steps.
 * @param {Curve[]} curves
 * @returns {NamedCurve[]}
 */
function ratio(curves) {
  const whole = curves.find(({ name }) => name === "epoch/distill/total");
  if (!whole) return [];
  /** @type {Map<number, number>} */
  const task = new Map();
  for (const { name, steps, values } of curves) {
    if (name.startsWith("epoch/task/")) steps.forEach((step, index) => task.set(step, (task.get(step) ?? 0) + values[index]));
  }
  const steps = whole.steps.filter((step) => task.get(step));
  const values = steps.map((step) => whole.values[whole.steps.indexOf(step)] / /** @type {number} */ (task.get(step)));
  return [{ group: "ratio", name: "distillation / task", steps, values }];
}

/** @param {string} group */
function rank(group) {
  const index = ORDER.indexOf(group);
  return index < 0 ? ORDER.length : index;
}
