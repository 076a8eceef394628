// @ts-check
import { session } from "../core/session.js";
import { fill, h } from "../ui/html.js";
import { openTab, tabList } from "../ui/tabs.js";
import { auditPart } from "./settings_audit.js";
import { housekeepingPart } from "./settings_housekeeping.js";
import { projectsPart } from "./settings_projects.js";
import { tokensPart } from "./settings_tokens.js";
import { webhooksPart } from "./settings_webhooks.js";

/** A part of the settings; it ends with `life`. @typedef {(context: { query: import("../core/router.js").Query, life: AbortSignal }) => HTMLElement} Part */

/** @type {{ name: string, label: string, part: Part, needs: "reader" | "admin" | "admin of all" }[]} */
const TABS = [
  { name: "projects", label: "Projects", part: projectsPart, needs: "reader" },
  { name: "tokens", label: "Tokens", part: tokensPart, needs: "admin" },
  { name: "webhooks", label: "Webhooks", part: webhooksPart, needs: "admin" },
  { name: "audit", label: "Audit", part: auditPart, needs: "admin of all" },
  { name: "housekeeping", label: "Housekeeping", part: housekeepingPart, needs: "admin of all" },
];

/** What an admin sets; others see what they may see, and why not the rest. @param {import("../core/router.js").Context} context */
export function open({ query, life }) {
  const panel = h("div");
  /** Ends the tab before. @type {AbortController | null} */
  let shown = null;
  let name = "";
  life.addEventListener("abort", () => shown?.abort());
  query.watch(() => {
    const tab = openTab(TABS, query);
    if (tab.name === name) return;
    name = tab.name;
    shown?.abort();
    shown = new AbortController();
    const why = missing(tab.needs);
    fill(panel, why === null ? tab.part({ query, life: shown.signal }) : h("p", { className: "notice" }, why));
  }, life);
  return { title: "Settings – fgd", element: h("section", { className: "settings" }, h("h1", {}, "Settings"), youPart(), tabList({ tabs: TABS, label: "Settings", panel, query }, life), panel) };
}

function youPart() {
  const user = session.value;
  if (user === null || user.token_id === null) return h("p", { className: "faint" }, "This server needs no tokens: everybody who reaches it is an admin. ", h("code", {}, "fgd up --auth tokens"), " changes that.");
  return h("p", { className: "faint" }, `You are ${user.name}, with the role ${user.role}, for ${user.project === null ? "all projects" : `the project ${user.project}`}.`);
}

/** @param {"reader" | "admin" | "admin of all"} needed */
function missing(needed) {
  const user = session.value;
  if (needed === "reader" || (user?.role === "admin" && (user.project === null || needed === "admin"))) return null;
  return user?.role === "admin" ? `This needs an admin of all projects; your token is for the project ${user.project} only.` : `This needs a token with the role admin; yours has the role ${user?.role ?? "read"}.`;
}
