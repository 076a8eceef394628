// @ts-check
import { Problem, SIGNED_OUT } from "./core/api.js";
import { Router } from "./core/router.js";
import { resume, session } from "./core/session.js";
import { pause } from "./core/timing.js";
import { applyTheme } from "./core/theme.js";
import { h } from "./ui/html.js";
import { showHeader } from "./pages/header.js";
import { signInPage } from "./pages/sign_in.js";

/**
 * All pages; each module is loaded when its page is opened. `PAGES` in `service/web/paths.py` has the same rows.
 * @type {import("./core/router.js").Route[]}
 */
const ROUTES = [
  { path: /^\/$/, load: () => import("./pages/jobs.js") },
  { path: /^\/jobs\/([^/]+)$/, load: () => import("./pages/job.js") },
  { path: /^\/compare$/, load: () => import("./pages/compare.js") },
  { path: /^\/submit$/, load: () => import("./pages/submit.js") },
  { path: /^\/data$/, load: () => import("./pages/data.js") },
  { path: /^\/data\/([^/]+)$/, load: () => import("./pages/dataset.js") },
  { path: /^\/queue$/, load: () => import("./pages/queue.js") },
  { path: /^\/models$/, load: () => import("./pages/models.js") },
  { path: /^\/models\/([^/]+)$/, load: () => import("./pages/model.js") },
  { path: /^\/settings$/, load: () => import("./pages/settings.js") },
];
const FOREVER = new AbortController().signal;
const RETRY_MS = 2000;

const main = /** @type {HTMLElement} */ (document.getElementById("main"));
const router = new Router(ROUTES, main, {
  unknown: () => ({ title: "Not found – fgd", element: h("h1", {}, "There is no such page.") }),
  failed: () => ({ title: "Not loaded – fgd", element: notLoaded() }),
});

/** The server is away, or has been updated since this tab loaded its first modules. */
function notLoaded() {
  const reload = h("button", { type: "button", on: { click: () => location.reload() } }, "Load again");
  return h("div", { className: "notice bad", role: "alert" }, h("p", {}, "The server did not send this page. It may be away, or it was updated."), reload);
}

function askForToken() {
  router.close();
  session.set(null);
  document.title = "Sign in – fgd";
  main.replaceChildren(signInPage(() => router.open()));
}

async function start() {
  try {
    await resume();
    router.open();
  } catch (error) {
    if (error instanceof Problem && error.status === 401) return;
    main.replaceChildren(h("p", { className: "notice bad", role: "alert" }, error instanceof Error ? error.message : String(error)));
    await pause(RETRY_MS, FOREVER);
    await start();
  }
}

applyTheme();
showHeader(/** @type {HTMLElement} */ (document.getElementById("header")), FOREVER);
addEventListener(SIGNED_OUT, askForToken);
start();
