// npm firebase's `firebase/firestore` in Node, unmodified, before the real server: there it speaks gRPC.
// FIRESTORE_EMULATOR_HOST says where the server is.
//
// Each test has a project of its own, so that they neither meet nor wait for each other.

import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { deleteApp, initializeApp } from 'firebase/app';
import {
  addDoc, and, arrayRemove, arrayUnion, average, Bytes, collection, collectionGroup, connectFirestoreEmulator, count,
  deleteDoc, deleteField, disableNetwork, doc, documentId, enableNetwork, endAt, endBefore, GeoPoint, getAggregateFromServer,
  getCountFromServer, getDoc, getDocFromCache, getDocFromServer, getDocs, getDocsFromServer, getFirestore, increment, limit,
  limitToLast, maximum, minimum, onSnapshot, onSnapshotsInSync, or, orderBy, query, runTransaction, serverTimestamp, setDoc, setLogLevel, startAfter,
  startAt, sum, Timestamp, updateDoc, vector, waitForPendingWrites, where, writeBatch,
} from 'firebase/firestore';

const [host, port] = process.env.FIRESTORE_EMULATOR_HOST.split(':');
const apps = [];
// What the tests provoke is no news.
setLogLevel('silent');

/** Another client of a project; without a name, of one that nobody else has. */
function fresh(projectId = `node-${apps.length}`, settings) {
  const app = initializeApp({ projectId, apiKey: 'key' }, `node-${apps.length}`);
  apps.push(app);
  const db = getFirestore(app);
  connectFirestoreEmulator(db, host, Number(port), settings);
  return db;
}

after(() => Promise.all(apps.map(deleteApp)));

const ids = snapshot => snapshot.docs.map(one => one.id).join('');
const refused = code => error => {
  assert.equal(error.code, code, error.message);
  return true;
};

/** A listener: `until(holds)` waits for a snapshot of the server's state, without writes on the way, that is as wanted. */
function listening(what) {
  const seen = [];
  let wake = () => {};
  const tell = one => {
    seen.push(one);
    wake();
  };
  const stop = onSnapshot(what, { includeMetadataChanges: true }, snapshot => tell({ snapshot }), error => tell({ error }));
  const until = async holds => {
    for (;;) {
      for (const { snapshot, error } of seen.splice(0)) {
        if (error) throw error;
        const { fromCache, hasPendingWrites } = snapshot.metadata;
        if (!fromCache && !hasPendingWrites && holds(snapshot)) return snapshot;
      }
      await new Promise(done => (wake = done));
    }
  };
  return { until, stop };
}

/** Cities a to e with n 1 to 5. */
async function cities(db) {
  const batch = writeBatch(db);
  for (const [index, id] of ['a', 'b', 'c', 'd', 'e'].entries()) {
    batch.set(doc(db, 'cities', id), { n: index + 1, tags: [id, 'all'], even: index % 2 === 1 });
  }
  await batch.commit();
  return collection(db, 'cities');
}

test('every type of value comes back as it went', async () => {
  const [db, other] = [fresh('types'), fresh('types')];
  const value = {
    null: null, yes: true, int: 7, double: 1.5, big: 2 ** 53, nan: NaN, infinite: -Infinity, zero: -0, text: 'ä€𝄞',
    empty: '', list: [1, 'a', null, { in: [] }], map: { 'a.b': { '`c`': 1 }, empty: {} },
  };
  const special = {
    bytes: Bytes.fromUint8Array(new Uint8Array([0, 255])), time: new Timestamp(1_700_000_000, 123_456_000),
    early: new Timestamp(-62_135_596_800, 0), point: new GeoPoint(-12.5, 179), ref: doc(db, 'other/place'),
    vector: vector([1, 2.5, -3]),
  };
  await setDoc(doc(db, 'types/all'), { ...value, ...special });
  // Of another client: this one would answer from what it has itself.
  const got = (await getDoc(doc(other, 'types/all'))).data();
  for (const [name, want] of Object.entries(special)) {
    assert.ok(name === 'ref' ? got.ref.path === want.path : got[name].isEqual(want), name);
    delete got[name];
  }
  assert.deepEqual(got, value);
});

test('documents are added, merged, changed and deleted', async () => {
  const db = fresh();
  const ref = await addDoc(collection(db, 'rooms'), { n: 1, list: ['a'], map: { x: 1, y: 2 } });
  assert.match(ref.id, /^[A-Za-z0-9]{20}$/);
  await setDoc(ref, { map: { z: 3 } }, { merge: true });
  await updateDoc(ref, { 'map.x': deleteField(), n: increment(2.5), list: arrayUnion('b', 'a'), at: serverTimestamp() });
  await updateDoc(ref, { list: arrayRemove('a') });
  await setDoc(ref, { high: maximum(3), low: minimum(3) }, { merge: true });
  await setDoc(ref, { high: maximum(2), low: minimum(2) }, { merge: true });
  const { at, ...rest } = (await getDocFromServer(ref)).data();
  assert.ok(Math.abs(at.toMillis() - Date.now()) < 60_000);
  assert.deepEqual(rest, { n: 3.5, list: ['b'], map: { y: 2, z: 3 }, high: 3, low: 2 });
  await deleteDoc(ref);
  assert.equal((await getDocFromServer(ref)).exists(), false);
  await assert.rejects(updateDoc(ref, { n: 1 }), refused('not-found'));
  await assert.rejects(setDoc(doc(db, 'rooms/large'), { text: 'x'.repeat(1_100_000) }), refused('invalid-argument'));
});

