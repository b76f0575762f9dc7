// What of `firebase/firestore` an app uses beside reading and writing: equality, JSON, bundles, what the cache is told. In Node,
// unmodified, before the real server: FIRESTORE_EMULATOR_HOST says where it is.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import firestore from '@google-cloud/firestore';
import * as sdk from 'firebase/firestore';
import { deleteApp, initializeApp } from 'firebase/app';
import { cities, clients, ids, refused } from './shared.js';

const {
  aggregateFieldEqual, aggregateQuerySnapshotEqual, arrayUnion, average, collection, collectionGroup, count, deleteDoc, doc, documentSnapshotFromJSON,
  endBefore, getAggregateFromServer, getCountFromServer, getDoc, getDocFromCache, getDocs, getDocsFromCache, limit, loadBundle, memoryEagerGarbageCollector,
  memoryLocalCache, memoryLruGarbageCollector, namedQuery, onSnapshot, onSnapshotResume, orderBy, query, queryEqual, querySnapshotFromJSON,
  refEqual, runTransaction, setDoc, snapshotEqual, startAt, sum, terminate, updateDoc, where,
} = sdk;
const fresh = clients(sdk, 'surface');
const [host, port] = process.env.FIRESTORE_EMULATOR_HOST.split(':');

/** The first thing that a listener is told of which this holds. */
const heard = (listen, holds = () => true) => new Promise((done, fail) => {
  const stop = listen(snapshot => {
    if (!holds(snapshot)) return;
    queueMicrotask(() => stop());
    done(snapshot);
  }, fail);
});

test('what is equal is said to be', async () => {
  const db = fresh();
  const all = await cities(sdk, db);
  const even = () => query(all, where('even', '==', true), orderBy('n'), limit(2));
  assert.ok(queryEqual(even(), even()));
  assert.ok(!queryEqual(even(), query(all, where('even', '==', true), orderBy('n'), limit(3))));
  assert.ok(refEqual(doc(db, 'cities/a'), doc(all, 'a')) && !refEqual(doc(db, 'cities/a'), doc(db, 'cities/b')));
  assert.ok(refEqual(all, collection(db, 'cities')) && !refEqual(all, collection(fresh(), 'cities')));
  // Each document knows when it was read, so those of two answers are not equal.
  const one = await getDocs(even());
  assert.ok(snapshotEqual(one, one) && snapshotEqual(one.docs[0], one.docs[0]) && !snapshotEqual(one.docs[0], one.docs[1]));
  const numbers = () => getAggregateFromServer(all, { n: count(), sum: sum('n'), mean: average('n') });
  assert.ok(aggregateQuerySnapshotEqual(await numbers(), await numbers()));
  assert.deepEqual((await numbers()).data(), { n: 5, sum: 15, mean: 3 });
  assert.ok(!aggregateQuerySnapshotEqual(await numbers(), await getAggregateFromServer(all, { n: count() })));
  assert.ok(aggregateFieldEqual(sum('n'), sum('n')) && !aggregateFieldEqual(sum('n'), average('n')));
  await deleteDoc(doc(all, 'd'));
  assert.ok(!snapshotEqual(one, await getDocs(even())));
});

test('snapshots go through JSON and come back', async () => {
  const db = fresh();
  const all = await cities(sdk, db);
  const snapshot = await getDocs(query(all, where('n', '>', 3)));
  const json = JSON.parse(JSON.stringify(snapshot.toJSON()));
  const back = querySnapshotFromJSON(db, json);
  assert.deepEqual(back.docs.map(one => [one.id, one.data()]), snapshot.docs.map(one => [one.id, one.data()]));
  const one = documentSnapshotFromJSON(db, JSON.parse(JSON.stringify((await getDoc(doc(all, 'a'))).toJSON())));
  assert.deepEqual([one.id, one.data()], ['a', { n: 1, tags: ['a', 'all'], even: false }]);
});

test('a listener goes on from a snapshot that came as JSON, of a query and of a document', async () => {
  const [db, page] = [fresh('resumed'), fresh('resumed')];
  const all = await cities(sdk, db);
  const json = JSON.parse(JSON.stringify((await getDocs(query(all, where('n', '>', 3)))).toJSON()));
  const single = JSON.parse(JSON.stringify((await getDoc(doc(all, 'a'))).toJSON()));
  // What changed since is heard too.
  await setDoc(doc(all, 'f'), { n: 6 });
  await deleteDoc(doc(all, 'd'));
  await updateDoc(doc(all, 'a'), { tags: arrayUnion('new') });
  const come = await heard((next, error) => onSnapshotResume(page, json, next, error), ({ metadata, docs }) => !metadata.fromCache && docs.some(one => one.id === 'f'));
  assert.equal(ids(come), 'ef');
  const document = await heard((next, error) => onSnapshotResume(page, single, next, error), one => !one.metadata.fromCache && one.data()?.tags.length === 3);
  assert.deepEqual(document.data().tags, ['a', 'all', 'new']);
});

