// @ts-check
import { catalogue } from "../core/catalogue.js";
import { h } from "../ui/html.js";
import { tried } from "../ui/parts.js";

/**
 * The choice of what a new spec begins with.
 * @param {import("../core/router.js").Query} query Gets the choice.
 * @param {HTMLElement} trouble
 * @param {AbortSignal} life
 */
export function startPart(query, trouble, life) {
  const kinds = h("div", { className: "cards kinds" });
  const recipes = h("div", { className: "cards" });
  const element = h(
    "div", {}, h("h2", {}, "What should it do?"), kinds,
    h("h2", {}, "Or begin with a published pair"), recipes,
    h("p", { className: "faint" }, "To repeat a job with changes, open it and choose “Submit like this”. From a terminal: ", h("code", {}, "fgd submit FILE"), "."),
  );
  const card = (/** @type {Record<string, string>} */ choice, /** @type {string} */ name, /** @type {string} */ text) => h("button", { type: "button", className: "card", on: { click: () => query.write(choice) } }, h("strong", {}, name), h("small", {}, text));
  tried(trouble, life, async () => {
    const all = await catalogue();
    kinds.append(...all.jobs.map(({ name, help }) => card({ kind: name }, name.replaceAll("_", " "), firstSentence(help))));
    recipes.append(...all.recipes.map(({ name, publication }) => card({ recipe: name }, name, `${publication.student} from ${publication.teacher}`)));
  });
  return element;
}

/** @param {string} text */
function firstSentence(text) {
  return `${text.split(/\.\s/)[0].replace(/\.$/, "")}.`;
}
