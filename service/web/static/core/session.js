// @ts-check
import { change, get } from "./api.js";
import { Store } from "./store.js";

/** @typedef {import("./types.js").WhoAmI} WhoAmI */

const ORDER = ["read", "submit", "admin"];

/** Who uses the page; null before the sign-in. @type {Store<WhoAmI | null>} */
export const session = new Store(/** @type {WhoAmI | null} */ (null));

/** Ask the server who uses the page. @throws {Problem} with status 401 if a sign-in is needed. */
export async function resume() {
  session.set(await get("/v1/whoami"));
}

/** @param {string} token */
export async function signIn(token) {
  session.set(await change("POST", "/v1/session", { token }));
}

export async function signOut() {
  await change("DELETE", "/v1/session");
  session.set(null);
}

/**
 * Return why the user may not do what needs this role; null if the user may. The server decides; this only greys out.
 * @param {"submit" | "admin"} needed
 */
export function missingRole(needed) {
  const role = session.value?.role ?? "read";
  return ORDER.indexOf(role) >= ORDER.indexOf(needed) ? null : `needs a token with the role ${needed}; yours has the role ${role}`;
}
