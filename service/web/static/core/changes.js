// @ts-check
/** @typedef {import("./types.js").JobSummary} JobSummary */
/** @typedef {import("./types.js").Event} Event */

/** Kinds of events that say something about the data, the weights or the run. */
export const FACTS = ["data_checked", "weights_loaded", "teacher_checked", "scale_chosen", "warned", "mean_evaluated", "ended_early", "diagnosed"];

/**
 * Return the job after the event, by the rules of the server's own progress.
 * @param {JobSummary} job
 * @param {Event} event
 * @returns {JobSummary}
 */
export function changed(job, { kind, data, at }) {
  switch (kind) {
    case "state_changed":
      return { ...job, state: data.to_state, reason: data.message || null, ...moments(job, data.to_state, at) };
    case "progress":
    case "epoch_finished": {
      const { epoch, epochs, step, steps, images_per_s, eta_s, values } = data;
      return withProgress(job, { epoch, epochs, step, steps, images_per_s, eta_s, values });
    }
    case "evaluated":
      return job.progress.stage === "control" ? job : withProgress(job, scores(job, data.scores.ap));
    case "sweep_progressed":
      return withProgress(job, { step: data.done, steps: data.planned, eta_s: data.eta_s, best_ap: data.best });
    case "stage_started":
      return withProgress(job, { stage: data.is_control ? "control" : job.progress.stage });
    case "priority_changed":
      return { ...job, priority: data.to_priority };
    default:
      return job;
  }
}

/** @param {JobSummary} job @param {Partial<import("./types.js").Progress>} changes */
function withProgress(job, changes) {
  return { ...job, progress: { ...job.progress, ...changes } };
}

/** @param {JobSummary} job @param {number | null} ap */
function scores(job, ap) {
  const best = job.progress.best_ap;
  return { ap, best_ap: ap === null ? best : Math.max(ap, best ?? ap) };
}

/** @param {JobSummary} job @param {string} state @param {string} at */
function moments(job, state, at) {
  const isOver = ["succeeded", "failed", "cancelled"].includes(state);
  return { started_at: job.started_at ?? (state === "running" ? at : null), ended_at: isOver ? at : null };
}
