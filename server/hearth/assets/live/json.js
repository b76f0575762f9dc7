// JSON as text: laid out and taken apart without being parsed, because parsing loses what a number looked like (`3.0` is a
// double, `3` an integer). It expects JSON that is well-formed, as the server sends it.

/** Strings, punctuation, and everything else that stands together. */
const TOKEN = /"(?:[^"\\]|\\.)*"|[{}[\],:]|[^\s{}[\],:"]+/g;

/**
 * @param {string} json
 * @returns {string} the same with a line for each member and two spaces for each level
 */
export function pretty(json) {
  const tokens = json.match(TOKEN) ?? [];
  let depth = 0;
  let out = '';
  tokens.forEach((token, at) => {
    const line = () => `\n${'  '.repeat(depth)}`;
    const before = tokens[at - 1] ?? '';
    if (token === '}' || token === ']') {
      depth--;
      out += '{['.includes(before) && before ? token : line() + token;
      return;
    }
    if (before === '{' || before === '[' || before === ',') out += line();
    out += token === ':' ? ': ' : token;
    if (token === '{' || token === '[') depth++;
  });
  return out;
}

/**
 * @param {string} json an object
 * @param {string} name
 * @returns {string | null} the text of the member of that name, null when there is none
 */
export function memberOf(json, name) {
  let depth = 0;
  let key = '';
  let start = -1;
  for (const { 0: token, index } of json.matchAll(TOKEN)) {
    if (depth === 1 && start >= 0 && (token === ',' || token === '}')) return json.slice(start, index).trim();
    if (token === '{' || token === '[') depth++;
    else if (token === '}' || token === ']') depth--;
    else if (depth === 1 && token === ':') {
      if (key === name) start = index + 1;
    } else if (depth === 1 && start < 0 && token.startsWith('"')) key = JSON.parse(token);
  }
  return null;
}

/**
 * Reads JSON and keeps a double one: `51.0` becomes `{"$double":51}`, which means the same. Where the browser does not show
 * the text of a number (before Chromium 114, Firefox 135, Safari 18.4) it is read as anywhere else.
 *
 * @param {string} text
 * @returns {unknown}
 */
export function parseExact(text) {
  return JSON.parse(text, /** @type {(key: string, value: unknown) => unknown} */ (keepDouble));
}

/**
 * @param {string} _
 * @param {unknown} value
 * @param {{ source?: string }} [context] the text as it stood, where it is shown
 * @returns {unknown}
 */
export function keepDouble(_, value, context) {
  const isDouble = typeof value === 'number' && Number.isInteger(value) && /[.eE]/.test(context?.source ?? '');
  return isDouble ? { $double: value } : value;
}

/**
 * The text of JSON that {@link parseExact} has read, a double again as one.
 *
 * @param {unknown} json
 * @returns {string}
 */
export function textOf(json) {
  if (Array.isArray(json)) return `[${json.map(textOf).join(',')}]`;
  if (typeof json !== 'object' || json === null) return JSON.stringify(json);
  const members = Object.entries(json);
  const [first] = members;
  if (members.length === 1 && first?.[0] === '$double' && typeof first[1] === 'number') {
    const text = JSON.stringify(first[1]);
    return text.includes('e') ? text : `${text}.0`;
  }
  return `{${members.map(([name, value]) => `${JSON.stringify(name)}:${textOf(value)}`).join(',')}}`;
}
