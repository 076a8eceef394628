// @ts-check

const TYPING_MS = 250;
/** Also after one slow answer. */
const LONGEST_PAUSE_MS = 15_000;

/**
 * Wait; ends early and without an error when the life ends.
 * @param {number} ms
 * @param {AbortSignal} life
 * @returns {Promise<void>}
 */
export function pause(ms, life) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    life.addEventListener("abort", () => { clearTimeout(timer); resolve(); }, { once: true });
  });
}

/**
 * Return a function that runs `work` at most once at a time and at most once in `every_ms`. A call during a run causes
 * one more run, so the last call is never lost.
 * @param {() => Promise<void>} work Handles its own errors.
 * @param {number} every_ms
 * @param {AbortSignal} life
 * @param {number} [largestShare] The most that the work takes of the time: slow work is done more seldom.
 */
export function coalesced(work, every_ms, life, largestShare = 1) {
  let isRunning = false;
  let isWanted = false;
  return async () => {
    isWanted = true;
    if (isRunning) return;
    isRunning = true;
    while (isWanted && !life.aborted) {
      isWanted = false;
      const began = performance.now();
      await work();
      const slow_ms = Math.min((performance.now() - began) / largestShare, LONGEST_PAUSE_MS);
      await pause(Math.max(every_ms, slow_ms), life);
    }
    isRunning = false;
  };
}

/** Return a function that runs `work` once, a moment after the last of several calls: for typing. @param {() => void} work */
export function later(work) {
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(work, TYPING_MS);
  };
}
