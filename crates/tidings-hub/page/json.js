// JSON, indented for reading without a change to its values: what goes through `JSON.parse`
// and back would lose the digits of large numbers and the repeats of a key.

/** The indentation of deeper JSON would take far more characters than the JSON. */
const DEPTH_MAX = 100;

/**
 * @param {string} text
 * @returns {string | null} null if `text` is not a JSON object or array, or is too deep
 */
export function indentJson(text) {
  if (!/^\s*[{[]/.test(text)) return null;
  try {
    JSON.parse(text);
  } catch {
    return null;
  }
  let depth = 0;
  let out = "";
  let before = "";
  for (const token of text.match(/"(?:[^"\\]|\\.)*"|[{}[\],:]|[^\s{}[\],:"]+/g) ?? []) {
    const closes = token === "}" || token === "]";
    if (closes) depth -= 1;
    const opened = before === "{" || before === "[";
    if (before !== "" && before !== ":" && token !== "," && token !== ":" && !(opened && closes)) {
      out += `\n${"  ".repeat(depth)}`;
    }
    out += token === ":" ? ": " : token;
    if (token === "{" || token === "[") depth += 1;
    if (depth > DEPTH_MAX) return null;
    before = token;
  }
  return out;
}
