// @ts-check
import { THEME_CHANGED } from "../core/theme.js";
import { h } from "./html.js";

/** An element that draws on a canvas: once before the next picture, however often it is asked to, and after a change of colours. */
export class DrawingElement extends HTMLElement {
  canvas = h("canvas", { tabIndex: 0, role: "img" });
  #isDue = false;
  #onTheme = () => this.renew();

  connectedCallback() {
    addEventListener(THEME_CHANGED, this.#onTheme);
  }

  disconnectedCallback() {
    removeEventListener(THEME_CHANGED, this.#onTheme);
  }

  /** Draw everything anew: the size or the colours have changed. */
  renew() {
    this.redraw();
  }

  redraw() {
    if (this.#isDue) return;
    this.#isDue = true;
    requestAnimationFrame(() => {
      this.#isDue = false;
      if (this.isConnected && this.isVisible) this.draw();
    });
  }

  /** Whether it is worth drawing; an element that is not asks for `redraw` when it becomes visible. */
  get isVisible() {
    return true;
  }

  /** @abstract */
  draw() {}
}

/**
 * Empty a canvas, and return a pen that measures in the page's pixels.
 * @param {HTMLCanvasElement} canvas
 * @param {number} width
 * @param {number} height
 * @param {number} [ratio] Of the canvas's pixels to the page's.
 */
export function emptied(canvas, width, height, ratio = devicePixelRatio) {
  [canvas.width, canvas.height] = [width * ratio, height * ratio];
  const pen = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  pen.scale(ratio, ratio);
  return pen;
}