test('a bundle that the server’s SDK made is loaded, its queries are known by name, and listening goes on from it', async () => {
  const [db, page] = [fresh('bundled'), fresh('bundled')];
  const all = await cities(sdk, db);
  const server = new firestore.Firestore({ projectId: 'bundled' });
  const many = await server.collection('cities').where('n', '>', 3).get();
  const bundle = server.bundle('cities').add('large', many).add(await server.doc('cities/a').get()).build();
  await server.terminate();
  await setDoc(doc(all, 'f'), { n: 6 });
  const progress = await loadBundle(page, new Uint8Array(bundle));
  assert.deepEqual([progress.taskState, progress.documentsLoaded, progress.totalDocuments], ['Success', 3, 3]);
  const large = await namedQuery(page, 'large');
  assert.equal(await namedQuery(page, 'none'), null);
  assert.equal(ids(await getDocsFromCache(large)), 'de');
  assert.deepEqual((await getDocFromCache(doc(page, 'cities/a'))).data().n, 1);
  const come = await heard((next, error) => onSnapshot(large, { includeMetadataChanges: true }, next, error), ({ metadata }) => !metadata.fromCache);
  assert.equal(ids(come), 'def');
});

test('caches in memory, of both kinds', async () => {
  for (const garbageCollector of [memoryEagerGarbageCollector(), memoryLruGarbageCollector({ cacheSizeBytes: sdk.CACHE_SIZE_UNLIMITED })]) {
    const app = initializeApp({ projectId: 'caches', apiKey: 'key' }, `caches-${garbageCollector.kind}`);
    const db = sdk.initializeFirestore(app, { localCache: memoryLocalCache({ garbageCollector }), ignoreUndefinedProperties: true });
    sdk.connectFirestoreEmulator(db, host, Number(port));
    await setDoc(doc(db, 'a/b'), { n: 1, none: undefined });
    assert.deepEqual((await getDoc(doc(db, 'a/b'))).data(), { n: 1 });
    await terminate(db);
    await sdk.clearIndexedDbPersistence(db).catch(refused('unimplemented'));
    await assert.rejects(async () => getDoc(doc(db, 'a/b')), refused('failed-precondition'));
    await deleteApp(app);
  }
});

test('cursors by snapshots, converters and groups', async () => {
  const db = fresh();
  const all = await cities(sdk, db);
  const [b, d] = [await getDoc(doc(all, 'b')), await getDoc(doc(all, 'd'))];
  assert.equal(ids(await getDocs(query(all, orderBy('n'), startAt(b), endBefore(d)))), 'bc');
  const numbers = { toFirestore: n => ({ n }), fromFirestore: snapshot => snapshot.data().n };
  const converted = all.withConverter(numbers);
  await setDoc(doc(converted, 'f'), 6);
  assert.deepEqual((await getDocs(query(converted, where('n', '>', 4)))).docs.map(one => one.data()), [5, 6]);
  assert.deepEqual((await getDoc(doc(all, 'f'))).data(), { n: 6 });
  await setDoc(doc(all, 'a/cities/g'), { n: 7 });
  assert.equal((await getCountFromServer(collectionGroup(db, 'cities'))).data().count, 7);
});

test('a transaction is tried as often as is said', async () => {
  const [db, other] = [fresh('attempts'), fresh('attempts')];
  const ref = doc(db, 'counters/a');
  await setDoc(ref, { n: 0 });
  let attempts = 0;
  const disturbed = options => runTransaction(db, async transaction => {
    attempts++;
    const { n } = (await transaction.get(ref)).data();
    await updateDoc(doc(other, 'counters/a'), { n: n + 10 });
    transaction.update(ref, { n: n + 1 });
  }, options);
  await assert.rejects(disturbed({ maxAttempts: 2 }), refused('failed-precondition'));
  assert.equal(attempts, 2);
  assert.equal((await getDoc(ref)).data().n, 20);
});

test('a text that is none is refused, and what is written after it is not', async () => {
  const db = fresh();
  const half = setDoc(doc(db, 'a/half'), { text: 'a\ud83d' });
  const whole = setDoc(doc(db, 'a/whole'), { text: '😀' });
  await assert.rejects(half, refused('invalid-argument'));
  await whole;
  assert.equal((await getDoc(doc(db, 'a/whole'))).data().text, '😀');
});
