// @ts-check
import { address, Problem } from "./api.js";
import { eventPages, newestPosition } from "./event_pages.js";

/** @typedef {import("./types.js").Event} Event */
/** @typedef {import("./event_pages.js").Filter} Filter */
/** @typedef {"connecting" | "live" | "away"} Connection */
/** From a window: what it follows from now on, or null for nothing. @typedef {{ follow: Filter | null }} Wish */
/**
 * To a window. `joined`: it gets each event after `position` that its filter selects, once and in order. `lost`: the
 * server no longer knows the position, and the window follows nothing now.
 * @typedef {{ type: "joined", position: string } | { type: "event", event: Event, position: string } | { type: "connection", connection: Connection } | { type: "signed_out" | "lost" }} Message
 */
/** A window. @typedef {{ filter: Filter, hasJoined: boolean }} Member */

const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 10_000;

/**
 * Follows events for all windows of a browser through one stream: a browser opens six connections to a server, and a
 * stream keeps one of them.
 *
 * The stream selects what any window wants. When that changes, the hub reads what the stream has not sent yet and opens
 * a stream behind it. So no window misses an event, and windows that are there already notice nothing.
 */
export class Hub {
  /** @type {Map<MessagePort, Member>} */
  #members = new Map();
  /** @type {EventSource | null} */
  #source = null;
  /** Of the newest stream. @type {Filter | null} */
  #filter = null;
  /** All events of the filter up to here have been sent to the windows. */
  #position = "";
  /** @type {Connection} */
  #connection = "connecting";
  #waits_ms = FIRST_WAIT_MS;
  #isSettling = false;

  /** Serve a window. @param {MessagePort} port */
  serve(port) {
    port.addEventListener("message", (/** @type {MessageEvent<Wish>} */ { data }) => this.#set(port, data.follow));
    // A window that crashed says nothing; not every browser reports it.
    port.addEventListener("close", () => this.#set(port, null));
    port.start();
  }

  /** @param {MessagePort} port @param {Filter | null} filter */
  #set(port, filter) {
    if (filter === null) this.#members.delete(port);
    else {
      this.#members.set(port, { filter, hasJoined: false });
      send(port, { type: "connection", connection: this.#connection });
    }
    this.#settle();
  }

  /** Make the stream select what the windows want now. One run at a time: it goes on until nothing has changed. */
  async #settle() {
    if (this.#isSettling) return;
    this.#isSettling = true;
    while (this.#isStale()) await this.#reopen();
    this.#isSettling = false;
    if (this.#members.size === 0) this.#filter = null;
    for (const [port, member] of this.#members) {
      if (!member.hasJoined) send(port, { type: "joined", position: this.#position });
      member.hasJoined = true;
    }
  }

  #isStale() {
    const isOpen = this.#source !== null;
    return isOpen !== this.#members.size > 0 || (isOpen && !isSame(this.#filter, this.#wanted()));
  }

  async #reopen() {
    this.#source?.close();
    this.#source = null;
    if (this.#members.size === 0) {
      this.#connection = "connecting";
      return;
    }
    try {
      if (this.#filter === null) this.#position = await newestPosition();
      else await this.#readOn(this.#filter);
      if (this.#members.size > 0) this.#open(this.#wanted());
    } catch (problem) {
      await this.#onProblem(problem);
    }
  }

  /** Send what the stream before would have sent next. @param {Filter} filter */
  async #readOn(filter) {
    for await (const { items, next_cursor } of eventPages(filter, this.#position)) {
      for (const event of items) this.#deliver(event);
      this.#position = next_cursor;
    }
  }

  /** @param {Filter} filter */
  #open(filter) {
    this.#filter = filter;
    const source = new EventSource(address("/v1/events", { kind: filter.kinds, job_id: filter.jobs, after: this.#position }));
    this.#source = source;
    source.onopen = () => { this.#waits_ms = FIRST_WAIT_MS; this.#setConnection("live"); };
    source.onerror = () => this.#onError(source);
    for (const kind of filter.kinds) {
      source.addEventListener(kind, ({ data, lastEventId }) => {
        this.#position = lastEventId;
        this.#deliver(JSON.parse(data));
      });
    }
  }

  /** @param {Event} event */
  #deliver(event) {
    for (const [port, { filter, hasJoined }] of this.#members) {
      if (hasJoined && selects(filter, event)) send(port, { type: "event", event, position: this.#position });
    }
  }

  /** The browser reconnects by itself, unless the answer was no stream, for example from a proxy. @param {EventSource} source */
  async #onError(source) {
    this.#setConnection("away");
    if (source.readyState !== EventSource.CLOSED || source !== this.#source) return;
    await this.#wait();
    if (source !== this.#source) return;
    this.#source = null;
    this.#settle();
  }

  /** @param {unknown} problem Why events could not be read. */
  async #onProblem(problem) {
    this.#setConnection("away");
    const status = problem instanceof Problem ? problem.status : 0;
    if (status === 422) {
      this.#tell({ type: "lost" });
      this.#members.clear();
      return;
    }
    if (status === 401) this.#tell({ type: "signed_out" });
    await this.#wait();
  }

  #wait() {
    const wait_ms = this.#waits_ms;
    this.#waits_ms = Math.min(2 * wait_ms, LONGEST_WAIT_MS);
    return new Promise((resolve) => { setTimeout(resolve, wait_ms); });
  }

  /** @param {Connection} connection */
  #setConnection(connection) {
    if (connection === this.#connection) return;
    this.#connection = connection;
    this.#tell({ type: "connection", connection });
  }

  /** @param {Message} message */
  #tell(message) {
    for (const port of this.#members.keys()) send(port, message);
  }

  /** What any window wants. @returns {Filter} */
  #wanted() {
    const filters = [...this.#members.values()].map(({ filter }) => filter);
    const jobs = filters.some((each) => each.jobs.length === 0) ? [] : filters.flatMap((each) => each.jobs);
    return { kinds: sorted(filters.flatMap(({ kinds }) => kinds)), jobs: sorted(jobs) };
  }
}

/** @param {MessagePort} port @param {Message} message */
function send(port, message) {
  port.postMessage(message);
}

/** @param {Filter} filter @param {Event} event */
function selects({ kinds, jobs }, { kind, job_id }) {
  return kinds.includes(kind) && (jobs.length === 0 || jobs.includes(job_id));
}

/** @param {string[]} names */
function sorted(names) {
  return [...new Set(names)].sort();
}

/** @param {Filter | null} a @param {Filter | null} b */
function isSame(a, b) {
  return JSON.stringify(a) === JSON.stringify(b);
}
