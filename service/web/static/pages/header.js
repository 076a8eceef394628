// @ts-check
import { BASE, SIGNED_OUT } from "../core/api.js";
import { connection } from "../core/follow.js";
import { place } from "../core/router.js";
import { session, signOut } from "../core/session.js";
import { switchTheme, theme, THEME_CHANGED } from "../core/theme.js";
import { fill, h } from "../ui/html.js";

/** Pages with a link in the header, in its order: address and name. */
const PAGES = [
  ["/", "Jobs"],
  ["/compare", "Compare"],
  ["/submit", "Submit"],
  ["/data", "Data"],
  ["/queue", "Queue"],
  ["/models", "Models"],
  ["/settings", "Settings"],
];

/** @type {Record<import("../core/follow.js").Connection, string>} */
const CONNECTIONS = { connecting: "connecting", live: "live", away: "server away; reconnecting" };

/** @param {HTMLElement} header @param {AbortSignal} life */
export function showHeader(header, life) {
  const live = h("span", { className: "connection", role: "status" });
  const who = h("span", { className: "who" });
  const themes = h("button", { type: "button", on: { click: switchTheme } });
  const links = PAGES.map(([path, name]) => h("a", { href: `${BASE}${path}` }, name));
  fill(
    header, h("a", { className: "brand", href: `${BASE}/` }, "fgd"),
    h("nav", { "aria-label": "Pages" }, links, h("a", { href: `${BASE}/ray/`, target: "_blank" }, "Ray"), h("a", { href: `${BASE}/docs`, target: "_blank" }, "API")),
    live, who, themes,
  );
  place.watch((path) => {
    for (const [index, link] of links.entries()) link.ariaCurrent = isIn(PAGES[index][0], path) ? "page" : null;
  }, life);
  connection.watch((state) => { live.textContent = state && CONNECTIONS[state]; live.dataset.state = state ?? ""; }, life);
  session.watch((user) => fill(who, user !== null && userParts(user)), life);
  const showTheme = () => { themes.textContent = `◐ ${theme()}`; themes.ariaLabel = `Colours: ${theme()}`; themes.title = "Colours: as the system, light or dark"; };
  addEventListener(THEME_CHANGED, showTheme);
  showTheme();
}

/** @param {import("../core/types.js").WhoAmI} user */
function userParts(user) {
  const leave = async () => {
    await signOut();
    window.dispatchEvent(new Event(SIGNED_OUT));
  };
  const name = `${user.name} (${user.role}${user.project ? `, ${user.project}` : ""})`;
  return [name, user.token_id !== null && h("button", { type: "button", on: { click: leave } }, "Sign out")];
}

/** Whether a path belongs to a page of the header. The jobs are at the root, and one job is below `/jobs`. @param {string} page @param {string} path */
function isIn(page, path) {
  return page === "/" ? path === "/" || path.startsWith("/jobs/") : path === page || path.startsWith(`${page}/`);
}
