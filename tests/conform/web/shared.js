// What `firebase/firestore` in Node and its `lite` are both held to, before the real server. FIRESTORE_EMULATOR_HOST says where
// the server is. Each test has a project of its own, so that they neither meet nor wait for each other.

import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { deleteApp, initializeApp } from 'firebase/app';

const [host, port] = process.env.FIRESTORE_EMULATOR_HOST.split(':');

export const ids = snapshot => snapshot.docs.map(one => one.id).join('');
export const refused = code => error => {
  assert.equal(error.code, code, error.message);
  return true;
};

/** Makes clients of an SDK: `fresh(project, settings)` is another one of a project or, without a name, of one that nobody else has. */
export function clients(sdk, name) {
  const apps = [];
  // What the tests provoke is no news.
  sdk.setLogLevel('silent');
  after(() => Promise.all(apps.map(deleteApp)));
  return (projectId = `${name}-${apps.length}`, settings) => {
    const app = initializeApp({ projectId, apiKey: 'key' }, `${name}-${apps.length}`);
    apps.push(app);
    const db = sdk.getFirestore(app);
    sdk.connectFirestoreEmulator(db, host, Number(port), settings);
    return db;
  };
}

/** Cities a to e with n 1 to 5. */
export async function cities(sdk, db) {
  const batch = sdk.writeBatch(db);
  for (const [index, id] of ['a', 'b', 'c', 'd', 'e'].entries()) {
    batch.set(sdk.doc(db, 'cities', id), { n: index + 1, tags: [id, 'all'], even: index % 2 === 1 });
  }
  await batch.commit();
  return sdk.collection(db, 'cities');
}

/** The tests. `ask` says how the SDK reads a document of the server, counts and aggregates. */
export function tests(sdk, fresh, ask) {
  const {
    addDoc, and, arrayRemove, arrayUnion, average, Bytes, collection, collectionGroup, count, deleteDoc, deleteField, doc, documentId,
    endAt, endBefore, GeoPoint, getDoc, getDocs, increment, limit, limitToLast, or, orderBy, query, serverTimestamp, setDoc, startAfter, startAt,
    sum, Timestamp, updateDoc, vector, where, writeBatch,
  } = sdk;

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
    const { at, ...rest } = (await ask.read(ref)).data();
    assert.ok(Math.abs(at.toMillis() - Date.now()) < 60_000);
    assert.deepEqual(rest, { n: 3.5, list: ['b'], map: { y: 2, z: 3 } });
    await deleteDoc(ref);
    assert.equal((await ask.read(ref)).exists(), false);
    await assert.rejects(updateDoc(ref, { n: 1 }), refused('not-found'));
  });

  test('filters, orders and cursors find what they should', async () => {
    const all = await cities(sdk, fresh());
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
    await check([n, startAt(await getDoc(doc(all, 'd')))], 'de');
    await check([where('gone', '==', null)], '');
    await setDoc(doc(all.firestore, 'cities/a/cities/deep'), { n: 9 });
    assert.equal(ids(await getDocs(query(collectionGroup(all.firestore, 'cities'), where('n', '>', 4)))), 'edeep');
  });

  test('numbers are counted, summed and averaged', async () => {
    const all = await cities(sdk, fresh());
    const some = query(all, where('n', '>', 1));
    assert.equal((await ask.count(some)).data().count, 4);
    const numbers = { count: count(), sum: sum('n'), average: average('n') };
    assert.deepEqual((await ask.numbers(some, numbers)).data(), { count: 4, sum: 14, average: 3.5 });
  });

  test('a batch is all or nothing', async () => {
    const db = fresh();
    const batch = writeBatch(db);
    batch.set(doc(db, 'rooms/a'), { n: 1 });
    batch.update(doc(db, 'rooms/missing'), { n: 1 });
    await assert.rejects(batch.commit(), refused('not-found'));
    assert.equal((await ask.read(doc(db, 'rooms/a'))).exists(), false);
  });
}
