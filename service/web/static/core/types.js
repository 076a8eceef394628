// @ts-check
// The parts of the API's answers that the page reads; `/docs` describes them in full.

/**
 * @typedef {object} Progress
 * @property {number | null} epoch
 * @property {number | null} epochs
 * @property {number | null} step For a sweep: number of trials that have ended.
 * @property {number | null} steps
 * @property {number | null} images_per_s
 * @property {number | null} eta_s
 * @property {Record<string, number>} values
 * @property {number | null} ap
 * @property {number | null} best_ap
 * @property {string | null} stage
 * @property {{ allocated_bytes: number, peak_bytes: number }[]} gpu_memory_of_workers
 */

/**
 * @typedef {object} JobSummary
 * @property {string} job_id
 * @property {string} name
 * @property {string} kind
 * @property {string} project
 * @property {number} priority
 * @property {boolean} preemptible
 * @property {string} submitted_by
 * @property {string} state
 * @property {string | null} reason
 * @property {Progress} progress
 * @property {string} created_at
 * @property {string | null} started_at
 * @property {string | null} ended_at
 * @property {number | null} seed
 * @property {string | null} seed_group Null if an older server stored the job.
 * @property {number | null} ran_s Without the running attempt.
 * @property {string | null} running_since
 */

/**
 * @typedef {object} Attempt
 * @property {number} number
 * @property {string | null} dashboard_url
 * @property {string} created_at
 * @property {string | null} started_at
 * @property {string | null} ended_at
 * @property {string | null} cause
 * @property {{ code: string, message: string } | null} error
 * @property {Record<string, unknown>} spec_changes
 */

/**
 * @typedef {object} Artifact
 * @property {string} name
 * @property {string} media_type
 * @property {number} size_bytes
 * @property {string} sha256
 * @property {string} url
 */

/** @typedef {{ job_id: string, arm: string, seed: number, state: string }} StudyRun */

/**
 * @typedef {object} JobDetails
 * @property {Record<string, unknown>} spec
 * @property {string | null} parent_id The job that the spec was made from.
 * @property {string[]} waits_for
 * @property {StudyRun[]} study_runs The runs of a study; empty for other kinds.
 * @property {{ job_id: string, name: string, arm: string } | null} part_of The study that the job is a run of.
 * @property {Attempt[]} attempts
 * @property {Artifact[]} artifacts
 * @property {{ code: string, message: string } | null} error
 * @property {string | null} dashboard_url
 * @property {number} last_sequence
 * @typedef {JobSummary & JobDetails} Job
 */

/**
 * @typedef {object} QueuedJob
 * @property {string} job_id
 * @property {number} position
 * @property {string} message Why the job waits.
 * @property {string | null} not_before
 */

/**
 * @typedef {object} Event
 * @property {string} job_id
 * @property {number} sequence
 * @property {string} at
 * @property {number | null} attempt
 * @property {string} kind
 * @property {Record<string, any>} data
 */

/**
 * @typedef {object} Series
 * @property {string} name
 * @property {string} trial
 * @property {{ step: number, value: number }[]} points
 */

/**
 * @typedef {object} WhoAmI
 * @property {string} name
 * @property {"read" | "submit" | "admin"} role
 * @property {string | null} project
 * @property {string | null} token_id Null if the server needs no tokens.
 */

export {};
