// @ts-check
import { eventsOf } from "../core/event_pages.js";
import { Store } from "../core/store.js";
import { duration, number, score, secondsBetween, time } from "../ui/format.js";
import { fill, h } from "../ui/html.js";
import { stateBadge, tried } from "../ui/parts.js";

/** @typedef {import("../core/types.js").Job} Job */
/** @typedef {import("../core/types.js").Attempt} Attempt */
/** @typedef {import("../core/types.js").Event} Event */

const KINDS = [
  "submitted", "state_changed", "attempt_started", "run_started", "workers_started", "device_ready", "resumed", "epoch_finished", "evaluated", "checkpoint_saved",
  "pause_requested", "resume_requested", "cancel_requested", "retry_requested", "priority_changed", "stage_started", "ended_early", "warned", "run_finished",
];

/** A long run has thousands of events; the log has them all. */
const MOST_SHOWN = 500;

/** What happened to a job and when: its states and attempts on a time line, and its events in words. */
export class HistoryTab {
  /** By sequence. @type {Store<Map<number, Event>>} */
  #events = new Store(new Map());
  /** @type {Store<Job | null>} */
  #job = new Store(/** @type {Job | null} */ (null));
  #line = h("div");
  #attempts = h("div");
  #list = h("ol", { className: "events" });

