// What was read: documents and results as they stood at one version. They do not change and they know no connection.

import { fieldPath } from './fieldpath.js';
import { DocumentReference } from './reference.js';
import { Timestamp } from './values.js';
import { decodeFields } from './wire/value.js';

/** @typedef {import('./fieldpath.js').FieldPath} FieldPath */
/** @typedef {import('./firestore.js').Firestore} Firestore */
/** @typedef {import('./reference.js').DocumentData} DocumentData */
/** @typedef {import('./listen/view.js').Change} Change */
/** @typedef {import('./wire/message.js').WireDocument} WireDocument */

/**
 * Where a snapshot came from. There is no local cache yet: always from the server, never with writes under way.
 *
 * @typedef {{ readonly fromCache: boolean, readonly hasPendingWrites: boolean }} SnapshotMetadata
 */

/** @type {SnapshotMetadata} */
const METADATA = Object.freeze({ fromCache: false, hasPendingWrites: false });

/**
 * A document as it was read, or the knowledge that there was none.
 *
 * @template [T=DocumentData]
 */
export class DocumentSnapshot {
  #wire;

  /**
   * @param {DocumentReference<T>} ref
   * @param {WireDocument | null} wire
   */
  constructor(ref, wire) {
    /** @readonly */
    this.ref = ref;
    /** @readonly */
    this.metadata = METADATA;
    this.#wire = wire;
  }

  get id() {
    return this.ref.id;
  }

  /** The version of the last change, or null when there is no document. */
  get version() {
    return this.#wire ? this.#wire.updated : null;
  }

  get createTime() {
    return this.#wire ? timeOf(this.#wire.created) : undefined;
  }

  get updateTime() {
    return this.#wire ? timeOf(this.#wire.updated) : undefined;
  }

  exists() {
    return this.#wire !== null;
  }

  /**
   * The fields, in fresh objects each time; undefined when there is no document.
   *
   * @returns {T | undefined}
   */
  data() {
    return this.#wire ? /** @type {T} */ (decodeFields(this.#wire.data, this.ref.firestore)) : undefined;
  }

  /**
   * One field, or undefined.
   *
   * @param {string | FieldPath} path
   * @returns {unknown}
   */
  get(path) {
    /** @type {unknown} */
    let value = this.data();
    for (const name of fieldPath(path).names) {
      if (typeof value !== 'object' || value === null || !Object.hasOwn(value, name)) return undefined;
      value = /** @type {{ [name: string]: unknown }} */ (value)[name];
    }
    return value;
  }

  /**
   * @internal
   * @param {DocumentSnapshot<unknown>} snapshot
   */
  static wireOf(snapshot) {
    return snapshot.#wire;
  }
}

/**
 * A document of a result: it exists.
 *
 * @template [T=DocumentData]
 * @typedef {{ data(): T } & DocumentSnapshot<T>} QueryDocumentSnapshot
 */

/**
 * How a document of a result changed. Positions count after all earlier changes of the same list; −1 is nowhere.
 *
 * @template [T=DocumentData]
 * @typedef {{
 *   readonly type: 'added' | 'modified' | 'removed',
 *   readonly doc: QueryDocumentSnapshot<T>,
 *   readonly oldIndex: number,
 *   readonly newIndex: number,
 * }} DocumentChange
 */

/**
 * A result at one version.
 *
 * @template [T=DocumentData]
 */
export class QuerySnapshot {
  #firestore;
  #wires;
  #changes;
  /** @type {readonly QueryDocumentSnapshot<T>[] | undefined} */
  #docs;

  /**
   * @param {import('./reference.js').Query<T>} query
   * @param {{ version: string, docs: readonly WireDocument[], changes: readonly Change[] }} result
   */
  constructor(query, { version, docs, changes }) {
    /** @readonly */
    this.query = query;
    /** @readonly */
    this.version = version;
    /** @readonly */
    this.metadata = METADATA;
    this.#firestore = query.firestore;
    this.#wires = docs;
    this.#changes = changes;
  }

  /** The documents in the order of the query. */
  get docs() {
    return (this.#docs ??= Object.freeze(this.#wires.map(wire => this.#snapshot(wire))));
  }

  get size() {
    return this.#wires.length;
  }

  get empty() {
    return this.#wires.length === 0;
  }

  /** @param {(doc: QueryDocumentSnapshot<T>) => void} visit */
  forEach(visit) {
    for (const doc of this.docs) visit(doc);
  }

  /**
   * What changed since the snapshot that the same listener heard before; in the first one everything was added.
   *
   * @returns {DocumentChange<T>[]}
   */
  docChanges() {
    return this.#changes.map(({ type, doc, from, to }) => ({
      type, doc: this.#snapshot(doc), oldIndex: from, newIndex: to,
    }));
  }

  /**
   * @param {WireDocument} wire
   * @returns {QueryDocumentSnapshot<T>}
   */
  #snapshot(wire) {
    const ref = /** @type {DocumentReference<T>} */ (new DocumentReference(this.#firestore, wire.path));
    return /** @type {QueryDocumentSnapshot<T>} */ (new DocumentSnapshot(ref, wire));
  }
}

/**
 * The document as the server sent it, or null.
 *
 * @param {DocumentSnapshot<unknown>} snapshot
 * @returns {WireDocument | null}
 */
export function wireOf(snapshot) {
  return DocumentSnapshot.wireOf(snapshot);
}

/** @param {string} version microseconds since 1970 */
function timeOf(version) {
  const micros = BigInt(version);
  const seconds = micros / 1_000_000n;
  return new Timestamp(Number(seconds), Number(micros - seconds * 1_000_000n) * 1000);
}
