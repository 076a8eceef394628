// @ts-check
import { BASE, change, get } from "../core/api.js";
import { session } from "../core/session.js";
import { ask } from "../ui/dialog.js";
import { number, time } from "../ui/format.js";
import { fill, h } from "../ui/html.js";
import { announce, tried } from "../ui/parts.js";
import { rows } from "../ui/rows.js";
import { secretNotice } from "../ui/secret.js";

/** @typedef {{ webhook_id: string, url: string, project: string | null, created_at: string, created_by: string }} Webhook */
/** @typedef {{ delivery_id: string, job_id: string, state: string, tries: number, created_at: string, next_try_at: string | null, last_error: string | null }} Delivery */

const DELIVERIES = 20;

/** @type {import("./settings.js").Part} */
export function webhooksPart({ life }) {
  const [trouble, made, list, deliveries] = [h("div"), h("div"), h("div"), h("div")];
  const act = (/** @type {() => Promise<void>} */ work) => tried(trouble, life, work);
  const read = () => act(async () => fill(list, table((await get("/v1/webhooks", { life })).items, actions)));
  const actions = {
    test: (/** @type {Webhook} */ { webhook_id: id }) => act(async () => {
      const { delivered, status, error } = await change("POST", `/v1/webhooks/${id}/test`);
      announce(delivered ? `Delivered; the receiver answered ${status}.` : `Not delivered: ${error ?? `the receiver answered ${status}`}`);
    }),
    remove: (/** @type {Webhook} */ { webhook_id: id, url }) => {
      if (confirm(`Remove ${url} and its undelivered messages?`)) act(async () => { await change("DELETE", `/v1/webhooks/${id}`); fill(deliveries); await read(); });
    },
    show: (/** @type {Webhook} */ { webhook_id: id, url }) => act(async () => fill(deliveries, deliveriesPart(url, (await get(`/v1/webhooks/${id}/deliveries`, { query: { limit: DELIVERIES }, life })).items))),
  };
  const create = () => ask({
    title: "Add a webhook", action: "Add", text: "The server sends a signed message to this address each time a job ends.",
    fields: [{ name: "url", label: "Address", value: "https://", limits: { required: true } }, { name: "project", label: "Only jobs of this project", help: "Empty: of all projects that you have." }],
    send: async ({ url, project }) => {
      const { secret } = await change("POST", "/v1/webhooks", { url, project: project || session.value?.project || null });
      fill(made, secretNotice("The key that signs its messages. It is shown only now.", secret));
      await read();
    },
  }, life);
  read();
  return h("section", {}, h("div", { className: "bar" }, h("button", { type: "button", className: "main", on: { click: create } }, "Add a webhook")), trouble, made, list, deliveries);
}

/** @param {Webhook[]} items @param {Record<"test" | "remove" | "show", (webhook: Webhook) => void>} actions */
function table(items, actions) {
  const button = (/** @type {Webhook} */ webhook, /** @type {"test" | "remove" | "show"} */ name, /** @type {string} */ label) => h("button", { type: "button", "aria-label": `${label}: ${webhook.url}`, on: { click: () => actions[name](webhook) } }, label);
  return rows({
    caption: "Webhooks", items, empty: "No webhook. With one, another program learns at once that a job has ended.",
    columns: [
      { label: "Address", cell: ({ url }) => url },
      { label: "Project", className: "wide", cell: ({ project }) => project ?? "all" },
      { label: "Added", className: "wide", cell: ({ created_at: at, created_by: by }) => `${time(at)} by ${by}` },
      { label: "Actions", cell: (webhook) => h("span", { className: "choices" }, button(webhook, "show", "Deliveries"), button(webhook, "test", "Test"), button(webhook, "remove", "Remove")) },
    ],
  });
}

/** @param {string} url @param {Delivery[]} items */
function deliveriesPart(url, items) {
  return [
    h("h2", {}, `Last deliveries to ${url}`),
    rows({
      caption: "Deliveries", items, empty: "Nothing was delivered yet: no job has ended since it was added.",
      columns: [
        { label: "Job", cell: ({ job_id: id }) => h("a", { href: `${BASE}/jobs/${encodeURIComponent(id)}` }, id) },
        { label: "State", cell: ({ state }) => h("span", { className: state === "given_up" ? "bad" : "" }, state.replaceAll("_", " ")) },
        { label: "Tries", className: "number", cell: ({ tries }) => number(tries) },
        { label: "Since", cell: ({ created_at: at }) => time(at) },
        { label: "Next try", className: "wide", cell: ({ next_try_at: at }) => time(at) },
        { label: "Last error", className: "why", cell: ({ last_error: error }) => error },
      ],
    }),
  ];
}
