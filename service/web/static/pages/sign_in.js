// @ts-check
import { signIn } from "../core/session.js";
import { fill, h } from "../ui/html.js";
import { problemNotice } from "../ui/parts.js";

/** The form that exchanges an API token for a cookie. @param {() => void} done Opens the page that the user wanted. */
export function signInPage(done) {
  const token = h("input", { type: "password", id: "token", autocomplete: "current-password", required: true, maxLength: 1000 });
  const problem = h("div");
  const onSubmit = async (/** @type {Event} */ event) => {
    event.preventDefault();
    try {
      await signIn(token.value);
      done();
    } catch (error) {
      fill(problem, problemNotice(error));
    }
  };
  return h(
    "form", { className: "sign-in", on: { submit: onSubmit } }, h("h1", {}, "Sign in"), problem,
    h("label", { htmlFor: "token" }, "API token"), token,
    h("p", { className: "faint" }, "An admin makes one with ", h("code", {}, "fgd tokens create"), ". The browser keeps a cookie for 12 hours and not the token."),
    h("button", { type: "submit", className: "main" }, "Sign in"),
  );
}
