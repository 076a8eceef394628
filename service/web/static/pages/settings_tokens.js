// @ts-check
import { change, get } from "../core/api.js";
import { session } from "../core/session.js";
import { ask } from "../ui/dialog.js";
import { time } from "../ui/format.js";
import { fill, h } from "../ui/html.js";
import { tried } from "../ui/parts.js";
import { rows } from "../ui/rows.js";
import { secretNotice } from "../ui/secret.js";

/** @typedef {{ token_id: string, name: string, role: string, project: string | null, created_at: string, created_by: string, expires_at: string | null, revoked_at: string | null, last_used_at: string | null }} Token */

const DAY_MS = 86_400_000;

/** @type {import("./settings.js").Part} */
export function tokensPart({ life }) {
  const [trouble, made, list] = [h("div"), h("div"), h("div")];
  const read = () => tried(trouble, life, async () => fill(list, table((await get("/v1/tokens", { life })).items, revoke)));
  const revoke = (/** @type {Token} */ token) => {
    if (confirm(`Revoke the token of ${token.name}? Whoever uses it is refused at once.`)) tried(trouble, life, async () => { await change("DELETE", `/v1/tokens/${token.token_id}`); await read(); });
  };
  const create = () => ask({
    title: "Create a token", action: "Create", text: "Each role includes the roles before it: read, submit, admin.",
    fields: [
      { name: "name", label: "Who or what uses it", limits: { required: true, maxLength: 100 } },
      { name: "role", label: "Role", options: ["read", "submit", "admin"], value: "submit" },
      { name: "project", label: "Only this project", help: "Empty: all projects that you have." },
      { name: "days", label: "Days until it expires", type: "number", value: 90, limits: { min: 0, step: "any" }, help: "0: never." },
    ],
    send: async ({ name, role, project, days }) => {
      const expires = days > 0 ? new Date(Date.now() + days * DAY_MS).toISOString() : null;
      const { token } = await change("POST", "/v1/tokens", { name, role, project: project || session.value?.project || null, expires_at: expires });
      fill(made, secretNotice(`The token of ${name}. It is shown only now; the server keeps a hash of it.`, token));
      await read();
    },
  }, life);
  read();
  return h("section", {}, h("div", { className: "bar" }, h("button", { type: "button", className: "main", on: { click: create } }, "Create a token")), trouble, made, list);
}

/** @param {Token[]} items @param {(token: Token) => void} revoke */
function table(items, revoke) {
  return rows({
    caption: "Tokens", items, empty: "There is no token.",
    columns: [
      { label: "Name", cell: ({ name, token_id: id }) => [name, h("br"), h("small", {}, id)] },
      { label: "Role", cell: ({ role }) => role },
      { label: "Project", className: "wide", cell: ({ project }) => project ?? "all" },
      { label: "State", cell: stateOf },
      { label: "Last used", className: "wide", cell: ({ last_used_at: at }) => (at === null ? "never" : time(at)) },
      { label: "Created", className: "wide", cell: ({ created_at: at, created_by: by }) => `${time(at)} by ${by}` },
      { label: "Actions", cell: (token) => isValid(token) && h("button", { type: "button", "aria-label": `Revoke ${token.name}`, on: { click: () => revoke(token) } }, "Revoke") },
    ],
  });
}

/** @param {Token} token */
function isValid({ revoked_at: revoked, expires_at: expires }) {
  return revoked === null && (expires === null || Date.parse(expires) > Date.now());
}

/** @param {Token} token */
function stateOf(token) {
  if (token.revoked_at !== null) return h("span", { className: "faint" }, `revoked ${time(token.revoked_at)}`);
  if (!isValid(token)) return h("span", { className: "faint" }, `expired ${time(token.expires_at)}`);
  return token.expires_at === null ? "valid" : `valid until ${time(token.expires_at)}`;
}
