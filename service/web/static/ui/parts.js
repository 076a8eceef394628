// @ts-check
import { Problem } from "../core/api.js";
import { fill, h } from "./html.js";

/** Colour groups of the states; the word is always there too. @type {Record<string, string>} */
const GROUPS = {
  running: "active", starting: "active", pausing: "active", cancelling: "active",
  blocked: "waiting", queued: "waiting", paused: "waiting",
  succeeded: "good", failed: "bad", lost: "bad", cancelled: "over",
};

export const OVER = ["succeeded", "failed", "cancelled"];

/** @param {string} state */
export function stateBadge(state) {
  return h("span", { className: `state ${GROUPS[state] ?? "over"}` }, state);
}

/**
 * Show what went wrong and how to correct it.
 * @param {unknown} error
 */
export function problemNotice(error) {
  const reasons = error instanceof Problem ? error.reasons : [];
  return h(
    "div", { className: "notice bad", role: "alert" },
    h("p", {}, error instanceof Error ? error.message : String(error)),
    reasons.length > 0 && h("ul", {}, reasons.map(({ loc, message }) => h("li", {}, h("code", {}, loc), " ", message))),
  );
}

/**
 * Run `work`, and show in `place` why it failed; nothing if it succeeded or its page has ended.
 * @param {HTMLElement} place
 * @param {AbortSignal} life
 * @param {() => Promise<void>} work
 */
export async function tried(place, life, work) {
  try {
    await work();
    fill(place);
  } catch (error) {
    const isEnded = life.aborted || (error instanceof DOMException && error.name === "AbortError");
    if (!isEnded) fill(place, problemNotice(error));
  }
}

/**
 * Hold the place of an element whose module is still to come.
 * @param {AbortSignal} life
 * @param {() => Promise<HTMLElement>} make
 */
export function later(life, make) {
  const place = h("div");
  tried(place, life, async () => {
    const element = await make();
    if (!life.aborted) place.replaceWith(element);
  });
  return place;
}

/** @param {string} text Spoken by screen readers and shown for some seconds. */
export function announce(text) {
  const status = /** @type {HTMLElement} */ (document.getElementById("status"));
  status.textContent = text;
  setTimeout(() => { if (status.textContent === text) status.textContent = ""; }, 6000);
}

/**
 * @param {number | null} done
 * @param {number | null} total
 * @param {string} label
 */
export function progressBar(done, total, label) {
  if (done === null || !total) return null;
  return h("progress", { max: total, value: Math.min(done, total), "aria-label": label });
}
