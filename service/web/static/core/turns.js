// @ts-check
import { pause } from "./timing.js";

/** A browser opens six connections to a server: one is the stream of events, and requests need some as well. */
const NUM_AT_ONCE = 3;
const TURN_MS = 2000;

/**
 * Work in at most a few windows of the browser at a time. While other windows wait, they take turns.
 * @param {string} name Of the work.
 * @param {(turn: AbortSignal) => void} work Begins it; it ends with the turn, and is begun again in the next one.
 * @param {AbortSignal} life
 */
export async function takeTurns(name, work, life) {
  // Browsers have locks only where the connection is secure, or the server is on the same machine.
  if (!navigator.locks) { work(life); return; }
  while (!life.aborted) {
    const place = `${name} ${Math.floor(Math.random() * NUM_AT_ONCE)}`;
    await navigator.locks.request(place, { signal: life }, () => takeTurn(place, work, life)).catch(() => { /* The life ended while it waited. */ });
  }
}

/** @param {string} place @param {(turn: AbortSignal) => void} work @param {AbortSignal} life */
async function takeTurn(place, work, life) {
  const turn = new AbortController();
  work(AbortSignal.any([life, turn.signal]));
  do await pause(TURN_MS, life);
  while (!life.aborted && !(await isWaitedFor(place)));
  turn.abort();
}

/** @param {string} place */
async function isWaitedFor(place) {
  const { pending = [] } = await navigator.locks.query();
  return pending.some(({ name }) => name === place);
}
