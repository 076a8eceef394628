// @ts-check
import { h } from "./html.js";
import { announce } from "./parts.js";

/**
 * Put text on the clipboard and say so.
 * @param {string} text
 * @param {string} what What is copied, for the announcement.
 */
export async function copyText(text, what) {
  // Browsers offer the clipboard only over HTTPS and on the machine itself.
  if (navigator.clipboard) await navigator.clipboard.writeText(text);
  else copyBySelection(text);
  announce(`Copied: ${what}`);
}

/** @param {string} text */
function copyBySelection(text) {
  const area = h("textarea", { value: text, className: "unseen", "aria-hidden": "true" });
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}
