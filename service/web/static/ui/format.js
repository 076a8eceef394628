// @ts-check

const UNITS = /** @type {const} */ ([["d", 86_400], ["h", 3_600], ["min", 60], ["s", 1]]);
const SIZES = ["B", "kB", "MB", "GB", "TB"];

/**
 * Write a number for people: three or four significant digits.
 * @param {number | null | undefined} value
 */
export function number(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e6)) return value.toExponential(2);
  if (Number.isInteger(value)) return value.toLocaleString("en");
  return value.toFixed(size >= 100 ? 1 : size >= 1 ? 2 : 4);
}

/**
 * Write an average precision in [0, 1].
 * @param {number | null | undefined} value
 */
export function score(value) {
  return value === null || value === undefined ? "–" : value.toFixed(3);
}

/**
 * Write a duration with its two largest units: `2 h 5 min`.
 * @param {number | null | undefined} seconds
 */
export function duration(seconds) {
  if (seconds === null || seconds === undefined || !Number.isFinite(seconds)) return "–";
  const whole = Math.max(0, Math.round(seconds));
  const first = UNITS.findIndex(([, size]) => whole >= size);
  if (first < 0) return "0 s";
  const [unit, size] = UNITS[first];
  const next = UNITS[first + 1];
  const rest = next ? Math.floor((whole % size) / next[1]) : 0;
  return `${Math.floor(whole / size)} ${unit}${next && rest ? ` ${rest} ${next[0]}` : ""}`;
}

/** @param {number} bytes */
export function size(bytes) {
  const power = Math.min(SIZES.length - 1, bytes > 0 ? Math.floor(Math.log10(bytes) / 3) : 0);
  const value = bytes / 1000 ** power;
  return `${value >= 100 || power === 0 ? Math.round(value) : value.toFixed(1)} ${SIZES[power]}`;
}

/**
 * @param {string | null} text A time in ISO 8601.
 * @param {boolean} [hasSeconds]
 * @returns {string} In the browser's zone.
 */
export function time(text, hasSeconds = false) {
  return text === null ? "–" : new Date(text).toLocaleString("sv").slice(0, hasSeconds ? 19 : 16);
}

/** @param {string | null} from @param {string | null} to Null: now. */
export function secondsBetween(from, to) {
  return from === null ? null : ((to === null ? Date.now() : Date.parse(to)) - Date.parse(from)) / 1000;
}
