// @ts-check
// Requests to the API. The session's cookie goes with each of them; no script can read it.

/** The path below which browsers find this server; empty for the root. This file is at `BASE/web/VERSION/core/api.js`. */
export const BASE = new URL("../../..", import.meta.url).pathname.replace(/\/$/, "");

/** Dispatched on `window` when the server answers that the session is missing or over. */
export const SIGNED_OUT = "fgd-signed-out";

/** @typedef {Record<string, string | number | boolean | string[] | null | undefined>} Query */

/** A refusal of the API (RFC 9457), or a server that did not answer (status 0). */
export class Problem extends Error {
  /**
   * @param {number} status
   * @param {string} detail What is wrong and how to correct it.
   * @param {{ loc: string, code: string, message: string }[]} [reasons]
   */
  constructor(status, detail, reasons = []) {
    super(detail);
    this.status = status;
    this.reasons = reasons;
  }
}

/**
 * Return an address on this server.
 * @param {string} path From the root of the API, for example `/v1/jobs`.
 * @param {Query} [query] Empty values are left out; lists are repeated.
 */
export function address(path, query = {}) {
  const params = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    for (const each of Array.isArray(value) ? value : [value]) {
      if (each !== null && each !== undefined && each !== "") params.append(name, String(each));
    }
  }
  const text = params.toString();
  return `${BASE}${path}${text && `?${text}`}`;
}

/**
 * Read JSON. `T` is the type that the API documents for this path.
 * @template T
 * @param {string} path
 * @param {{ query?: Query, life?: AbortSignal }} [options]
 * @returns {Promise<T>}
 */
export async function get(path, { query, life } = {}) {
  const answer = await send(address(path, query), { headers: { Accept: "application/json" }, signal: life });
  return answer.json();
}

/**
 * Send a change. The server accepts it only from its own pages, by the request's `Origin`.
 * @param {"POST" | "PATCH" | "PUT" | "DELETE"} method
 * @param {string} path
 * @param {unknown} [body]
 * @param {Record<string, string>} [more] Further headers.
 * @returns {Promise<any>} The JSON of the answer; null without one.
 */
export async function change(method, path, body, more = {}) {
  const content = body === undefined ? {} : { body: JSON.stringify(body) };
  /** @type {Record<string, string>} */
  const headers = { ...more, ...(body === undefined ? {} : { "Content-Type": "application/json" }) };
  const answer = await send(address(path), { method, headers, ...content });
  return answer.status === 204 ? null : answer.json();
}

/**
 * @param {string} url
 * @param {RequestInit} init
 * @returns {Promise<Response>}
 * @throws {Problem}
 */
async function send(url, init) {
  const answer = await fetch(url, { credentials: "same-origin", ...init }).catch((error) => {
    if (init.signal?.aborted) throw error;
    throw new Problem(0, "The server does not answer; the page tries again as soon as it does.");
  });
  if (answer.ok) return answer;
  // A sign-in with a wrong token answers 401 as well, and its form shows that itself.
  if (answer.status === 401 && !url.endsWith("/v1/session")) dispatchEvent(new Event(SIGNED_OUT));
  throw await problemOf(answer);
}

/** @param {Response} answer */
async function problemOf(answer) {
  const isProblem = answer.headers.get("Content-Type")?.startsWith("application/problem+json");
  if (!isProblem) return new Problem(answer.status, `A proxy in front of the server answered ${answer.status}; try again later.`);
  const problem = await answer.json();
  return new Problem(answer.status, problem.detail, problem.reasons);
}
