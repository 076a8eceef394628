// @ts-check

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
 */
export function coalesced(work, every_ms, life) {
  let isRunning = false;
  let isWanted = false;
  return async () => {
    isWanted = true;
    if (isRunning) return;
    isRunning = true;
    while (isWanted && !life.aborted) {
      isWanted = false;
      await work();
      await pause(every_ms, life);
    }
    isRunning = false;
  };
}
