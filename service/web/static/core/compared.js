// @ts-check
import { get } from "./api.js";
import { flattened } from "./fields.js";

/** @typedef {import("./types.js").Job} Job */
/** @typedef {import("./types.js").Series} Series */
/** @typedef {import("./sweep.js").Trial} Trial */
/**
 * A job, or a trial of a sweep, that is compared with others.
 * @typedef {object} Run
 * @property {string} reference Its job's id, or `<id>/trial/<number>`.
 * @property {string} jobId
 * @property {string | null} trial
 * @property {string} name
 * @property {string} kind
 * @property {string} state
 * @property {number | null} best Best AP; of a trial its best first objective.
 * @property {string | null} progress
 * @property {number} seed
 * @property {Map<string, string>} fields Of its spec, by path, as JSON.
 */

const POINTS = 300;
/** Fields in which two runs of the same configuration differ. */
const OF_A_RUN = ["name", "seed", "priority", "project", "base.name"];

/** @param {string} reference */
export function partsOf(reference) {
  const [jobId, , trial = null] = reference.split("/");
  return { jobId, trial };
}

/**
 * @param {string} reference
 * @param {AbortSignal} life
 * @returns {Promise<Run>}
 */
export async function readRun(reference, life) {
  const { jobId, trial } = partsOf(reference);
  const path = `/v1/jobs/${encodeURIComponent(jobId)}`;
  /** @type {Job} */
  const job = await get(path, { life });
  if (trial !== null) return ofTrial(reference, job, await get(`${path}/trials/${encodeURIComponent(trial)}`, { life }));
  const { step, steps, best_ap: best } = job.progress;
  return {
    reference, jobId, trial, name: job.name, kind: job.kind, state: job.state, best, seed: Number(job.spec.seed ?? 0),
    progress: step === null ? null : `step ${step.toLocaleString("en")} of ${(steps ?? 0).toLocaleString("en")}`, fields: flattened(job.spec),
  };
}

/** @param {string} reference @param {Job} job @param {Trial} trial @returns {Run} */
function ofTrial(reference, job, { trial, state, objectives, epoch, epochs, seed, values }) {
  const base = /** @type {Record<string, unknown>} */ (job.spec.base);
  const fields = flattened(base);
  for (const [path, value] of Object.entries(values)) fields.set(path, JSON.stringify(value));
  return {
    reference, jobId: job.job_id, trial: String(trial), name: `${job.name} trial ${trial}`, kind: String(base.kind), state, best: objectives[0], seed,
    progress: `epoch ${epoch} of ${epochs}`, fields,
  };
}

/**
 * Read the curves of a run, thinned.
 * @param {Run} run
 * @param {AbortSignal} life
 * @returns {Promise<Series[]>}
 */
export async function readCurves({ jobId, trial }, life) {
  /** @type {{ items: Series[] }} */
  const { items } = await get(`/v1/jobs/${encodeURIComponent(jobId)}/metrics`, { query: { max_points: POINTS, ...(trial === null ? {} : { trial }) }, life });
  return items.filter((series) => series.trial === (trial ?? ""));
}

/**
 * Put runs on the sides a and b: as the address says, or else runs whose specs differ only by seed together, the first
 * configuration against the second.
 * @param {Run[]} runs
 * @param {Record<"a" | "b", string[]>} wanted References.
 * @returns {Record<"a" | "b", string[]>}
 */
export function sides(runs, wanted) {
  const known = runs.map(({ reference }) => reference);
  if (wanted.a.length + wanted.b.length > 0) {
    return { a: wanted.a.filter((each) => known.includes(each)), b: wanted.b.filter((each) => known.includes(each)) };
  }
  const groups = [...Map.groupBy(runs, configuration).values()].map((group) => group.map(({ reference }) => reference));
  return { a: groups[0] ?? [], b: groups[1] ?? [] };
}

/** @param {Run} run */
function configuration({ fields }) {
  return [...fields].filter(([path]) => !OF_A_RUN.includes(path)).sort(([a], [b]) => (a < b ? -1 : 1)).join("\n");
}
