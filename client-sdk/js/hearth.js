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
