// The entry: everything a page or program uses. No build step: a server hands these files out as they are.

export { App, Firestore, getFirestore, initializeApp, onConnectionState, terminate } from './src/firestore.js';
export {
  CollectionReference, DocumentReference, Query, collection, collectionGroup, doc, refEqual,
} from './src/reference.js';
export {
  and, endAt, endBefore, limit, limitToLast, or, orderBy, query, queryEqual, startAfter, startAt, where,
} from './src/query.js';
export { getDoc, getDocs, onSnapshot } from './src/read.js';
export { DocumentSnapshot, QuerySnapshot } from './src/snapshot.js';
export { WriteBatch, addDoc, deleteDoc, setDoc, updateDoc, writeBatch } from './src/write.js';
export { Transaction, runTransaction } from './src/transaction.js';
export { average, count, getAggregateFromServer, getCountFromServer, onAggregate, sum } from './src/aggregate.js';
export {
  Bytes, FieldValue, GeoPoint, Timestamp, VectorValue, arrayRemove, arrayUnion, deleteField, increment, maximum, minimum,
  serverTimestamp, vector,
} from './src/values.js';
export { FieldPath, documentId } from './src/fieldpath.js';
export { HearthError } from './src/errors.js';

/** @typedef {import('./src/aggregate.js').AggregateSpec} AggregateSpec */
/** @typedef {import('./src/errors.js').ErrorCode} ErrorCode */
/** @typedef {import('./src/firestore.js').AppOptions} AppOptions */
/** @typedef {import('./src/firestore.js').TokenSource} TokenSource */
/** @typedef {import('./src/query.js').OrderByDirection} OrderByDirection */
/** @typedef {import('./src/query.js').QueryConstraint} QueryConstraint */
/** @typedef {import('./src/query.js').QueryFilterConstraint} QueryFilterConstraint */
/** @typedef {import('./src/query.js').WhereFilterOp} WhereFilterOp */
/** @typedef {import('./src/read.js').SnapshotListenOptions} SnapshotListenOptions */
/** @typedef {import('./src/read.js').Unsubscribe} Unsubscribe */
/** @typedef {import('./src/reference.js').DocumentData} DocumentData */
/** @typedef {import('./src/session.js').ConnectionState} ConnectionState */
/** @typedef {import('./src/session.js').Transport} Transport */
/** @typedef {import('./src/snapshot.js').SnapshotMetadata} SnapshotMetadata */
/** @typedef {import('./src/write.js').SetOptions} SetOptions */

/**
 * @template R
 * @typedef {import('./src/aggregate.js').AggregateField<R>} AggregateField
 */
/**
 * @template {AggregateSpec} S
 * @typedef {import('./src/aggregate.js').AggregateQuerySnapshot<S>} AggregateQuerySnapshot
 */
/**
 * @template {AggregateSpec} S
 * @typedef {import('./src/aggregate.js').AggregateResult<S>} AggregateResult
 */
/**
 * @template S
 * @typedef {import('./src/read.js').Observer<S>} Observer
 */
/**
 * @template [T=DocumentData]
 * @typedef {import('./src/snapshot.js').DocumentChange<T>} DocumentChange
 */
/**
 * @template [T=DocumentData]
 * @typedef {import('./src/snapshot.js').QueryDocumentSnapshot<T>} QueryDocumentSnapshot
 */
/**
 * @template T
 * @typedef {import('./src/write.js').WithFieldValue<T>} WithFieldValue
 */
