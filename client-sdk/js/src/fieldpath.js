// The way to a field inside a document, as a list of names and as text with back-ticks. It looks into no document.

import { invalid } from './errors.js';

const PLAIN = /^[A-Za-z_][A-Za-z0-9_]*$/;

/** Names of nested fields, outermost first. `new FieldPath('a', 'b.c')` is the field `b.c` of the map `a`. */
export class FieldPath {
  /** @param {...string} names at least one, none empty */
  constructor(...names) {
    if (names.length === 0) throw invalid('a field path needs at least one name');
    for (const name of names) {
      if (typeof name !== 'string' || name === '') throw invalid('a name in a field path is empty or not text');
    }
    /** @readonly @type {readonly string[]} */
    this.names = Object.freeze([...names]);
  }

  /**
   * @param {FieldPath} other
   * @returns {boolean}
   */
  isEqual(other) {
    return other instanceof FieldPath && printPath(this) === printPath(other);
  }

  /** The path as the server writes it: plain names joined by dots, others in back-ticks. */
  toString() {
    return printPath(this);
  }
}

/** The document's own name as a field: for `where` and `orderBy`. */
export function documentId() {
  return DOCUMENT_ID;
}

const DOCUMENT_ID = new FieldPath('__name__');

/**
 * Reads a field path. Dots part names; back-ticks quote one, and inside them a backslash escapes a back-tick or a backslash.
 *
 * @param {string | FieldPath} path
 * @returns {FieldPath}
 */
export function fieldPath(path) {
  if (path instanceof FieldPath) return path;
  if (typeof path !== 'string') throw invalid('a field path is text or a FieldPath');
  /** @type {string[]} */
  const names = [];
  const name = /(?:`((?:[^`\\]|\\[`\\])*)`|([^.`]+))(\.|$)/y;
  for (let more = true; more; ) {
    const found = name.exec(path);
    if (!found) throw invalid(`the field path ${JSON.stringify(path)} does not make sense`);
    names.push(found[2] ?? (found[1] ?? '').replace(/\\([`\\])/g, '$1'));
    more = found[3] === '.';
  }
  return new FieldPath(...names);
}

/**
 * @param {FieldPath} path
 * @returns {string}
 */
export function printPath(path) {
  return path.names.map(name => (PLAIN.test(name) ? name : `\`${name.replace(/[`\\]/g, '\\$&')}\``)).join('.');
}
