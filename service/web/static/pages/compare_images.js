// @ts-check
import { get } from "../core/api.js";
import { boxedImage } from "../ui/boxes.js";
import { fill, h } from "../ui/html.js";
import { OVER, tried } from "../ui/parts.js";

/** @typedef {import("../core/compared.js").Run} Run */
/** @typedef {{ name: string, boxes: import("../ui/boxes.js").Box[] }} Panel */
/** @typedef {{ image_id: number, file_name: string, width: number, height: number, jpeg: string, panels: Panel[] }} JudgedImage */

const MOST_IMAGES = 12;
const VERDICTS = ["right", "wrong", "missed"];

/** Images on which the runs disagree, among those that each run keeps because it errs most there. */
export class ImagesPart {
  /** @type {Run[]} */
  #runs = [];
  #isNear = false;
  /** For which runs the images were read. */
  #readFor = "";
  #trouble = h("div");
  #place = h("div");
  element = h("section", {}, h("h2", {}, "Images where they disagree"), this.#trouble, this.#place);

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
    this.#runs = runs.filter(({ trial, state }) => trial === null && OVER.includes(state));
    this.element.hidden = runs.length < 2;
    this.#update();
  }

  /** Images are large: they are read when they come near the screen. */
  #update() {
    const ids = this.#runs.map(({ jobId }) => jobId);
    if (!this.#isNear || ids.join() === this.#readFor) return;
    this.#readFor = ids.join();
    if (ids.length < 2) { fill(this.#place, h("p", { className: "faint" }, "Runs keep their worst images at their end; two finished jobs are needed.")); return; }
    fill(this.#place, h("p", { className: "faint" }, "Reading the images …"));
    tried(this.#trouble, this.#life, async () => {
      const answers = await Promise.all(ids.map((id) => this.#imagesOf(id, ids.filter((each) => each !== id))));
      if (ids.join() === this.#readFor) fill(this.#place, this.#parts(answers.flat()));
    });
  }

  /** @param {string} jobId @param {string[]} others @returns {Promise<JudgedImage[]>} */
  async #imagesOf(jobId, others) {
    const { images } = await get(`/v1/jobs/${encodeURIComponent(jobId)}/worst-images`, { query: { with: others }, life: this.#life });
    return images;
  }

  /** @param {JudgedImage[]} images */
  #parts(images) {
    const names = this.#runs.map(({ name }) => name);
    const merged = [...Map.groupBy(images, ({ image_id }) => image_id).values()].map((same) => ({ ...same[0], panels: inOrder(same.flatMap(({ panels }) => panels), names) }));
    const different = merged.filter((image) => disagreement(image) > 0).sort((a, b) => disagreement(b) - disagreement(a));
    if (different.length === 0) return h("p", { className: "faint" }, "None: the runs have kept no images of the same data, or they are right on the same objects there.");
    return [
      h("p", { className: "faint" }, `${different.length > MOST_IMAGES ? `The first ${MOST_IMAGES} of ${different.length}` : different.length} of the images that a run keeps because it errs most there; the largest disagreement comes first. Detections have a score of at least 0.3. Put the pointer on a box for its class and score.`),
      h("div", { className: "gallery" }, different.slice(0, MOST_IMAGES).map(rowOf)),
    ];
  }
}

/** The panels of the runs; those of teachers are left out. @param {Panel[]} panels @param {string[]} names */
function inOrder(panels, names) {
  return names.flatMap((name) => panels.find((panel) => panel.name === name) ?? []);
}

/** Difference between the runs in how many objects they found, and then in how many detections are wrong. @param {JudgedImage} image */
function disagreement({ panels }) {
  const spread = (/** @type {string} */ verdict) => {
    const counts = panels.map(({ boxes }) => boxes.filter((box) => box.verdict === verdict).length);
    return counts.length < 2 ? 0 : Math.max(...counts) - Math.min(...counts);
  };
  return spread("right") + spread("wrong") / 1000;
}

/** @param {JudgedImage} image */
function rowOf({ file_name, width, height, jpeg, panels }) {
  return h("section", {}, h("h3", {}, file_name), h("div", { className: "panels" }, panels.map(({ name, boxes }) => h(
    "figure", {}, boxedImage({ src: `data:image/jpeg;base64,${jpeg}`, width, height, boxes, alt: `${file_name} with the boxes of ${name}: ${counts(boxes)}` }),
    h("figcaption", {}, name, h("small", {}, counts(boxes))),
  ))));
}

/** @param {import("../ui/boxes.js").Box[]} boxes */
function counts(boxes) {
  const parts = VERDICTS.map((verdict) => ({ verdict, count: boxes.filter((box) => box.verdict === verdict).length }));
  return parts.filter(({ count }) => count > 0).map(({ verdict, count }) => `${count} ${verdict}`).join(", ") || "nothing";
}
