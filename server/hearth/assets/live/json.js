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
