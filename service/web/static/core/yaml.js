// @ts-check

/** Words that YAML 1.1 reads as something else than text. */
const RESERVED = /^(true|false|yes|no|on|off|y|n|null)$/i;
const PLAIN = /^[A-Za-z_/][\w ./-]*(?<! )$/;
/** JSON leaves these as they are, and YAML forbids them. */
const FORBIDDEN = /[\u007f-\u009f\u2028\u2029\ufeff]/g;

/**
 * Write a JSON value as YAML in block style. Every reader of YAML 1.1 or 1.2 gets the same value back.
 * @param {unknown} value
 * @returns {string} Ends with a line feed.
 */
export function toYaml(value) {
  return `${block(value, "").replace(/^\n/, "")}\n`;
}

/** @param {unknown} value @param {string} indent @returns {string} A scalar, or lines that begin with a line feed. */
function block(value, indent) {
  if (Array.isArray(value) && value.length > 0) {
    return value.map((each) => `\n${indent}- ${block(each, `${indent}  `).trimStart()}`).join("");
  }
  if (typeof value === "object" && value !== null && Object.keys(value).length > 0) {
    return Object.entries(value).map(([name, each]) => `\n${indent}${text(name)}:${spaced(block(each, `${indent}  `))}`).join("");
  }
  return scalar(value);
}

/** @param {string} written */
function spaced(written) {
  return written.startsWith("\n") ? written : ` ${written}`;
}

/** @param {unknown} value */
function scalar(value) {
  if (typeof value === "string") return text(value);
  // Without a point, YAML 1.1 reads 1e-7 as text.
  if (typeof value === "number") return String(value).replace(/^(-?\d+)e/, "$1.0e");
  return JSON.stringify(value);
}

/** @param {string} value */
function text(value) {
  if (PLAIN.test(value) && !RESERVED.test(value)) return value;
  return JSON.stringify(value).replace(FORBIDDEN, (sign) => `\\u${sign.charCodeAt(0).toString(16).padStart(4, "0")}`);
}
