// @ts-check
import { get } from "./api.js";

/**
 * @typedef {object} Setting
 * @property {string} path
 * @property {string} type In words.
 * @property {boolean} required
 * @property {unknown} default
 * @property {(string | number | boolean)[] | null} values
 * @property {string | null} section
 * @property {number | null} minimum
 * @property {number | null} exclusive_minimum
 * @property {number | null} maximum
 * @property {number | null} exclusive_maximum
 * @property {string} help
 */
/** @typedef {{ name: string, chosen_by: string, help: string, settings: Setting[] }} Entry */
/** @typedef {{ name: string, publication: { student: string, teacher: string } }} Recipe */
/** @typedef {Record<string, Entry[]> & { recipes: Recipe[] }} Catalogue */
/** @typedef {Record<string, any>} Spec */

/** A setting at its place in a spec. @typedef {{ path: string, setting: Setting, isList: boolean }} Field */

/** @type {Promise<Catalogue> | null} */
let known = null;

/** What a spec can contain. It is read once, because it does not change while the server runs. */
export function catalogue() {
  known ??= get("/v1/catalogue").catch((error) => { known = null; throw error; });
  return known;
}

/**
 * Return the value at a path; undefined if there is none.
 * @param {unknown} value
 * @param {string} path
 * @returns {any}
 */
export function at(value, path) {
  return path.split(".").reduce((/** @type {any} */ inner, name) => (inner !== null && typeof inner === "object" ? inner[name] : undefined), value);
}

/**
 * List the fields that a spec can have, with those of the entries that it has chosen.
 * @param {Catalogue} all
 * @param {Spec} spec
 * @returns {Field[]}
 */
export function fieldsOf(all, spec) {
  const entry = entryOf(all, "jobs", spec);
  return entry === null ? [] : [...fields(all, entry, spec, "")];
}

/**
 * Return the entry that a part of a spec has chosen; null if it has chosen none.
 * @param {Catalogue} all
 * @param {string} section
 * @param {unknown} part
 */
export function entryOf(all, section, part) {
  return all[section].find(({ name, chosen_by }) => at(part, chosen_by) === name) ?? null;
}

/** @param {Catalogue} all @param {Entry} entry @param {Spec} spec @param {string} prefix @returns {Generator<Field>} */
function* fields(all, entry, spec, prefix) {
  const lists = entry.settings.filter(({ type }) => type.startsWith("list")).map(({ path }) => `${path}.`);
  for (const setting of entry.settings) {
    // The items of a list are written in the text; the server resolves names itself.
    if (lists.some((list) => setting.path.startsWith(list)) || setting.path.startsWith("resolved")) continue;
    const path = `${prefix}${setting.path}`;
    yield { path, setting, isList: setting.type.startsWith("list") || setting.type.startsWith("for each") };
    if (setting.section === null || setting.type.startsWith("list") || setting.type.startsWith("for each")) continue;
    const chosen = entryOf(all, setting.section, at(spec, path));
    if (chosen !== null) yield* fields(all, chosen, spec, `${path}.`);
  }
}

/**
 * Return the changes that choose another entry, and remove what the new one does not have.
 * @param {Catalogue} all
 * @param {string} section
 * @param {unknown} part As it is now.
 * @param {string} path Of the part; empty for the whole spec.
 * @param {string} name
 */
export function choice(all, section, part, path, name) {
  const prefix = path && `${path}.`;
  const entry = /** @type {Entry} */ (all[section].find((each) => each.name === name));
  const kept = new Set([entry.chosen_by, ...entry.settings.map((setting) => setting.path.split(".")[0])]);
  const present = part !== null && typeof part === "object" ? Object.keys(part) : [];
  return { changes: { [`${prefix}${entry.chosen_by}`]: name }, removed: present.filter((key) => !kept.has(key)).map((key) => `${prefix}${key}`) };
}
