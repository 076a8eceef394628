// @ts-check
import { BASE, get } from "../core/api.js";
import { boxedImage, verdictCounts } from "../ui/boxes.js";
import { fill, h } from "../ui/html.js";
import { OVER, tried } from "../ui/parts.js";

/** @typedef {import("../core/compared.js").Run} Run */
/** @typedef {{ name: string, boxes: import("../ui/boxes.js").Box[] }} Panel */
/** @typedef {{ image_id: number, file_name: string, width: number, height: number, num_disputed: number, jpeg: string | null, picture_url: string | null, panels: Panel[] }} DisputedImage */
/** @typedef {{ items: DisputedImage[], num_images: number, num_disputed: number, left_out: { loc: string, code: string, message: string }[], next_cursor: string | null }} DisputedImages */

const AT_ONCE = 12;
const MOST_JOBS = 8;

/** The validation images on which the runs disagree, the largest disagreement first. A run joins when it ends. */
export class ImagesPart {
  /** The jobs; trials keep no detections. @type {Run[]} */
  #jobs = [];
  #isNear = false;
  /** For which jobs, in which states, the images were read. */
  #readFor = "";
  #trouble = h("div");
  #waiting = h("div", { role: "status" });
  #place = h("div");
  element = h("section", {}, h("h2", {}, "Images where they disagree"), this.#waiting, this.#trouble, this.#place);

  /** @param {AbortSignal} life */
  constructor(life) {
    this.#life = life;
    const nearness = new IntersectionObserver(([entry]) => { this.#isNear = entry.isIntersecting; this.#update(); }, { rootMargin: "400px" });
    nearness.observe(this.element);
    life.addEventListener("abort", () => nearness.disconnect());
  }

  #life;

  /** @param {Run[]} runs */
  show(runs) {
    this.#jobs = runs.filter(({ trial }) => trial === null).slice(0, MOST_JOBS);
    this.element.hidden = this.#jobs.length < 2;
    fill(this.#waiting, this.#jobs.filter(({ state }) => !OVER.includes(state)).map(stillRuns));
    this.#update();
  }

  /** Images are large: they are read when they come near the screen, and again when a job ends. */
  #update() {
    const readFor = this.#jobs.map(({ jobId, state }) => `${jobId} ${OVER.includes(state)}`).join();
    if (!this.#isNear || readFor === this.#readFor || this.#jobs.length < 2) return;
    this.#readFor = readFor;
    const gallery = h("div", { className: "gallery" });
    const more = h("button", { type: "button", hidden: true }, "Show more");
    fill(this.#place, h("p", { className: "faint" }, "Comparing the detections …"));
    const shown = (/** @type {DisputedImages} */ page) => {
      if (readFor !== this.#readFor) return;
      if (this.#place.contains(gallery)) gallery.append(...page.items.map(rowOf));
      else { fill(gallery, page.items.map(rowOf)); fill(this.#place, summaryOf(page), gallery, more); }
      more.hidden = page.next_cursor === null;
      more.onclick = () => { more.hidden = true; this.#read(page.next_cursor, shown); };
    };
    this.#read(null, shown);
  }

  /** @param {string | null} cursor @param {(page: DisputedImages) => void} show */
  #read(cursor, show) {
    const job = this.#jobs.map(({ jobId }) => jobId);
    tried(this.#trouble, this.#life, async () => show(await get("/v1/compare/images", { query: { job, limit: AT_ONCE, cursor }, life: this.#life })));
  }
}

/** @param {Run} run */
function stillRuns({ name, state, progress }) {
  return h("p", { className: "notice" }, `${name} is ${state}${progress ? `, ${progress}` : ""}. Its curves grow above; its detections join here when it ends.`);
}

/** @param {DisputedImages} page */
function summaryOf({ num_images, num_disputed, left_out }) {
  const found = num_images === 0 ? "Two jobs that were evaluated on the same images are needed."
    : num_disputed === 0 ? `None: on all ${num_images.toLocaleString("en")} validation images the jobs find the same objects.`
    : `${num_disputed.toLocaleString("en")} of ${num_images.toLocaleString("en")} validation images; those with the most objects that only some of the jobs find come first. Detections have a score of at least 0.3. Put the pointer on a box for its class and score.`;
  const reasons = left_out.filter(({ code }) => code !== "not_finished");
  return h("div", {}, h("p", { className: "faint" }, found), reasons.length > 0 && h("ul", { className: "findings" }, reasons.map(({ message }) => h("li", { className: "warning" }, message))));
}

/** @param {DisputedImage} image */
function rowOf({ file_name, width, height, num_disputed, jpeg, picture_url: url, panels }) {
  const src = jpeg !== null ? `data:image/jpeg;base64,${jpeg}` : url !== null ? `${BASE}${url}` : null;
  const about = `${num_disputed === 1 ? "1 object" : `${num_disputed} objects`} found by some only${src === null ? "; no run has kept this picture, and the server cannot read the data set" : ""}`;
  return h("section", {}, h("h3", {}, file_name, " ", h("small", { className: "faint" }, about)), h("div", { className: "panels" }, panels.map(({ name, boxes }) => h(
    "figure", {}, boxedImage({ src, width, height, boxes, alt: `${file_name} with the boxes of ${name}: ${verdictCounts(boxes)}` }),
    h("figcaption", {}, name, h("small", {}, verdictCounts(boxes))),
  ))));
}
