// @ts-check
import { address, BASE, change, get } from "../core/api.js";
import { live } from "../core/live.js";
import { go } from "../core/router.js";
import { missingRole } from "../core/session.js";
import { number, score, time } from "../ui/format.js";
import { h } from "../ui/html.js";
import { stateBadge, tried } from "../ui/parts.js";
import { revise } from "../ui/revise.js";
import { rows, shareBar } from "../ui/rows.js";

/** @typedef {{ first: number, last: number | null, count: number }} Bin */
/** @typedef {{ split: string, num_images: number, num_images_without_boxes: number, num_boxes: number, num_crowd: number, boxes_per_category: Record<string, number>, findings: { problem: string, action: string, count: number, meaning: string, examples: string[] }[] }} Split */
/** @typedef {{ split: string, num_small: number, num_medium: number, num_large: number, images_per_category: Record<string, number>, objects_per_image: Bin[], longer_sides_px: Bin[] }} Profile */
/** @typedef {import("./data.js").Summary & { data: any, fingerprints: Record<string, string> | null, check_job_id: string | null, outcome: { splits: Split[], profiles: Profile[] } | null, error: { message: string } | null }} Dataset */
/** @typedef {{ items: { job_id: string, name: string, kind: string, state: string, created_at: string, best_ap: number | null }[], num_jobs: number }} Jobs */

/** One data set: findings, counts, samples, and the jobs that used it. @param {import("../core/router.js").Context} context */
export function open({ parts: [id], life }) {
  const path = `/v1/datasets/${encodeURIComponent(id)}`;
  const trouble = h("div");
  const content = h("article", { className: "dataset" });
  const read = () => tried(trouble, life, async () => {
    /** @type {[Dataset, Jobs]} */
    const [dataset, jobs] = await Promise.all([get(path, { life }), get(`${path}/jobs`, { life })]);
    document.title = `${dataset.name} – fgd`;
    const act = (/** @type {() => Promise<void>} */ work) => tried(trouble, life, work);
    revise(content, headPart(dataset, path, act), statePart(dataset), ...outcomeParts(dataset), jobsPart(jobs), filesPart(dataset));
  });
  live({ kinds: ["submitted", "state_changed"], read }, life);
  return { title: "Data set – fgd", element: h("div", {}, trouble, content) };
}

/** @param {Dataset} dataset @param {string} path @param {(work: () => Promise<void>) => void} act */
function headPart(dataset, path, act) {
  const why = missingRole("submit");
  const button = (/** @type {string} */ label, /** @type {() => Promise<void>} */ work) => h("button", { type: "button", disabled: why !== null, title: why ?? "", on: { click: () => act(work) } }, label);
  const check = async () => { await change("POST", `${path}/check`); };
  const remove = async () => {
    if (!confirm(`Remove the name ${dataset.name}? Its files stay.`)) return;
    await change("DELETE", path);
    go("/data");
  };
  return h(
    "div", {}, h("div", { className: "title" }, h("h1", {}, dataset.name), stateBadge(dataset.state), h("p", { className: "faint" }, `${dataset.format} · ${dataset.dataset_id} · ${dataset.project} · added ${time(dataset.created_at)} by ${dataset.created_by}`)),
    h("div", { className: "bar", role: "group", "aria-label": "Actions" }, button(dataset.checked_at === null ? "Check" : "Check again", check), button("Remove", remove), h("a", { href: address(`${path}/page`), target: "_blank" }, "As one file")),
  );
}

/** @param {Dataset} dataset */
function statePart({ state, error, check_job_id: jobId, name }) {
  const job = jobId !== null && h("a", { href: `${BASE}/jobs/${encodeURIComponent(jobId)}` }, "its job");
  if (error) return h("div", { className: "notice bad" }, h("p", {}, error.message, " ", job));
  if (state === "checking") return h("p", { className: "notice" }, "It is being checked now: ", job, ".");
  if (state === "unchecked") return h("p", { className: "notice" }, "It has not been checked yet. A check counts it, reports its problems and draws samples: press Check, or ", h("code", {}, `fgd data check ${name}`), ".");
  return null;
}

/** @param {Dataset} dataset */
function outcomeParts(dataset) {
  if (dataset.outcome === null) return [];
  const { splits, profiles } = dataset.outcome;
  return [
    h("h2", {}, "Findings"), findingsPart(splits), h("h2", {}, "Contents"), contentsPart(splits, profiles),
    samplesPart(dataset), h("h2", {}, "Classes"), classesPart(splits, profiles), ...profiles.map(numbersPart),
  ];
}

/** @param {Split[]} splits */
function findingsPart(splits) {
  return rows({
    caption: "Findings", items: splits.flatMap(({ split, findings }) => findings.map((finding) => ({ split, ...finding }))), empty: "No problems found.",
    columns: [
      { label: "Problem", cell: ({ problem, meaning }) => [problem.replaceAll("_", " "), h("br"), h("small", {}, meaning)] },
      { label: "Split", cell: ({ split }) => split },
      { label: "Count", className: "number", cell: ({ count }) => number(count) },
      { label: "Action", cell: ({ action }) => h("span", { className: action === "refused" ? "bad" : "" }, action) },
      { label: "Examples", className: "wide", cell: ({ examples }) => h("small", {}, (examples ?? []).join(", ")) },
    ],
  });
}

