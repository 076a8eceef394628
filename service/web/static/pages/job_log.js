// @ts-check
import { address } from "../core/api.js";
import { takeTurns } from "../core/turns.js";
import { fill, h } from "../ui/html.js";
import { OVER } from "../ui/parts.js";

const MAX_CHARACTERS = 200_000;

/**
 * The log of a job. Its stream is open only while the log is on the screen and its tab is visible, and windows take turns
 * if there are many. It resumes behind the last byte.
 */
export class LogPart {
  /** @type {AbortController | null} */
  #following = null;
  #isOnScreen = false;
  #isAtEnd = false;
  #hasAttempt = false;
  #isOver = false;
  /** Where the next stream begins; 0 attempts: at the start. */
  #next = { attempt: 0, offset: 0 };
  #text = document.createTextNode("");
  #pre = h("pre", { tabIndex: 0, role: "region", "aria-label": "Log" });
  /** Of the attempt to show; 0: the newest, and then later ones. */
  #chosen = 0;
  #attempts = h("select", { "aria-label": "Attempt", hidden: true, on: { change: () => this.#choose(Number(this.#attempts.value)) } });
  #follows = h("input", { type: "checkbox", checked: true });

  /** @param {string} jobId @param {AbortSignal} life */
  constructor(jobId, life) {
    this.#path = `/v1/jobs/${encodeURIComponent(jobId)}/logs`;
    this.#pre.append(this.#text);
    this.element = h("section", { className: "log" }, h("div", { className: "bar" }, h("h2", {}, "Log"), h("a", { href: address(this.#path), download: `${jobId}.log` }, "Download"), this.#attempts, h("label", {}, this.#follows, " follow")), this.#pre);
    const watcher = new IntersectionObserver(([entry]) => { this.#isOnScreen = entry.isIntersecting; this.#update(); });
    watcher.observe(this.element);
    document.addEventListener("visibilitychange", () => this.#update(), { signal: life });
    life.addEventListener("abort", () => { watcher.disconnect(); this.#close(); });
  }

  #path;

  /** @param {import("../core/types.js").Job} job */
  setJob(job) {
    const isOver = OVER.includes(job.state);
    // A retried job writes on.
    if (this.#isOver && !isOver) this.#isAtEnd = false;
    this.#isOver = isOver;
    this.#hasAttempt = job.attempts.length > 0;
    this.#showAttempts(job.attempts.length);
    if (!this.#hasAttempt) this.#text.data = "The job has not started yet.";
    this.#update();
  }

  /** @param {number} count */
  #showAttempts(count) {
    if (count < 2 || this.#attempts.options.length === count) return;
    const earlier = Array.from({ length: count - 1 }, (_, index) => h("option", { value: index + 1 }, `attempt ${index + 1}`));
    fill(this.#attempts, h("option", { value: 0 }, "newest attempt"), earlier.reverse());
    this.#attempts.value = String(this.#chosen);
    this.#attempts.hidden = false;
  }

  /** @param {number} attempt */
  #choose(attempt) {
    this.#close();
    this.#chosen = attempt;
    this.#next = { attempt: 0, offset: 0 };
    this.#isAtEnd = false;
    this.#update();
  }

  #update() {
    const isWanted = this.#isOnScreen && !document.hidden && this.#hasAttempt && !this.#isAtEnd;
    if (!isWanted) this.#close();
    else if (this.#following === null) {
      this.#following = new AbortController();
      takeTurns("fgd-log", (turn) => this.#open(turn), this.#following.signal);
    }
  }

  #close() {
    this.#following?.abort();
    this.#following = null;
  }

  /** @param {AbortSignal} turn */
  #open(turn) {
    const { attempt, offset } = this.#next;
    if (attempt === 0) this.#text.data = "";
    // Without `attempt` the stream goes on with later attempts, but begins with the newest one.
    const source = new EventSource(address(this.#path, { follow: true, offset, attempt: attempt || this.#chosen || null }));
    turn.addEventListener("abort", () => source.close());
    source.addEventListener("log", ({ data, lastEventId }) => this.#take(JSON.parse(data), lastEventId));
    source.addEventListener("note", ({ data }) => this.#append(`\n── ${JSON.parse(data).text} ──\n`));
    source.addEventListener("end", () => { this.#isAtEnd = this.#isOver || this.#chosen !== 0; this.#next.attempt = 0; this.#next.offset = 0; this.#close(); });
  }

  /** @param {{ attempt: number, text: string }} piece @param {string} id `attempt-offset` of the next byte. */
  #take({ text }, id) {
    const [attempt, offset] = id.split("-").map(Number);
    this.#next = { attempt, offset };
    this.#append(text);
  }

  /** @param {string} text */
  #append(text) {
    this.#text.data = (this.#text.data + text).slice(-MAX_CHARACTERS);
    if (this.#follows.checked) this.#pre.scrollTop = this.#pre.scrollHeight;
  }
}
