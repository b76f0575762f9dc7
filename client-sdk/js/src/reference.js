// Names of places: documents and collections, and the queries that start from a collection. They hold no data and open nothing.

import { invalid } from './errors.js';

/** @typedef {import('./firestore.js').Firestore} Firestore */
/** @typedef {import('./query.js').QuerySpec} QuerySpec */
/** @typedef {{ [field: string]: unknown }} DocumentData */

/** Letters of an automatic id: 62 of them, twenty of which hold 119 bits. */
const LETTERS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789';

/**
 * The name of a document, which may or may not exist.
 *
 * @template [T=DocumentData]
 */
export class DocumentReference {
  /**
   * @param {Firestore} firestore
   * @param {string} path an even number of segments
   */
  constructor(firestore, path) {
    /** @readonly @type {'document'} */
    this.type = 'document';
    /** @readonly */
    this.firestore = firestore;
    /** @readonly */
    this.path = path;
    /** Only a type: what the document holds. @readonly @type {T | undefined} */
    this.holds = undefined;
  }

  get id() {
    return lastSegment(this.path);
  }

  /** The collection it is in. */
  get parent() {
    return /** @type {CollectionReference<T>} */ (new CollectionReference(this.firestore, parentPath(this.path)));
  }
}

/**
 * What to look for. Made by {@link import('./query.js').query} and `collectionGroup`; a collection is one too.
 *
 * @template [T=DocumentData]
 */
export class Query {
  /**
   * @param {Firestore} firestore
   * @param {QuerySpec} spec
   */
  constructor(firestore, spec) {
    /** @readonly @type {'query' | 'collection'} */
    this.type = 'query';
    /** @readonly */
    this.firestore = firestore;
    /** @readonly @internal */
    this.spec = spec;
    /** Only a type: what the documents hold. @readonly @type {T | undefined} */
    this.holds = undefined;
  }
}

/**
 * The name of a collection, and the query for all its documents.
 *
 * @template [T=DocumentData]
 */
export class CollectionReference {
  /**
   * @param {Firestore} firestore
   * @param {string} path an odd number of segments
   */
  constructor(firestore, path) {
    /** @readonly @type {'query' | 'collection'} */
    this.type = 'collection';
    /** @readonly */
    this.firestore = firestore;
    /** @readonly */
    this.path = path;
    /** @readonly @internal @type {QuerySpec} */
    this.spec = { path, filters: [], orders: [] };
    /** Only a type: what the documents hold. @readonly @type {T | undefined} */
    this.holds = undefined;
  }

  get id() {
    return lastSegment(this.path);
  }

  /** The document it is in, or null for one at the root. */
  get parent() {
    return this.path.includes('/') ? new DocumentReference(this.firestore, parentPath(this.path)) : null;
  }
}

/**
 * A collection, at the root or inside a document. Segments may be joined by `/` or given one by one.
 *
 * @template [T=DocumentData]
 * @param {Firestore | DocumentReference<unknown> | CollectionReference<unknown>} parent
 * @param {string} path
 * @param {...string} more
 * @returns {CollectionReference<T>}
 */
export function collection(parent, path, ...more) {
  const { firestore, segments } = resolve(parent, [path, ...more]);
  if (segments.length % 2 === 0) {
    throw invalid(`a collection has an odd number of segments; ${segments.join('/')} has ${segments.length}`);
  }
  return new CollectionReference(firestore, segments.join('/'));
}

/**
 * A document. In a collection and without a path: a new one under an automatic id.
 *
 * @template [T=DocumentData]
 * @param {Firestore | DocumentReference<unknown> | CollectionReference<T>} parent
 * @param {string} [path]
 * @param {...string} more
 * @returns {DocumentReference<T>}
 */
export function doc(parent, path, ...more) {
  const given = path === undefined && parent instanceof CollectionReference ? autoId() : path;
  if (given === undefined) throw invalid('doc() needs a path');
  const { firestore, segments } = resolve(parent, [given, ...more]);
  if (segments.length % 2 === 1) {
    throw invalid(`a document has an even number of segments; ${segments.join('/')} has ${segments.length}`);
  }
  return new DocumentReference(firestore, segments.join('/'));
}

/**
 * All collections of that name, wherever they are.
 *
 * @template [T=DocumentData]
 * @param {Firestore} firestore
 * @param {string} id
 * @returns {Query<T>}
 */
export function collectionGroup(firestore, id) {
  if (typeof id !== 'string' || id === '' || id.includes('/')) throw invalid('a collection group is named by one segment');
  return new Query(firestore, { path: `~/${id}`, filters: [], orders: [] });
}

/**
 * Whether both name the same place of the same database.
 *
 * @param {DocumentReference<unknown> | CollectionReference<unknown>} left
 * @param {DocumentReference<unknown> | CollectionReference<unknown>} right
 * @returns {boolean}
 */
export function refEqual(left, right) {
  return left.type === right.type && left.firestore === right.firestore && left.path === right.path;
}

/** @returns {string} twenty letters and digits that nobody else will draw */
export function autoId() {
  let id = '';
  while (id.length < 20) {
    for (const byte of crypto.getRandomValues(new Uint8Array(24))) {
      // 248 is the greatest multiple of 62 in a byte: what lies beyond would favour the first letters.
      if (byte < 248 && id.length < 20) id += LETTERS[byte % 62];
    }
  }
  return id;
}

/**
 * @param {Firestore | DocumentReference<unknown> | CollectionReference<unknown>} parent
 * @param {readonly string[]} paths
 * @returns {{ firestore: Firestore, segments: string[] }}
 */
function resolve(parent, paths) {
  const inside = parent instanceof DocumentReference || parent instanceof CollectionReference;
  if (!inside && /** @type {unknown} */ (parent?.type) !== 'firestore') {
    throw invalid('expected a database, a document or a collection as the first argument');
  }
  const segments = inside ? parent.path.split('/') : [];
  for (const path of paths) {
    if (typeof path !== 'string') throw invalid('a path is text');
    segments.push(...path.replace(/^\/|\/$/g, '').split('/'));
  }
  if (segments.includes('')) throw invalid(`the path ${segments.join('/')} has an empty segment`);
  return { firestore: inside ? parent.firestore : parent, segments };
}

/** @param {string} path */
function lastSegment(path) {
  return path.slice(path.lastIndexOf('/') + 1);
}

/** @param {string} path */
function parentPath(path) {
  return path.slice(0, path.lastIndexOf('/'));
}
