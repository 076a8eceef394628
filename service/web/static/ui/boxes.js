// @ts-check
import { h } from "./html.js";

/** @typedef {{ box_xyxy_px: [number, number, number, number], caption: string, verdict: string }} Box */

const SVG = "http://www.w3.org/2000/svg";
export const VERDICTS = ["right", "wrong", "missed"];

/** Return how many boxes are right, wrong and missed: `3 right, 1 missed`. @param {Box[]} boxes */
export function verdictCounts(boxes) {
  const parts = VERDICTS.map((verdict) => ({ verdict, count: boxes.filter((box) => box.verdict === verdict).length }));
  return parts.filter(({ count }) => count > 0).map(({ verdict, count }) => `${count} ${verdict}`).join(", ") || "nothing";
}

/**
 * An image with boxes, and maybe a map, over it. The verdict of a box is shown by its colour and by its line: solid for
 * right, dashed for wrong, dotted for missed.
 * @param {object} options
 * @param {string | null} options.src Null draws the boxes on an empty frame.
 * @param {number} options.width In pixels of the boxes.
 * @param {number} options.height
 * @param {Box[]} options.boxes
 * @param {string | null} [options.map] Address of a transparent picture that covers the image.
 * @param {string} options.alt
 */
export function boxedImage({ src, width, height, boxes, map = null, alt }) {
  const layer = svg("svg", { viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" });
  layer.append(...boxes.map(drawn));
  const image = src === null ? h("span", { className: "blank", role: "img", "aria-label": alt }) : h("img", { src, alt, width, height, loading: "lazy" });
  image.style.aspectRatio = `${width} / ${height}`;
  return h("span", { className: "boxed" }, image, map && h("img", { className: "map", src: map, alt: "" }), layer);
}

/** @param {Box} box */
function drawn({ box_xyxy_px: [left, top, right, bottom], caption, verdict }) {
  const shape = svg("rect", { class: `box ${verdict}`, x: left, y: top, width: right - left, height: bottom - top });
  const title = svg("title", {});
  title.textContent = `${verdict}: ${caption}`;
  shape.append(title);
  return shape;
}

/** @param {string} name @param {Record<string, string | number>} attributes */
function svg(name, attributes) {
  const element = document.createElementNS(SVG, name);
  for (const [attribute, value] of Object.entries(attributes)) element.setAttribute(attribute, String(value));
  return element;
}
