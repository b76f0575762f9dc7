// Reading and listening. Everything here comes from the server; there is no local cache.

import { HearthError } from './errors.js';
import { wireQuery } from './query.js';
import { DocumentReference } from './reference.js';
import { DocumentSnapshot, QuerySnapshot } from './snapshot.js';
import { allAdded } from './listen/view.js';

/** @typedef {import('./reference.js').DocumentData} DocumentData */
/** @typedef {import('./connection.js').Hearing} Hearing */

/**
 * @template T
 * @typedef {import('./reference.js').Query<T>} Query
 */

/** @typedef {(error: HearthError) => void} ErrorHeard */
/** @typedef {() => void} Unsubscribe */

/**
 * @template S
 * @typedef {{ next?: (snapshot: S) => void, error?: ErrorHeard, complete?: () => void }} Observer
 * `complete` is never called: a result has no end.
 */

/** @typedef {{ includeMetadataChanges?: boolean }} SnapshotListenOptions
 * `includeMetadataChanges` changes nothing yet: metadata never changes by itself without a local cache.
 */

/**
 * Reads a document.
 *
 * @template T
 * @param {DocumentReference<T>} ref
 * @returns {Promise<DocumentSnapshot<T>>}
 */
export async function getDoc(ref) {
  const { docs = [] } = await ref.firestore.connection.get(ref.path);
  return new DocumentSnapshot(ref, docs[0] ?? null);
}

/**
 * Reads all documents of a result, whatever their number up to the server's bound.
 *
 * @template T
 * @param {Query<T>} query
 * @returns {Promise<QuerySnapshot<T>>}
 */
export async function getDocs(query) {
  const { version, docs = [] } = await query.firestore.connection.get(query.spec.path, wireQuery(query.spec));
  return new QuerySnapshot(query, { version, docs, changes: allAdded(docs) });
}

/**
 * Calls `next` with each snapshot, the first as soon as it is known. An error ends the listening.
 *
 * Returns its own undoing: nothing is heard after it was called. Listeners to the same share one subscription at the server.
 *
 * @template T
 * @overload
 * @param {DocumentReference<T>} target
 * @param {((snapshot: DocumentSnapshot<T>) => void) | Observer<DocumentSnapshot<T>>} next
 * @param {ErrorHeard} [error]
 * @returns {Unsubscribe}
 */
/**
 * @template T
 * @overload
 * @param {DocumentReference<T>} target
 * @param {SnapshotListenOptions} options
 * @param {((snapshot: DocumentSnapshot<T>) => void) | Observer<DocumentSnapshot<T>>} next
 * @param {ErrorHeard} [error]
 * @returns {Unsubscribe}
 */
/**
 * @template T
 * @overload
 * @param {Query<T>} target
 * @param {((snapshot: QuerySnapshot<T>) => void) | Observer<QuerySnapshot<T>>} next
 * @param {ErrorHeard} [error]
 * @returns {Unsubscribe}
 */
/**
 * @template T
 * @overload
 * @param {Query<T>} target
 * @param {SnapshotListenOptions} options
 * @param {((snapshot: QuerySnapshot<T>) => void) | Observer<QuerySnapshot<T>>} next
 * @param {ErrorHeard} [error]
 * @returns {Unsubscribe}
 */
/**
 * @param {DocumentReference<unknown> | Query<unknown>} target
 * @param {...unknown} given
 * @returns {Unsubscribe}
 */
export function onSnapshot(target, ...given) {
  if (isOptions(given[0])) given.shift();
  const { next, error } = observer(given);
  const { connection } = target.firestore;
  if (target instanceof DocumentReference) {
    return connection.listen(target.path, undefined, {
      next: ({ docs }) => next(new DocumentSnapshot(target, docs[0] ?? null)), error,
    });
  }
  return connection.listen(target.spec.path, wireQuery(target.spec), {
    next: snapshot => next(new QuerySnapshot(target, snapshot)), error,
  });
}

/**
 * @param {unknown} given
 * @returns {boolean}
 */
function isOptions(given) {
  return typeof given === 'object' && given !== null && !('next' in given) && !('error' in given);
}

/**
 * @param {readonly unknown[]} given callbacks, or one object that holds them
 * @returns {{ next: (snapshot: unknown) => void, error: ErrorHeard }}
 */
export function observer([first, second]) {
  const held = /** @type {Observer<unknown>} */ (typeof first === 'function' ? { next: first, error: second } : (first ?? {}));
  return {
    next: snapshot => held.next?.(snapshot),
    // An error that nobody hears must not pass in silence.
    error: error => (held.error ? held.error(error) : console.error('hearth: a listener ended:', error)),
  };
}
