// @ts-check
import { Follower, position } from "./follow.js";
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
  const follow = async () => {
    const after = await position(life);
    if (life.aborted) return;
    again();
    new Follower({ after, kinds, take: again, reconnected: again, lost: follow }, life);
  };
  follow();
  return again;
}
