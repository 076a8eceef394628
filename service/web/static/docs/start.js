// @ts-check
// Starts Swagger UI on `/docs`, in the colours that the user has chosen for the page.
import { applyTheme, theme, THEME_CHANGED } from "../core/theme.js";

const system = matchMedia("(prefers-color-scheme: dark)");

/** Swagger UI has dark colours of its own below this class. */
function showTheme() {
  document.documentElement.classList.toggle("dark-mode", theme() === "dark" || (theme() === "auto" && system.matches));
}

addEventListener(THEME_CHANGED, showTheme);
applyTheme();
// No validator: it would send our description to another site.
/** @type {any} */ (globalThis).SwaggerUIBundle({ url: "openapi.json", dom_id: "#swagger-ui", deepLinking: true, validatorUrl: null });
