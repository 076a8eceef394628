// @ts-check
import { change } from "./api.js";
import { Store } from "./store.js";
import { pause } from "./timing.js";

/** @typedef {{ loc: string, code: string, message: string, line: number | null }} Reason */
/** @typedef {{ cpus: number, gpus: number, workers: number, num_ahead: number, code: string, message: string, not_before: string | null }} Placement */
/** @typedef {{ text: string, spec: Record<string, any> | null, reasons: Reason[], placement: Placement | null, prediction: import("../pages/prediction.js").View | null, cost: import("../pages/cost.js").Estimate | null }} Checked */

const TYPING_MS = 250;

/**
 * A spec that is being written, as text and as a form. The server changes the text for the form, reads the text for
 * both, and checks it: one request at a time, with all that has changed since the one before.
 */
export class Draft {
  /** The newest answer; null before the first. @type {Store<Checked | null>} */
  checked = new Store(/** @type {Checked | null} */ (null));
  /** Why the newest request failed. @type {Store<unknown>} */
  trouble = new Store(/** @type {unknown} */ (null));
  /** True while an answer is due. */
  isChecking = new Store(false);
  text = "";
  /** @type {Map<string, unknown>} */
  #changes = new Map();
  /** @type {Set<string>} */
  #removed = new Set();
  #isDue = false;
  #isRunning = false;

  /** @param {AbortSignal} life */
  constructor(life) {
    this.#life = life;
  }

  #life;

  /** @param {string} start As `NewDraft.start` of the API. */
  begin(start) {
    this.text = "";
    this.#send(start);
  }

  /** @param {string} text What a user has typed. */
  async write(text) {
    this.text = text;
    this.isChecking.set(true);
    await pause(TYPING_MS, this.#life);
    if (this.text === text) this.#send();
  }

  /**
   * Change fields of the form.
   * @param {Record<string, unknown>} changes By path.
   * @param {string[]} [removed]
   */
  set(changes, removed = []) {
    for (const path of removed) { this.#removed.add(path); this.#changes.delete(path); }
    for (const [path, value] of Object.entries(changes)) this.#changes.set(path, value);
    this.#send();
  }

  /** @param {string} [start] */
  async #send(start = "") {
    this.#isDue = true;
    this.isChecking.set(true);
    if (this.#isRunning) return;
    this.#isRunning = true;
    while (this.#isDue && !this.#life.aborted) {
      this.#isDue = false;
      const [text, changes, removed] = [this.text, this.#changes, this.#removed];
      [this.#changes, this.#removed] = [new Map(), new Set()];
      try {
        /** @type {Checked} */
        const answer = await change("POST", "/v1/drafts", { text, start: text ? "" : start, changes: Object.fromEntries(changes), removed: [...removed] });
        // Text that was typed meanwhile is newer than the answer, and gets one of its own.
        if (this.text === text) { this.text = answer.text; this.checked.set(answer); }
        this.trouble.set(null);
      } catch (error) {
        this.trouble.set(error);
      }
    }
    this.#isRunning = false;
    this.isChecking.set(false);
  }
}
