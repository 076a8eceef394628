// @ts-check

/**
 * A value with readers. However often the value changes, each reader is called once before the next picture; in a
 * hidden tab there is no next picture, so nothing is drawn.
 * @template T
 */
export class Store {
  /** @type {Set<(value: T) => void>} */
  #readers = new Set();
  #isDue = false;

  /** @param {T} value */
  constructor(value) {
    this.value = value;
  }

  /** @param {T} value */
  set(value) {
    this.value = value;
    if (this.#isDue) return;
    this.#isDue = true;
    requestAnimationFrame(() => {
      this.#isDue = false;
      for (const reader of this.#readers) reader(this.value);
    });
  }

  /**
   * Call `reader` with the value now and after each change, until the life ends.
   * @param {(value: T) => void} reader
   * @param {AbortSignal} life
   */
  watch(reader, life) {
    this.#readers.add(reader);
    life.addEventListener("abort", () => this.#readers.delete(reader));
    reader(this.value);
  }
}