/** @param {Split[]} splits @param {Profile[]} profiles */
function contentsPart(splits, profiles) {
  const size = (/** @type {Split} */ { split }, /** @type {"num_small" | "num_medium" | "num_large"} */ name) => number(profiles.find((each) => each.split === split)?.[name]);
  return h(
    "div", {},
    rows({
      caption: "Contents", items: splits,
      columns: [
        { label: "Split", cell: ({ split }) => split },
        { label: "Images", className: "number", cell: (each) => number(each.num_images) },
        { label: "Without boxes", className: "number", cell: (each) => number(each.num_images_without_boxes) },
        { label: "Boxes", className: "number", cell: (each) => number(each.num_boxes) },
        { label: "Small", className: "number", cell: (each) => size(each, "num_small") },
        { label: "Medium", className: "number", cell: (each) => size(each, "num_medium") },
        { label: "Large", className: "number", cell: (each) => size(each, "num_large") },
      ],
    }),
    h("p", { className: "faint" }, "Small: below 32 × 32 pixels of the original image. Medium: up to 96 × 96. A detector sees resized images, in which objects may be smaller."),
  );
}

/** @param {Dataset} dataset */
function samplesPart({ check_job_id: jobId, outcome }) {
  if (jobId === null || outcome === null) return null;
  const picture = (/** @type {string} */ split) => {
    const onError = (/** @type {Event} */ { target }) => /** @type {Element} */ (target).closest("figure")?.remove();
    return h("figure", {}, h("img", { src: address(`/v1/jobs/${encodeURIComponent(jobId)}/artifacts/samples_${split}.png`), alt: `Samples of ${split} with their boxes`, loading: "lazy", on: { error: onError } }), h("figcaption", {}, split));
  };
  return h("div", { className: "samples" }, outcome.splits.map(({ split }) => picture(split)));
}

/** @param {Split[]} splits @param {Profile[]} profiles */
function classesPart(splits, profiles) {
  const total = (/** @type {string} */ name) => splits.reduce((sum, split) => sum + (split.boxes_per_category[name] ?? 0), 0);
  const names = [...new Set(splits.flatMap((split) => Object.keys(split.boxes_per_category)))].sort((a, b) => total(b) - total(a));
  const most = Math.max(1, ...names.map(total));
  return rows({
    caption: "Classes", items: names,
    columns: [
      { label: "Class", cell: (name) => name },
      { label: "Share of the largest", cell: (name) => shareBar(total(name) / most, `boxes of ${name}`) },
      ...splits.flatMap((split) => [
        { label: `Boxes in ${split.split}`, className: "number", cell: (/** @type {string} */ name) => h("span", { className: split.boxes_per_category[name] ? "" : "bad" }, number(split.boxes_per_category[name] ?? 0)) },
        { label: `Images in ${split.split}`, className: "number wide", cell: (/** @type {string} */ name) => number(profiles.find((each) => each.split === split.split)?.images_per_category[name] ?? 0) },
      ]),
    ],
  });
}

/** @param {Profile} profile */
function numbersPart({ split, objects_per_image: objects, longer_sides_px: sides }) {
  const histogram = (/** @type {string} */ title, /** @type {string} */ unit, /** @type {Bin[]} */ bins) => {
    const most = Math.max(1, ...bins.map(({ count }) => count));
    const range = (/** @type {Bin} */ { first, last }) => (last === null ? `${number(first)} and more` : first === last ? number(first) : `${number(first)}–${number(last)}`);
    return h("div", {}, h("h3", {}, title), rows({ caption: title, items: bins, columns: [{ label: unit, cell: range }, { label: "Share of the largest", cell: (bin) => shareBar(bin.count / most, "images") }, { label: "Images", className: "number", cell: ({ count }) => number(count) }] }));
  };
  return h("div", { className: "beside" }, histogram(`Objects in an image of ${split}`, "Objects", objects), histogram(`Longer side of an image of ${split}, in pixels`, "Pixels", sides));
}

/** @param {Jobs} jobs */
function jobsPart({ items, num_jobs: total }) {
  return h(
    "div", {}, h("h2", {}, `Jobs that used it (${number(total)})`),
    rows({
      caption: "Jobs that used it", items, key: ({ job_id }) => job_id, empty: "No job has used it yet.",
      columns: [
        { label: "Job", cell: ({ job_id, name }) => h("a", { href: `${BASE}/jobs/${encodeURIComponent(job_id)}` }, name) },
        { label: "Kind", cell: ({ kind }) => kind },
        { label: "State", cell: ({ state }) => stateBadge(state) },
        { label: "AP", className: "number", cell: ({ best_ap: ap }) => score(ap) },
        { label: "Submitted", className: "wide when", cell: ({ created_at: at }) => time(at) },
      ],
    }),
  );
}

/** @param {Dataset} dataset */
function filesPart({ data, fingerprints }) {
  return h(
    "details", {}, h("summary", {}, "Files and fingerprints"), h("pre", {}, JSON.stringify(data, null, 2)),
    fingerprints && h("p", { className: "faint" }, "A run refuses data with other fingerprints: ", Object.entries(fingerprints).filter(([, value]) => typeof value === "string").map(([split, value]) => h("span", {}, `${split} `, h("code", {}, value), " "))),
  );
}
