// @ts-check
import { follow } from "./follow.js";
import { coalesced } from "./timing.js";

const READ_MS = 1000;

/**
 * Keep what a page shows up to date: read it now, after events, and when a lost connection is back.
 * @param {{ kinds: string[], read: () => Promise<void> }} options `read` handles its own errors.
 * @param {AbortSignal} life
 * @returns {() => void} Reads again, at most once in a second.
 */
export function live({ kinds, read }, life) {
  const again = coalesced(read, READ_MS, life);
  const begin = async () => {
    await follow({ kinds, take: again, reconnected: again, lost: begin }, life);
    again();
  };
  begin();
  return again;
}
