// @ts-check

/**
 * Return the fields of a spec by path, each with its value as JSON.
 * @param {unknown} value
 * @param {string} [path]
 * @param {Map<string, string>} [found]
 */
export function flattened(value, path = "", found = new Map()) {
  if (value === null || typeof value !== "object" || Object.keys(value).length === 0) return found.set(path, JSON.stringify(value));
  for (const [name, each] of Object.entries(value)) flattened(each, path ? `${path}.${name}` : name, found);
  return found;
}

/**
 * Return the paths at which not all of several specs have the same value.
 * @param {Map<string, string>[]} specs
 */
export function differing(specs) {
  const paths = [...new Set(specs.flatMap((fields) => [...fields.keys()]))];
  return paths.filter((path) => new Set(specs.map((fields) => fields.get(path))).size > 1);
}
