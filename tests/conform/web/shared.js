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

/** The tests. `ask` says how the SDK reads documents of the server, counts and aggregates, and what it calls an argument that makes no sense. */
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

  test('what no order of names could answer is refused in the cloud’s words', async () => {
    const all = await cities(sdk, fresh());
    const check = async (words, ...constraints) => assert.rejects(ask.all(query(all, ...constraints)), error => {
      refused(ask.invalid)(error);
      assert.match(error.message, words);
      return true;
    });
    const behind = /order by clause cannot contain more fields after the key/;
    await check(behind, where('n', '!=', 1), orderBy(documentId()));
    await check(behind, orderBy(documentId()), orderBy('n'));
    const beside = /Equality on key is not allowed if there are other inequality fields and key does not appear in inequalities\./;
    await check(beside, where('n', '!=', 1), where(documentId(), '==', 'a'));
    await check(beside, where('n', '>', 1), where(documentId(), 'in', ['a', 'b']));
    const found = async (want, ...constraints) => assert.equal(ids(await ask.all(query(all, ...constraints))), want);
    await found('de', where('n', '>', 1), where(documentId(), '>', 'c'));
    await found('b', where('even', '==', true), where(documentId(), '==', 'b'));
  });

  test('writes to one document that can never stand together are refused as such', async () => {
    const db = fresh();
    const [there, missing] = [doc(db, 'rooms/there'), doc(db, 'rooms/missing')];
    await setDoc(there, { n: 0 });
    for (const ref of [there, missing]) {
      await assert.rejects(writeBatch(db).delete(ref).update(ref, { n: 1 }).commit(), refused(ask.invalid));
      await writeBatch(db).delete(ref).set(ref, { n: 1 }).update(ref, { n: 2 }).commit();
      assert.deepEqual((await ask.read(ref)).data(), { n: 2 });
      await writeBatch(db).update(ref, { n: 3 }).delete(ref).delete(ref).commit();
      assert.equal((await ask.read(ref)).exists(), false);
    }
  });

  test('names and texts stand in the cloud’s order, whatever they are made of', async () => {
    const db = fresh();
    const names = [
      '__id-9223372036854775808__', '__id-2__', '__id7__', '__id12__', '__id9223372036854775807__',
      '12', '7', 'A', 'Aa', '__id', '__id1_', '_id1__', 'a', 'é', '你', '︒', 'Ｐ', '🄟', '😀',
    ];
    const all = collection(db, 'names');
    const batch = writeBatch(db);
    for (const name of names.toReversed()) {
      const place = names.indexOf(name);
      batch.set(doc(all, name), { place, text: name, list: [name], map: { in: name }, key: { [name.replace(/^__/, '')]: true } });
    }
    await batch.commit();
    const check = async (want, ...constraints) => {
      assert.deepEqual((await ask.all(query(all, ...constraints))).docs.map(one => one.id), want);
    };
    await check(names);
    await check(names, orderBy(documentId()));
    await check(names.slice(3, 9), where(documentId(), '>', '__id7__'), where(documentId(), '<=', 'Aa'));
    // Texts go by their code points alone.
    const points = (a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b));
    for (const field of ['text', 'list', 'map.in']) await check(names.toSorted(points), orderBy(field));
    await check(['你', '︒', 'Ｐ', '🄟', '😀'], where('key', '>=', { 你: true }), orderBy('key'));
  });

  test('documents below names of any letters are found, counted and read', async () => {
    const db = fresh();
    for (const path of ['odd!@#$%^&*()_+/sub', 'a b/ä?y&z=1', '%2F/%25', '..a/:commit']) {
      const all = collection(db, `rooms/${path}`);
      const { id } = await addDoc(all, { n: 1 });
      assert.equal((await ask.count(all)).data().count, 1, path);
      assert.equal(ids(await ask.all(all)), id);
      assert.deepEqual((await ask.read(doc(all, id))).data(), { n: 1 });
    }
  });

  test('numbers at their edges are summed and averaged as the cloud does', async () => {
    const db = fresh();
    const max = Number.MAX_VALUE;
    for (const [numbers, want] of [
      [[max, max], [Infinity, Infinity]], [[-max, -max], [-Infinity, -Infinity]], [[max, max, -max, -max], [0, 0]],
      [[5, NaN], [NaN, NaN]], [[5, '3', [1]], [5, 5]], [[], [0, null]], [[5e-324], [5e-324, 5e-324]], [[5e-324, 0], [5e-324, 0]],
    ]) {
      const all = collection(db, `rooms/${String(numbers.length)}/${JSON.stringify(numbers).replaceAll('/', '')}`);
      for (const n of numbers) await addDoc(all, { n });
      const { total, mean } = (await ask.numbers(all, { total: sum('n'), mean: average('n') })).data();
      assert.deepEqual([total, mean], want, String(numbers));
    }
  });
}