test('filters, orders and cursors find what they should', async () => {
  const all = await cities(fresh());
  const check = async (constraints, want) => assert.equal(ids(await getDocs(query(all, ...constraints))), want);
  const n = orderBy('n');
  await check([], 'abcde');
  await check([where('n', '==', 2)], 'b');
  await check([where('n', '!=', 2)], 'acde');
  await check([where('n', '>', 1), where('n', '<=', 3)], 'bc');
  await check([where('n', 'in', [5, 1])], 'ae');
  await check([where('n', 'not-in', [5, 1])], 'bcd');
  await check([where('tags', 'array-contains', 'c')], 'c');
  await check([where('tags', 'array-contains-any', ['c', 'a'])], 'ac');
  await check([where(documentId(), '>', 'c')], 'de');
  await check([or(where('n', '==', 1), and(where('n', '>', 3), where('even', '==', false)))], 'ae');
  await check([orderBy('even', 'desc'), orderBy('n', 'desc')], 'dbeca');
  await check([n, limit(2)], 'ab');
  await check([n, limitToLast(2)], 'de');
  await check([n, startAfter(2), endBefore(5)], 'cd');
  await check([n, endAt(2)], 'ab');
  assert.equal(ids(await getDocsFromServer(query(all, n, startAfter(3)))), 'de');
  await check([n, startAt(await getDoc(doc(all, 'd')))], 'de');
  await check([where('gone', '==', null)], '');
  await setDoc(doc(all.firestore, 'cities/a/cities/deep'), { n: 9 });
  assert.equal(ids(await getDocs(query(collectionGroup(all.firestore, 'cities'), where('n', '>', 4)))), 'edeep');
  await assert.rejects(getDocs(collection(all.firestore, '__cities__')), refused('invalid-argument'));
});

test('numbers are counted, summed and averaged', async () => {
  const all = await cities(fresh());
  const some = query(all, where('n', '>', 1));
  assert.equal((await getCountFromServer(some)).data().count, 4);
  const numbers = { count: count(), sum: sum('n'), average: average('n') };
  assert.deepEqual((await getAggregateFromServer(some, numbers)).data(), { count: 4, sum: 14, average: 3.5 });
});

test('two clients hear of each other’s writes, and of a batch at once', async () => {
  const [one, two] = [fresh('heard'), fresh('heard')];
  const rooms = db => collection(db, 'rooms');
  const watches = [one, two].map(db => listening(query(rooms(db), where('n', '>', 0), orderBy('n'))));
  for (const watch of watches) assert.equal((await watch.until(() => true)).size, 0);
  await setDoc(doc(one, 'rooms/a'), { n: 2, at: serverTimestamp() });
  for (const watch of watches) {
    const { docs: [found] } = await watch.until(({ size }) => size === 1);
    assert.ok(found.data().at instanceof Timestamp);
  }
  // Both at once, in every snapshot of the other client.
  const broken = [];
  const whole = onSnapshot(rooms(two), snapshot => {
    if (snapshot.docs.some(({ id }) => id === 'b') !== snapshot.docs.some(({ id }) => id === 'c')) broken.push(ids(snapshot));
  });
  await writeBatch(one).set(doc(one, 'rooms/b'), { n: 1 }).set(doc(one, 'rooms/c'), { n: 3 }).update(doc(one, 'rooms/a'), { n: 4 }).commit();
  for (const watch of watches) assert.equal(ids(await watch.until(({ size }) => size === 3)), 'bca');
  await writeBatch(two).delete(doc(two, 'rooms/b')).delete(doc(two, 'rooms/c')).set(doc(two, 'rooms/a'), { n: 0 }).commit();
  for (const watch of watches) assert.equal((await watch.until(({ size }) => size === 0)).size, 0);
  assert.deepEqual(broken, []);
  whole();
  for (const watch of watches) watch.stop();
});

