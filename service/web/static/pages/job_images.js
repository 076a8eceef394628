// @ts-check
import { pathOf } from "../core/actions.js";
import { BASE, get } from "../core/api.js";
import { boxedImage, VERDICTS, verdictCounts } from "../ui/boxes.js";
import { fill, h } from "../ui/html.js";
import { OVER, tried } from "../ui/parts.js";

/** @typedef {import("../core/types.js").Job} Job */
/** @typedef {import("../core/router.js").Query} Query */
/**
 * @typedef {object} JudgedImage
 * @property {number} image_id
 * @property {string} file_name
 * @property {number} width
 * @property {number} height
 * @property {string} jpeg In base64.
 * @property {{ name: string, boxes: import("../ui/boxes.js").Box[] }[]} panels
 * @property {{ name: string, png: string }[]} maps In base64.
 */

/** Pictures of a job that it draws itself, in this order. @type {[string, string][]} */
const PICTURES = [["samples.png", "Sample detections"], ["samples_train.png", "Samples of the training split"], ["samples_val.png", "Samples of the validation split"]];

/** The images on which the detector errs most, its teachers and other jobs beside it; and sample detections. */
export class ImagesTab {
  #worst = h("section");
  #samples = h("section");
  #trouble = h("div");
  #shown = "";
  /** @type {JudgedImage[]} */
  #images = [];

  /** @param {string} jobId @param {Query} query @param {AbortSignal} life */
  constructor(jobId, query, life) {
    this.#jobId = jobId;
    this.#query = query;
    this.#life = life;
    this.element = h("div", {}, this.#trouble, this.#worst, this.#samples);
    query.watch(() => this.#onQuery(), life);
  }

  #jobId;
  #query;
  #life;
  #beside = "";

  /** @param {Job} job */
  setJob(job) {
    const text = JSON.stringify([job.state, job.artifacts.map(({ sha256 }) => sha256)]);
    if (text === this.#shown) return;
    this.#shown = text;
    fill(this.#samples, samplesOf(job));
    this.#read(job);
  }

  #onQuery() {
    if (this.#query.get("beside") !== this.#beside) this.#read(null);
    else this.#show(null);
  }

  /** @param {Job | null} job */
  #read(job) {
    this.#beside = this.#query.get("beside");
    const beside = this.#beside.split(",").filter(Boolean);
    tried(this.#trouble, this.#life, async () => {
      const { images } = await get(`${pathOf(this.#jobId)}/worst-images`, { query: { with: beside }, life: this.#life });
      this.#images = images;
      this.#show(job);
    });
  }

  /** @param {Job | null} job */
  #show(job) {
    if (this.#images.length > 0) fill(this.#worst, this.#controls(), h("div", { className: "gallery" }, this.#images.map((image) => this.#row(image))));
    else if (job !== null) fill(this.#worst, h("h2", {}, "Worst images"), h("p", { className: "faint" }, whyNone(job)));
  }

  #controls() {
    const maps = [...new Set(this.#images.flatMap(({ maps }) => maps.map(({ name }) => name)))];
    const map = h("select", { "aria-label": "Map", on: { change: () => this.#query.write({ map: map.value }, { replace: true }) } }, h("option", { value: "" }, "no map"), maps.map((name) => h("option", { value: name }, name)));
    map.value = this.#query.get("map");
    const hidden = this.#hidden();
    const verdicts = VERDICTS.map((verdict) => h("button", {
      type: "button", className: "choice", ariaPressed: String(!hidden.includes(verdict)), on: { click: () => this.#query.write({ hide: hidden.includes(verdict) ? hidden.filter((each) => each !== verdict) : [...hidden, verdict] }, { replace: true }) },
    }, h("i", { className: `key ${verdict}` }), verdict));
    const beside = h("input", { type: "text", size: 18, value: this.#beside, placeholder: "id of another job", "aria-label": "Beside: id of another job", on: { change: () => this.#query.write({ beside: beside.value.trim() }, { replace: true }) } });
    return h(
      "div", {}, h("div", { className: "bar" }, h("h2", {}, "Worst images"), h("span", { className: "choices", role: "group", "aria-label": "Boxes" }, verdicts), map, beside),
      h("p", { className: "faint" }, "The validation images on which the best checkpoint makes the most errors at a score of at least 0.3. Put the pointer on a box for its class and score."),
    );
  }

  #hidden() {
    return this.#query.all("hide").filter((verdict) => VERDICTS.includes(verdict));
  }

  /** @param {JudgedImage} image */
  #row({ file_name, width, height, jpeg, panels, maps }) {
    const map = maps.find(({ name }) => name === this.#query.get("map"));
    const hidden = this.#hidden();
    const picture = (/** @type {JudgedImage["panels"][number]} */ { name, boxes }) => h(
      "figure", {}, boxedImage({
        src: `data:image/jpeg;base64,${jpeg}`, map: map ? `data:image/png;base64,${map.png}` : null, width, height,
        boxes: boxes.filter(({ verdict }) => !hidden.includes(verdict)), alt: `${file_name} with the boxes of ${name}: ${verdictCounts(boxes)}`,
      }), h("figcaption", {}, name, h("small", {}, verdictCounts(boxes))),
    );
    return h("section", {}, h("h3", {}, file_name), h("div", { className: "panels" }, panels.map(picture)));
  }
}

/** @param {Job} job */
function whyNone(job) {
  if (!["train", "distill", "chain", "evaluate"].includes(job.kind)) return `A job of kind ${job.kind} keeps no such images.`;
  if (!OVER.includes(job.state)) return "A run keeps them at its end, after the last evaluation.";
  return "The job has kept none: its detector made no error, or it ended before its last evaluation.";
}

/** @param {Job} job */
function samplesOf({ artifacts }) {
  return PICTURES.flatMap(([file, title]) => {
    const artifact = artifacts.find(({ name, media_type }) => name === file && media_type === "image/png");
    return artifact ? [h("h2", {}, title), h("img", { className: "samples", loading: "lazy", alt: `${title}, drawn by the run`, src: `${BASE}${artifact.url}` })] : [];
  });
}
