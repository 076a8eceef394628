// @ts-check
import { Problem, SIGNED_OUT } from "./core/api.js";
import { Router } from "./core/router.js";
import { resume, session } from "./core/session.js";
import { pause } from "./core/timing.js";
import { applyTheme } from "./core/theme.js";
import { h } from "./ui/html.js";
import { showHeader } from "./pages/header.js";
import { jobPage } from "./pages/job.js";
import { jobsPage } from "./pages/jobs.js";
import { signInPage } from "./pages/sign_in.js";

/** All pages; `PAGES` in `service/web/paths.py` has the same paths. @type {import("./core/router.js").Route[]} */
const ROUTES = [
  { path: /^\/$/, open: jobsPage },
  { path: /^\/jobs\/([^/]+)$/, open: jobPage },
];
const FOREVER = new AbortController().signal;
const RETRY_MS = 2000;

const main = /** @type {HTMLElement} */ (document.getElementById("main"));
const router = new Router(ROUTES, main, () => ({ title: "Not found – fgd", element: h("h1", {}, "There is no such page.") }));

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
