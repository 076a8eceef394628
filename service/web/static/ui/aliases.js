// @ts-check
import { h } from "./html.js";

/** @param {string[]} aliases */
export function aliasBadges(aliases) {
  return aliases.map((alias) => h("span", { className: "state active" }, alias));
}
