// @ts-check
import { address, get, Problem } from "./api.js";
import { Store } from "./store.js";
import { pause } from "./timing.js";

/** @typedef {import("./types.js").Event} Event */
/** @typedef {"connecting" | "live" | "away"} Connection */

/** State of the page's stream, for the header; null while the page follows nothing. @type {Store<Connection | null>} */
export const connection = new Store(/** @type {Connection | null} */ (null));

const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 10_000;

/**
 * Return the position behind all events so far. A page reads it first, then its data, and then follows from it: so no
 * event is missed in between.
 * Asks again until the server answers.
 * @param {AbortSignal} life
 * @returns {Promise<string>}
 */
export async function position(life) {
  while (!life.aborted) {
    try {
      /** @type {{ next_cursor: string }} */
      const page = await get("/v1/events", { query: { limit: 1 }, life });
      return page.next_cursor;
    } catch {
      connection.set("away");
      await pause(LONGEST_WAIT_MS / 4, life);
    }
  }
  return "";
}

/**
 * Follow events: each one once and in order, across broken connections and restarts of the server.
 *
 * The browser reconnects by itself and sends the id of its last event, from which the server replays. It gives up when
 * it gets an answer that is no stream, for example from a proxy; then this class opens a new stream from the same
 * position. While the tab is hidden it follows nothing, and afterwards it replays what it has missed.
 */
export class Follower {
  /** @type {EventSource | null} */
  #source = null;
  #waits_ms = FIRST_WAIT_MS;
  #isLost = false;

  /**
   * @param {object} options
   * @param {string} options.after A position.
   * @param {string[]} options.kinds Kinds of events.
   * @param {string[]} [options.jobs] Ids; all jobs if left out.
   * @param {(event: Event) => void} options.take Called with each event.
   * @param {() => void} options.reconnected Called when a stream is open again: requests may have failed meanwhile.
   * @param {() => void} options.lost Called when the server no longer knows the position: read everything again.
   * @param {AbortSignal} life
   */
  constructor(options, life) {
    this.#options = options;
    this.#after = options.after;
    this.#life = life;
    connection.set("connecting");
    life.addEventListener("abort", () => { this.#close(); connection.set(null); });
    document.addEventListener("visibilitychange", () => this.#onVisibility(), { signal: life });
    this.#onVisibility();
  }

  #options;
  #after;
  #life;

  #onVisibility() {
    if (document.hidden) this.#close();
    else if (this.#source === null && !this.#isLost) this.#open();
  }

  #close() {
    this.#source?.close();
    this.#source = null;
  }

  #open() {
    const { kinds, jobs } = this.#options;
    const source = new EventSource(address("/v1/events", { kind: kinds, job_id: jobs, after: this.#after }));
    this.#source = source;
    source.onopen = () => this.#onOpen();
    source.onerror = () => this.#onError(source);
    for (const kind of kinds) source.addEventListener(kind, (message) => this.#take(message));
  }

  #onOpen() {
    const wasAway = connection.value === "away";
    this.#waits_ms = FIRST_WAIT_MS;
    connection.set("live");
    if (wasAway) this.#options.reconnected();
  }

  /** @param {MessageEvent<string>} message */
  #take(message) {
    this.#after = message.lastEventId;
    this.#options.take(JSON.parse(message.data));
  }

  /** @param {EventSource} source */
  async #onError(source) {
    connection.set("away");
    if (source.readyState !== EventSource.CLOSED || source !== this.#source) return;
    this.#close();
    await pause(this.#waits_ms, this.#life);
    this.#waits_ms = Math.min(2 * this.#waits_ms, LONGEST_WAIT_MS);
    if (this.#life.aborted || document.hidden || this.#source !== null) return;
    if (await this.#isPositionKnown()) this.#open();
    else {
      this.#isLost = true;
      this.#options.lost();
    }
  }

  async #isPositionKnown() {
    try {
      await get("/v1/events", { query: { limit: 1, after: this.#after }, life: this.#life });
    } catch (problem) {
      // The browser does not say why a stream was refused; the same request for a page does.
      return !(problem instanceof Problem && problem.status === 422);
    }
    return true;
  }
}
