// The newest @google-cloud/firestore with `preferRest`, unmodified: what it can do without a stream it does by REST.
// FIRESTORE_EMULATOR_HOST says where the server is.
//
// Each test has a database of its own, so that they neither meet nor wait for each other.

import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import firestore from '@google-cloud/firestore';

import { standIn } from './credentials.js';

const { AggregateField, FieldPath, FieldValue, Firestore, GeoPoint, GrpcStatus, Timestamp } = firestore;

const opened = [];
let asked = 0;

/** A fresh database. */
function fresh() {
  const auth = standIn({ noted: () => { asked += 1; } });
  const db = new Firestore({ projectId: 'conform', databaseId: `rest-${opened.length}`, preferRest: true, auth });
  opened.push(db);
  return db;
}

after(() => Promise.all(opened.map(db => db.terminate())));

const ids = snapshot => snapshot.docs.map(doc => doc.id).join('');
const refused = (code, text) => error => {
  assert.equal(error.code, code, error.message);
  assert.match(error.message, text);
  return true;
};

/** Cities a to e with n 1 to 5. */
async function cities(db) {
  const batch = db.batch();
  for (const [index, id] of ['a', 'b', 'c', 'd', 'e'].entries()) batch.set(db.doc(`cities/${id}`), { n: index + 1 });
  await batch.commit();
  return db.collection('cities');
}

test('every type of value comes back as it went', async () => {
  const db = fresh();
  const value = {
    null: null, yes: true, int: 7, double: 1.5, nan: NaN, infinite: -Infinity, text: 'ä€𝄞', bytes: Buffer.from([0, 255]),
    time: new Timestamp(1_700_000_000, 123_456_000), point: new GeoPoint(-12.5, 179), list: [1, 'a', null, { in: [] }],
    map: { 'a.b': { '`c`': 1 }, empty: {} }, vector: FieldValue.vector([1, 2.5, -3]), ref: db.doc('other/place'),
  };
  const ref = db.doc('types/all of them: 100%');
  await ref.set(value);
  const got = (await ref.get()).data();
  for (const name of ['time', 'point', 'vector', 'ref']) {
    assert.ok(got[name].isEqual(value[name]), name);
    delete got[name];
    delete value[name];
  }
  assert.deepEqual(got, value);
  assert.equal(asked, 2, 'both by REST');
});

test('documents are created, merged, changed and deleted, with the errors that apps know', async () => {
  const db = fresh();
  const ref = db.doc('rooms/a');
  const first = await ref.create({ n: 1, map: { x: 1 } });
  await assert.rejects(ref.create({}), refused(GrpcStatus.ALREADY_EXISTS, /already exists/));
  await ref.set({ map: { y: 2 } }, { merge: true });
  await ref.update({ n: FieldValue.increment(2), at: FieldValue.serverTimestamp(), 'map.x': FieldValue.delete() });
  const { at, ...rest } = (await ref.get()).data();
  assert.ok(at instanceof Timestamp);
  assert.deepEqual(rest, { n: 3, map: { y: 2 } });
  await assert.rejects(
    ref.update({ n: 1 }, { lastUpdateTime: first.writeTime }),
    refused(GrpcStatus.FAILED_PRECONDITION, /does not match the required base version/),
  );
  await ref.delete();
  await assert.rejects(ref.update({ n: 1 }), refused(GrpcStatus.NOT_FOUND, /No document to update/));
  assert.equal((await ref.get()).exists, false);
});

test('queries, cursors, counts and lists find what they should', async () => {
  const db = fresh();
  const all = await cities(db);
  await db.doc('cities/e/parts/x').set({ n: 9 });
  await db.doc('cities/f/parts/y').set({ n: 8 });
  assert.equal(ids(await all.where('n', '>', 1).orderBy('n', 'desc').limit(3).get()), 'edc');
  assert.equal(ids(await all.where('n', 'in', [1, 5]).get()), 'ae');
  assert.equal(ids(await all.orderBy('n').startAfter(2).endBefore(5).get()), 'cd');
  assert.equal(ids(await all.orderBy('n').limitToLast(2).get()), 'de');
  assert.equal(ids(await all.where('n', '>', 100).get()), '');
  assert.equal(ids(await db.collectionGroup('parts').orderBy(FieldPath.documentId()).get()), 'xy');
  assert.equal((await all.where('n', '>', 3).count().get()).data().count, 2);
  const numbers = all.aggregate({ sum: AggregateField.sum('n'), average: AggregateField.average('n') });
  assert.deepEqual((await numbers.get()).data(), { sum: 15, average: 3 });
  assert.deepEqual((await all.listDocuments()).map(doc => doc.id).join(''), 'abcdef');
  assert.deepEqual((await db.listCollections()).map(one => one.id), ['cities']);
  assert.deepEqual((await db.doc('cities/f').listCollections()).map(one => one.id), ['parts']);
  const [found, missing] = await db.getAll(db.doc('cities/a'), db.doc('cities/z'), { fieldMask: ['n'] });
  assert.deepEqual([found.data(), missing.exists], [{ n: 1 }, false]);
  const parts = [];
  for await (const part of db.collectionGroup('cities').getPartitions(3)) parts.push(part);
  const split = await Promise.all(parts.map(part => part.toQuery().get()));
  assert.equal(split.map(ids).join(''), 'abcde');
});

test('a large result arrives whole', async () => {
  const db = fresh();
  const writer = db.bulkWriter();
  const text = 'ü'.repeat(2_000);
  for (let n = 0; n < 300; n += 1) writer.set(db.doc(`rooms/${n}`), { n, text });
  await writer.close();
  const got = await db.collection('rooms').orderBy('n').get();
  assert.deepEqual(got.docs.map(doc => doc.get('n')), Array.from({ length: 300 }, (_, n) => n));
  assert.ok(got.docs.every(doc => doc.get('text') === text));
});

test('a contended counter is counted by transactions to the last one', async () => {
  const db = fresh();
  const ref = db.doc('counters/one');
  const add = () => db.runTransaction(async transaction => {
    const got = await transaction.get(ref);
    transaction.set(ref, { n: (got.data()?.n ?? 0) + 1 });
  }, { maxAttempts: 50 });
  await Promise.all(Array.from({ length: 5 }, add));
  assert.equal((await ref.get()).get('n'), 5);
  const seen = await db.runTransaction(
    async transaction => (await transaction.get(db.collection('counters'))).size, { readOnly: true },
  );
  assert.equal(seen, 1);
  await assert.rejects(db.runTransaction(async () => { throw new Error('mine'); }), /mine/);
});
