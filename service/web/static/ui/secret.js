// @ts-check
import { h } from "./html.js";
import { announce } from "./parts.js";

/**
 * Show a secret that nobody can read again.
 * @param {string} text
 * @param {string} secret
 */
export function secretNotice(text, secret) {
  const copy = async () => {
    await navigator.clipboard.writeText(secret);
    announce("Copied.");
  };
  // Browsers offer the clipboard to pages over HTTPS and on the own machine only.
  const button = navigator.clipboard && h("button", { type: "button", on: { click: copy } }, "Copy");
  return h("div", { className: "notice", role: "alert" }, h("p", {}, text), h("code", { className: "secret" }, secret), button);
}