  /** @param {string} jobId @param {import("../core/router.js").Query} _query @param {AbortSignal} life */
  constructor(jobId, _query, life) {
    const trouble = h("div");
    this.element = h("div", {}, trouble, this.#line, this.#attempts, h("h2", {}, "Events, newest first"), this.#list);
    this.#job.watch((job) => { if (job) this.#show(job); }, life);
    this.#events.watch((events) => {
      const newest = [...events.values()].sort((a, b) => b.sequence - a.sequence).slice(0, MOST_SHOWN);
      fill(this.#list, newest.map(eventLine), events.size > MOST_SHOWN && h("li", { className: "faint" }, `${number(events.size - MOST_SHOWN)} older events are not shown.`));
      if (this.#job.value) this.#show(this.#job.value);
    }, life);
    tried(trouble, life, async () => { for (const event of await eventsOf(jobId, KINDS, life)) this.take(event); });
  }

  /** @param {Job} job */
  setJob(job) {
    this.#job.set(job);
  }

  /** @param {Event} event */
  take(event) {
    if (KINDS.includes(event.kind)) this.#events.set(this.#events.value.set(event.sequence, event));
  }

  /** @param {Job} job */
  #show(job) {
    const changes = [...this.#events.value.values()].filter(({ kind }) => kind === "state_changed").sort((a, b) => a.sequence - b.sequence);
    fill(this.#line, statesOf(job, changes));
    fill(this.#attempts, attemptsOf(job));
  }
}

/** @param {Job} job @param {Event[]} changes */
function statesOf(job, changes) {
  if (changes.length === 0) return [];
  const moments = [{ state: changes[0].data.from_state, at: job.created_at }, ...changes.map(({ at, data }) => ({ state: data.to_state, at }))];
  const ends = [...moments.slice(1).map(({ at }) => at), job.ended_at ?? new Date().toISOString()];
  const spans = moments.map(({ state, at }, index) => ({ state, at, seconds: secondsBetween(at, ends[index]) ?? 0 })).filter(({ seconds }) => seconds > 0);
  const whole = spans.reduce((sum, { seconds }) => sum + seconds, 0) || 1;
  /** @type {Map<string, number>} */
  const sums = new Map();
  for (const { state, seconds } of spans) sums.set(state, (sums.get(state) ?? 0) + seconds);
  const inWords = [...sums].map(([state, seconds]) => `${state} ${duration(seconds)}`).join(", ");
  return [
    h("h2", {}, "States"),
    h("div", { className: "spans", role: "img", "aria-label": `Time in each state: ${inWords}` }, spans.map(({ state, at, seconds }) => {
      const span = h("i", { className: `span ${stateBadge(state).className}`, title: `${state} from ${time(at)}, ${duration(seconds)}` });
      span.style.inlineSize = `${(100 * seconds) / whole}%`;
      return span;
    })),
    h("p", { className: "faint" }, [...sums].flatMap(([state, seconds]) => [stateBadge(state), ` ${duration(seconds)} `])),
  ];
}

/** @param {Job} job */
function attemptsOf(job) {
  if (job.attempts.length === 0) return [h("h2", {}, "Attempts"), h("p", { className: "faint" }, "The job has not started yet.")];
  const head = ["Attempt", "Started", "Took", "Ended", "Error", "Ray"].map((name) => h("th", { scope: "col" }, name));
  return [h("h2", {}, "Attempts"), h("div", { className: "sideways" }, h("table", {}, h("thead", {}, h("tr", {}, head)), h("tbody", {}, job.attempts.map(rowOf))))];
}

/** @param {Attempt} attempt */
function rowOf({ number: place, started_at, created_at, ended_at, cause, error, dashboard_url, spec_changes }) {
  const changes = Object.entries(spec_changes ?? {}).map(([path, value]) => `${path} = ${value}`).join(", ");
  return h(
    "tr", {}, h("th", { scope: "row" }, number(place), changes && h("small", {}, ` with ${changes}`)), h("td", {}, time(started_at ?? created_at)),
    h("td", {}, duration(secondsBetween(started_at, ended_at))), h("td", {}, stateBadge(cause ?? (started_at === null ? "starting" : "running"))),
    h("td", {}, error && [h("span", {}, error.message)].flat()), h("td", {}, dashboard_url ? h("a", { href: dashboard_url, target: "_blank" }, "Run on Ray’s page") : "no longer there"),
  );
}

/** @param {Event} event */
function eventLine({ at, kind, data, attempt }) {
  const text = TEXTS[kind]?.(data) ?? kind.replaceAll("_", " ");
  return h("li", { className: kind === "warned" ? "warning" : "" }, h("time", { dateTime: at }, time(at, true)), h("span", {}, text), attempt !== null && h("small", {}, `attempt ${attempt}`));
}

/** @param {{ by?: string }} data */
const by = (data) => (data.by ? ` by ${data.by}` : "");

/** What a kind says. @type {Record<string, (data: Record<string, any>) => string>} */
const TEXTS = {
  state_changed: ({ to_state, message, error }) => [to_state, message, error && !String(message).includes(error.message) ? error.message : ""].filter(Boolean).join(": "),
  attempt_started: (data) => `attempt ${data.number} starts`,
  run_started: ({ host, pid }) => `the process runs on ${host} (process ${pid})`,
  workers_started: ({ workers }) => `${workers.length} workers run`,
  device_ready: ({ device, precision }) => `ready on ${device}, ${precision}`,
  resumed: ({ checkpoint, epoch, step }) => `continues from ${checkpoint}: epoch ${epoch}, step ${number(step)}`,
  epoch_finished: ({ epoch, epochs, values }) => `epoch ${epoch} of ${epochs} is trained${values?.loss === undefined ? "" : `, loss ${number(values.loss)}`}`,
  evaluated: ({ epoch, scores }) => `${epoch === null ? "" : `epoch ${epoch}: `}AP ${score(scores.ap)}, AP50 ${score(scores.ap50)}`,
  checkpoint_saved: ({ name, epoch }) => `checkpoint ${name} of epoch ${epoch} saved`,
  pause_requested: (data) => `pause asked${data.for_job ? ` for job ${data.for_job}` : by(data)}`,
  resume_requested: (data) => `resume asked${by(data)}`,
  cancel_requested: (data) => `cancel asked${by(data)}`,
  retry_requested: (data) => `retry asked${by(data)}`,
  priority_changed: (data) => `priority ${data.from_priority} to ${data.to_priority}${by(data)}`,
  stage_started: ({ stage, is_control }) => (is_control ? "the control starts" : `stage ${stage} starts`),
  ended_early: ({ epoch, reason }) => `ends after epoch ${epoch}: ${String(reason).replaceAll("_", " ")}`,
  warned: ({ message }) => message,
  run_finished: ({ outcome, error }) => `the run ${outcome}${error ? `: ${error.message}` : ""}`,
};
