// @ts-check

/** Dispatched on `window` when the colours change: canvases must be drawn again. */
export const THEME_CHANGED = "fgd-theme-changed";

const KEY = "fgd-theme";
const THEMES = ["auto", "light", "dark"];
const announce = () => window.dispatchEvent(new Event(THEME_CHANGED));

/** @returns {string} `auto` (as the system), `light` or `dark`. */
export function theme() {
  const stored = localStorage.getItem(KEY) ?? "auto";
  return THEMES.includes(stored) ? stored : "auto";
}

/** Go on to the next theme. */
export function switchTheme() {
  localStorage.setItem(KEY, THEMES[(THEMES.indexOf(theme()) + 1) % THEMES.length]);
  applyTheme();
}

export function applyTheme() {
  document.documentElement.dataset.theme = theme();
  announce();
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", announce);
// The choice holds for all tabs.
addEventListener("storage", (event) => { if (event.key === KEY) applyTheme(); });
