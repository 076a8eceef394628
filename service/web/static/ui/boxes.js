// @ts-check
import { h } from "./html.js";

/** @typedef {{ box_xyxy_px: [number, number, number, number], caption: string, verdict: string }} Box */

const SVG = "http://www.w3.org/2000/svg";

/**
 * An image with boxes, and maybe a map, over it. The verdict of a box is shown by its colour and by its line: solid for
 * right, dashed for wrong, dotted for missed.
 * @param {object} options
 * @param {string} options.src
 * @param {number} options.width In pixels of the boxes.
 * @param {number} options.height
 * @param {Box[]} options.boxes
 * @param {string | null} [options.map] Address of a transparent picture that covers the image.
 * @param {string} options.alt
 */
export function boxedImage({ src, width, height, boxes, map = null, alt }) {
  const layer = svg("svg", { viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" });
  layer.append(...boxes.map(drawn));
  const frame = h("span", { className: "boxed" }, h("img", { src, alt, width, height }), map && h("img", { className: "map", src: map, alt: "" }), layer);
  return frame;
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
