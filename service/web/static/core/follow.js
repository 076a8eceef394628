// @ts-check
import { Problem, SIGNED_OUT } from "./api.js";
import { eventPages } from "./event_pages.js";
import { session } from "./session.js";
import { Store } from "./store.js";
import { pause } from "./timing.js";

/** @typedef {import("./types.js").Event} Event */
/** @typedef {import("./hub.js").Connection} Connection */
/** @typedef {import("./hub.js").Message} Message */
/** @typedef {import("./hub.js").Wish} Wish */
/**
 * What a page follows.
 * @typedef {object} Options
 * @property {string[]} kinds Kinds of events.
 * @property {string[]} [jobs] Ids; all jobs if left out.
 * @property {(event: Event) => void} take Called with each event.
 * @property {() => void} reconnected Called when the stream is open again: requests may have failed meanwhile.
 * @property {() => void} lost Called when the server no longer knows the position: read everything again, and follow again.
 */

/** State of the stream, for the header; null while the page follows nothing. @type {Store<Connection | null>} */
export const connection = new Store(/** @type {Connection | null} */ (null));

const RETRY_MS = 2500;
const WORKER = new URL("./hub_worker.js", import.meta.url).href;
/** The page's content security policy allows this policy for scripts' addresses, and this one knows one address. */
const policy = /** @type {any} */ (globalThis).trustedTypes?.createPolicy("fgd-worker", { createScriptURL: () => WORKER });

/**
 * Follow events: each one once and in order, across broken connections and restarts of the server. A hidden tab follows
 * nothing, and reads what it has missed when it is shown again.
 * @param {Options} options
 * @param {AbortSignal} life
 * @returns {Promise<void>} Resolves when events are followed from now on: what a page reads then lacks none before them.
 */
export function follow(options, life) {
  return new Promise((resolve) => new Follower(options, life, resolve));
}

class Follower {
  /** Behind the events that the page has taken; null before it has joined. @type {string | null} */
  #position = null;
  /** Sequence of the newest event of each job. @type {Map<string, number>} */
  #taken = new Map();
  /** Events that came while older ones are being read; null if none are. @type {{ event: Event, position: string }[] | null} */
  #early = null;
  /** Ends what the tab reads while it is shown. */
  #sight = new AbortController();
  #end = new AbortController();

  /** @param {Options} options @param {AbortSignal} life @param {() => void} joined */
  constructor(options, life, joined) {
    this.#options = options;
    this.#life = AbortSignal.any([life, this.#end.signal]);
    this.#joined = joined;
    this.#filter = { kinds: options.kinds, jobs: options.jobs ?? [] };
    connection.set("connecting");
    document.addEventListener("visibilitychange", () => this.#onVisibility(), { signal: this.#life });
    this.#life.addEventListener("abort", () => { this.#say({ follow: null }); connection.set(null); joined(); });
    this.#start();
  }

  #options;
  #life;
  #joined;
  #filter;
  /** @type {MessagePort | null} */
  #port = null;

  async #start() {
    this.#port = await portOfHub();
    if (this.#life.aborted) return;
    this.#port.onmessage = ({ data }) => this.#onMessage(data);
    this.#say({ follow: this.#filter });
  }

  /** @param {Wish} wish */
  #say(wish) {
    this.#port?.postMessage(wish);
  }

  #onVisibility() {
    // Not before it has joined: only then it has a position from which it can read on.
    if (this.#position === null) return;
    this.#sight.abort();
    this.#sight = new AbortController();
    this.#early = document.hidden ? null : [];
    this.#say({ follow: document.hidden ? null : this.#filter });
  }

  /** @param {Message} message */
  #onMessage(message) {
    if (this.#life.aborted) return;
    switch (message.type) {
      case "connection": return this.#onConnection(message.connection);
      case "signed_out": dispatchEvent(new Event(SIGNED_OUT)); return;
      case "lost": return this.#lose();
      case "joined": return this.#onJoined(message.position);
      case "event":
        if (this.#early) this.#early.push(message);
        else if (!document.hidden) this.#take(message.event, message.position);
    }
  }

  /** @param {Connection} now */
  #onConnection(now) {
    const wasAway = connection.value === "away";
    connection.set(now);
    if (wasAway && now === "live") this.#options.reconnected();
  }

  /** @param {string} position */
  #onJoined(position) {
    if (this.#position !== null) { this.#catchUp(AbortSignal.any([this.#life, this.#sight.signal])); return; }
    this.#position = position;
    this.#joined();
    if (document.hidden) this.#onVisibility();
  }

  /** Read what was missed while the tab was hidden; it begins after the tab has joined, so nothing is left out. @param {AbortSignal} sight */
  async #catchUp(sight) {
    try {
      for await (const { items, next_cursor } of eventPages(this.#filter, this.#position ?? "", sight)) {
        for (const event of items) this.#take(event, next_cursor);
      }
    } catch (problem) {
      if (sight.aborted) return;
      if (problem instanceof Problem && problem.status === 422) { this.#lose(); return; }
      await pause(RETRY_MS, sight);
      if (!sight.aborted) await this.#catchUp(sight);
      return;
    }
    for (const { event, position } of this.#early ?? []) this.#take(event, position);
    this.#early = null;
  }

  /** @param {Event} event @param {string} position */
  #take(event, position) {
    this.#position = position;
    // The stream may be ahead of what a tab has read, or the other way round.
    if (event.sequence <= (this.#taken.get(event.job_id) ?? 0)) return;
    this.#taken.set(event.job_id, event.sequence);
    this.#options.take(event);
  }

  #lose() {
    this.#end.abort();
    this.#options.lost();
  }
}

/** @returns {Promise<MessagePort>} Of the hub for all windows; a browser without shared workers has one in each window. */
async function portOfHub() {
  // Its name keeps sessions apart: after another sign-in, nothing of the session before is shown.
  if (globalThis.SharedWorker) return new SharedWorker(policy?.createScriptURL("") ?? WORKER, { type: "module", name: session.value?.token_id ?? "" }).port;
  const { Hub } = await import("./hub.js");
  const { port1, port2 } = new MessageChannel();
  new Hub().serve(port1);
  return port2;
}