test('listeners of limits, groups and single documents', async () => {
  const [db, other] = [fresh('windows'), fresh('windows')];
  const all = await cities(other);
  await setDoc(doc(other, 'cities/a/cities/f'), { n: 6 });
  const first = listening(query(collection(db, 'cities'), orderBy('n'), limit(2)));
  const last = listening(query(collection(db, 'cities'), orderBy('n'), limitToLast(2)));
  const group = listening(query(collectionGroup(db, 'cities'), where('n', '>', 4)));
  const single = listening(doc(db, 'cities/z'));
  assert.equal(ids(await first.until(() => true)), 'ab');
  assert.equal(ids(await last.until(() => true)), 'de');
  assert.equal(ids(await group.until(() => true)), 'ef');
  assert.equal((await single.until(() => true)).exists(), false);
  await deleteDoc(doc(all, 'a'));
  await setDoc(doc(all, 'z'), { n: 10 });
  assert.equal(ids(await first.until(snapshot => ids(snapshot) !== 'ab')), 'bc');
  assert.equal(ids(await last.until(snapshot => ids(snapshot) !== 'de')), 'ez');
  assert.equal(ids(await group.until(({ size }) => size === 3)), 'efz');
  assert.equal((await single.until(one => one.exists())).data().n, 10);
  for (const watch of [first, last, group, single]) watch.stop();
  // The same again: from the memory of this client's own view of it, and what has changed since.
  await deleteDoc(doc(all, 'z'));
  const again = listening(query(collection(db, 'cities'), orderBy('n'), limitToLast(2)));
  assert.equal(ids(await again.until(() => true)), 'de');
  again.stop();
});

test('a transaction is tried again when another came first, and a contended counter is counted to the last one', async () => {
  const [db, other] = [fresh('counts'), fresh('counts')];
  const ref = doc(db, 'counters/one');
  await setDoc(ref, { n: 1 });
  let attempts = 0;
  await runTransaction(db, async transaction => {
    const { n } = (await transaction.get(ref)).data();
    if (attempts++ === 0) await setDoc(doc(other, 'counters/one'), { n: 10 });
    transaction.update(ref, { n: n + 1 });
  });
  assert.equal(attempts, 2);
  const add = db => runTransaction(db, async transaction => {
    const own = doc(db, 'counters/one');
    await transaction.get(doc(db, 'counters/missing'));
    transaction.set(own, { n: (await transaction.get(own)).data().n + 1 });
  }, { maxAttempts: 50 });
  await Promise.all(Array.from({ length: 8 }, (_, n) => add(n % 2 ? db : other)));
  assert.equal((await getDocFromServer(ref)).data().n, 19);
  await assert.rejects(runTransaction(db, async () => { throw new Error('mine'); }), /mine/);
});

test('a batch is all or nothing', async () => {
  const db = fresh();
  const batch = writeBatch(db);
  batch.set(doc(db, 'rooms/a'), { n: 1 });
  batch.update(doc(db, 'rooms/missing'), { n: 1 });
  await assert.rejects(batch.commit(), refused('not-found'));
  assert.equal((await getDocFromServer(doc(db, 'rooms/a'))).exists(), false);
});

test('what is written without a network is seen at once, and arrives in its order when there is one', async () => {
  const [db, other] = [fresh('offline'), fresh('offline')];
  const watch = listening(collection(other, 'rooms'));
  await watch.until(() => true);
  await setDoc(doc(db, 'rooms/a'), { n: 1 });
  await disableNetwork(db);
  for (let n = 0; n < 12; n++) void updateDoc(doc(db, 'rooms/a'), { n: increment(10) });
  void setDoc(doc(db, 'rooms/b'), { after: 'all' });
  const here = await getDocFromCache(doc(db, 'rooms/a'));
  assert.deepEqual([here.data(), here.metadata.hasPendingWrites], [{ n: 121 }, true]);
  await updateDoc(doc(other, 'rooms/a'), { n: increment(1), more: true });
  await enableNetwork(db);
  await waitForPendingWrites(db);
  const seen = await watch.until(({ size }) => size === 2);
  assert.deepEqual(seen.docs.map(one => one.data()), [{ n: 122, more: true }, { after: 'all' }]);
  watch.stop();
});

test('all listeners of a client are brought to one version together', async () => {
  const [db, other] = [fresh('together'), fresh('together')];
  const watches = ['x', 'y'].map(name => listening(collection(db, name)));
  for (const watch of watches) await watch.until(() => true);
  const counted = { x: 0, y: 0 };
  const torn = [];
  const stops = ['x', 'y'].map(name => onSnapshot(collection(db, name), ({ size }) => void (counted[name] = size)));
  stops.push(onSnapshotsInSync(db, () => counted.x === counted.y || torn.push({ ...counted })));
  for (let n = 0; n < 10; n++) await writeBatch(other).set(doc(other, `x/${n}`), {}).set(doc(other, `y/${n}`), {}).commit();
  for (const watch of watches) await watch.until(({ size }) => size === 10);
  assert.deepEqual(torn, []);
  for (const stop of [...stops, ...watches.map(watch => watch.stop)]) stop();
});

test('a mocked user is let in, and a listener that is refused is told why', async () => {
  const db = fresh(undefined, { mockUserToken: { sub: 'ada' } });
  await setDoc(doc(db, 'rooms/a'), { n: 1 });
  assert.equal((await getDocFromServer(doc(db, 'rooms/a'))).data().n, 1);
  await assert.rejects(listening(collection(db, '__rooms__')).until(() => true), refused('invalid-argument'));
});
