// Writing: one document, or several at once. A write is answered when it is durable, and after the snapshots that contain it.

import { invalid } from './errors.js';
import { FieldPath, fieldPath, printPath } from './fieldpath.js';
import { doc } from './reference.js';
import { encodeFields, encodeValue, isPlain } from './wire/value.js';

/** @typedef {import('./firestore.js').Firestore} Firestore */
/** @typedef {import('./reference.js').DocumentData} DocumentData */
/** @typedef {import('./wire/message.js').WireWrite} WireWrite */

/**
 * @template T
 * @typedef {import('./reference.js').DocumentReference<T>} DocumentReference
 */
/**
 * @template T
 * @typedef {import('./reference.js').CollectionReference<T>} CollectionReference
 */

/**
 * @typedef {{ merge?: boolean, mergeFields?: readonly (string | FieldPath)[] }} SetOptions
 * `merge`: keep what the data does not name. `mergeFields`: write these fields only.
 */

/**
 * What may be written where a `T` is read.
 *
 * @template T
 * @typedef {{ [K in keyof T]: T[K] | import('./values.js').FieldValue | (T[K] extends import('./values.js').Timestamp ? Date : never) }} WithFieldValue
 */

/**
 * Creates a document under an automatic id.
 *
 * @template T
 * @param {CollectionReference<T>} collection
 * @param {WithFieldValue<T>} data
 * @returns {Promise<DocumentReference<T>>}
 */
export async function addDoc(collection, data) {
  const ref = doc(collection);
  const create = { create: ref.path, data: encodeFields(data, ref.firestore, 'set') };
  await ref.firestore.connection.commit([create]);
  return ref;
}

/**
 * Replaces a document, or merges into it.
 *
 * @template T
 * @param {DocumentReference<T>} ref
 * @param {WithFieldValue<T> | Partial<WithFieldValue<T>>} data
 * @param {SetOptions} [options]
 * @returns {Promise<void>}
 */
export async function setDoc(ref, data, options) {
  await ref.firestore.connection.commit([wireSet(ref, data, options)]);
}

/**
 * Changes fields of a document that exists. Keys are field paths: `{'author.name': 'Ada'}` leaves the author's other fields alone.
 * Instead of an object, fields and values may be given in turn.
 *
 * @param {DocumentReference<unknown>} ref
 * @param {DocumentData | string | FieldPath} data
 * @param {...unknown} more
 * @returns {Promise<void>}
 */
export async function updateDoc(ref, data, ...more) {
  await ref.firestore.connection.commit([wireUpdate(ref, [data, ...more])]);
}

/**
 * @param {DocumentReference<unknown>} ref
 * @returns {Promise<void>}
 */
export async function deleteDoc(ref) {
  await ref.firestore.connection.commit([wireDelete(ref)]);
}

/**
 * Writes that are carried out together or not at all.
 *
 * @param {Firestore} firestore
 * @returns {WriteBatch}
 */
export function writeBatch(firestore) {
  return new WriteBatch(firestore);
}

/** Collects writes for one commit. */
export class WriteBatch {
  #firestore;
  /** @type {WireWrite[]} */
  #writes = [];
  #committed = false;

  /** @param {Firestore} firestore */
  constructor(firestore) {
    this.#firestore = firestore;
  }

  /**
   * @template T
   * @param {DocumentReference<T>} ref
   * @param {WithFieldValue<T> | Partial<WithFieldValue<T>>} data
   * @param {SetOptions} [options]
   */
  set(ref, data, options) {
    return this.#add(ref, () => wireSet(ref, data, options));
  }

  /**
   * @param {DocumentReference<unknown>} ref
   * @param {DocumentData | string | FieldPath} data
   * @param {...unknown} more
   */
  update(ref, data, ...more) {
    return this.#add(ref, () => wireUpdate(ref, [data, ...more]));
  }

  /** @param {DocumentReference<unknown>} ref */
  delete(ref) {
    return this.#add(ref, () => wireDelete(ref));
  }

  /** @returns {Promise<void>} */
  async commit() {
    this.#check();
    this.#committed = true;
    if (this.#writes.length > 0) await this.#firestore.connection.commit(this.#writes);
  }

  /**
   * @param {DocumentReference<unknown>} ref
   * @param {() => WireWrite} write
   */
  #add(ref, write) {
    this.#check();
    if (ref.firestore !== this.#firestore) throw invalid('the document is of another database than the batch');
    this.#writes.push(write());
    return this;
  }

  #check() {
    if (this.#committed) throw invalid('the batch was already committed');
  }
}

/**
 * @param {DocumentReference<unknown>} ref
 * @param {unknown} data
 * @param {SetOptions} [options]
 * @returns {WireWrite}
 */
export function wireSet(ref, data, { merge, mergeFields } = {}) {
  const encoded = encodeFields(data, ref.firestore, merge || mergeFields ? 'update' : 'set');
  if (!mergeFields) return { set: ref.path, data: encoded, ...(merge && { merge: true }) };
  const paths = mergeFields.map(fieldPath);
  for (const path of paths) {
    if (!holds(data, path)) throw invalid(`mergeFields names ${printPath(path)}, which the data lacks`);
  }
  return { set: ref.path, data: encoded, merge: paths.map(printPath) };
}

/**
 * @param {DocumentReference<unknown>} ref
 * @param {readonly unknown[]} given one object, or fields and values in turn
 * @returns {WireWrite}
 */
export function wireUpdate(ref, given) {
  const [first] = given;
  const inTurn = typeof first === 'string' || first instanceof FieldPath;
  if (!inTurn && !isPlain(first)) throw invalid('an update takes an object, or fields and values in turn');
  const pairs = inTurn ? inPairs(given) : Object.entries(/** @type {object} */ (first));
  /** @type {{ [path: string]: unknown }} */
  const data = {};
  for (const [field, value] of pairs) {
    const path = fieldPath(field);
    const name = printPath(path);
    if (Object.hasOwn(data, name)) throw invalid(`the field ${name} is given twice`);
    data[name] = encodeValue(value, ref.firestore, 'update', path.names);
  }
  return { update: ref.path, data };
}

/**
 * @param {DocumentReference<unknown>} ref
 * @returns {WireWrite}
 */
export function wireDelete(ref) {
  return { delete: ref.path };
}

/**
 * @param {readonly unknown[]} given
 * @returns {[string | FieldPath, unknown][]}
 */
function inPairs(given) {
  if (given.length % 2 === 1) throw invalid('the last field of the update has no value');
  /** @type {[string | FieldPath, unknown][]} */
  const pairs = [];
  for (let at = 0; at < given.length; at += 2) pairs.push([/** @type {string} */ (given[at]), given[at + 1]]);
  return pairs;
}

/**
 * @param {unknown} data
 * @param {FieldPath} path
 * @returns {boolean}
 */
function holds(data, path) {
  let value = data;
  for (const name of path.names) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, name)) return false;
    value = /** @type {{ [name: string]: unknown }} */ (value)[name];
  }
  return true;
}
