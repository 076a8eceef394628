// @ts-check
import { patch, remove } from "../core/actions.js";
import { address, BASE, change } from "../core/api.js";
import { missingRole } from "../core/session.js";
import { ask } from "../ui/dialog.js";
import { size } from "../ui/format.js";
import { h } from "../ui/html.js";
import { OVER } from "../ui/parts.js";

/** @typedef {import("../core/types.js").Job} Job */
/** @typedef {import("../ui/menu.js").Entry} Entry */
/** What a page does with an answer: show the changed job, or a sentence. @typedef {{ put: (job: Job) => void, say: (...children: import("../ui/html.js").Child[]) => void }} Answers */

const MODELS = /\.(pt|onnx|pt2)$/;
const HAS_DETECTOR = ["train", "distill", "chain"];

/**
 * What else can be done with a job: everything that the command line can do and that needs no file of the user.
 * @param {Job} job
 * @param {Answers} answers
 * @param {AbortSignal} life
 * @returns {Entry[]}
 */
export function menuOf(job, answers, life) {
  const id = encodeURIComponent(job.job_id);
  const isOver = OVER.includes(job.state);
  const mayNot = missingRole("submit");
  const running = isOver ? null : `only when the job is over; it is ${job.state}`;
  const models = job.artifacts.map(({ name }) => name).filter((name) => MODELS.test(name));
  return [
    { label: "Submit one like this", href: `${BASE}/submit?like=${id}`, why: mayNot },
    { label: "Compare with other jobs", href: `${BASE}/compare?jobs=${id}` },
    { label: "Report", href: address(`/v1/jobs/${id}/report`, { format: "html" }), isOutside: true },
    { label: "Report as CSV", href: address(`/v1/jobs/${id}/report`, { format: "csv" }), isOutside: true },
    { label: "Priority…", act: () => askPriority(job, answers, life), why: mayNot ?? (isOver ? "the job is over" : null) },
    { label: "Export…", act: () => askExport(job, answers, life), why: mayNot ?? noCheckpoint(job) },
    { label: "Name a model…", act: () => askModel(job, models, answers, life), why: mayNot ?? running ?? (models.length === 0 ? "the job has no checkpoint and no export" : null) },
    { label: "Delete…", act: () => askDelete(job, answers, life), why: mayNot ?? running },
  ];
}

/** @param {Job} job */
function noCheckpoint({ kind, artifacts }) {
  if (!HAS_DETECTOR.includes(kind)) return `a job of kind ${kind} has no detector of its own`;
  return artifacts.some(({ name }) => name === "best.pt") ? null : "the job has no checkpoint yet";
}

/** @param {Job} job @param {Answers} answers @param {AbortSignal} life */
function askPriority(job, { put }, life) {
  ask({
    title: `Priority of ${job.name}`,
    text: "Jobs with a higher number start first; new jobs have 0. If the cluster is full, an urgent job may pause one that allows it.",
    fields: [
      { name: "priority", label: "Priority", type: "number", value: job.priority, limits: { min: -100, max: 100, required: true } },
      { name: "preemptible", label: "May be paused for an urgent job", type: "checkbox", value: job.preemptible },
    ],
    action: "Change", send: async ({ priority, preemptible }) => put(await patch(job.job_id, { priority, preemptible })),
  }, life);
}

/** @param {Job} job @param {Answers} answers @param {AbortSignal} life */
function askExport(job, { say }, life) {
  ask({
    title: `Export ${job.name}`,
    text: "A new job writes the best checkpoint to a file for other programs, and compares its detections with those of PyTorch on validation images.",
    fields: [
      { name: "name", label: "Name of the new job", value: `export of ${job.name}`.slice(0, 100), limits: { required: true, maxLength: 100 } },
      { name: "format", label: "Format", options: ["onnx", "torch_export"], help: "onnx for onnxruntime and others; torch_export for PyTorch" },
      { name: "int8", label: "8-bit integers as well (ONNX)", type: "checkbox", value: false, help: "smaller and faster; calibrated and scored on the validation split" },
    ],
    action: "Submit",
    send: async ({ name, format, int8 }) => {
      const spec = { kind: "export", name, project: job.project, checkpoint: `job:${job.job_id}/best`, data: job.spec.data, formats: [format], int8 };
      const made = await change("POST", "/v1/jobs", spec);
      say("Submitted ", h("a", { href: `${BASE}/jobs/${encodeURIComponent(made.job_id)}` }, made.name), ".");
    },
  }, life);
}

/** @param {Job} job @param {string[]} files @param {Answers} answers @param {AbortSignal} life */
function askModel(job, files, { say }, life) {
  ask({
    title: "Name a model",
    text: "The file becomes the next version of the model. Its name is enough to predict with it: fgd predict NAME@ALIAS photos.",
    fields: [
      { name: "name", label: "Model", limits: { required: true, maxLength: 100, placeholder: "street-signs" } },
      { name: "artifact", label: "File", options: files, value: "best.pt" },
      { name: "alias", label: "Alias (may be empty)", limits: { maxLength: 40, placeholder: "production" }, help: "a stage such as staging or production; it moves to this version" },
    ],
    action: "Name",
    send: async ({ name, artifact, alias }) => {
      const path = `/v1/models/${encodeURIComponent(name)}`;
      const { version } = await change("POST", `${path}/versions`, { job_id: job.job_id, artifact });
      if (alias) await change("PUT", `${path}/aliases/${encodeURIComponent(alias)}?project=${encodeURIComponent(job.project)}`, { version });
      say(`${artifact} is version ${version} of `, h("a", { href: `${BASE}/models/${encodeURIComponent(name)}?project=${encodeURIComponent(job.project)}` }, name), alias && `, and ${alias} names it`, ".");
    },
  }, life);
}

/** @param {Job} job @param {Answers} answers @param {AbortSignal} life */
function askDelete(job, { say }, life) {
  const bytes = job.artifacts.reduce((sum, { size_bytes }) => sum + size_bytes, 0);
  ask({
    title: `Delete ${job.name}?`,
    text: `Its events, curves, logs, checkpoints and files (${size(bytes)}) are deleted. This cannot be undone.`,
    fields: [{ name: "force", label: "Also if an alias of a model names one of its files", type: "checkbox", value: false }],
    action: "Delete", send: async ({ force }) => { await remove(job.job_id, force); say("The job is deleted. ", h("a", { href: `${BASE}/` }, "All jobs")); },
  }, life);
}
