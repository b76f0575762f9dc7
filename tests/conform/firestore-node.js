// The newest @google-cloud/firestore, unmodified, before the real server: FIRESTORE_EMULATOR_HOST says where it is.
//
// Each test has a database of its own, so that they neither meet nor wait for each other.

import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import firestore from '@google-cloud/firestore';

const { AggregateField, FieldPath, FieldValue, Filter, Firestore, GeoPoint, GrpcStatus, Timestamp } = firestore;

const opened = [];
let databases = 0;

/** A fresh database. */
function fresh(settings = {}) {
  const db = new Firestore({ projectId: 'conform', databaseId: `node-${databases++}`, ...settings });
  opened.push(db);
  return db;
}

after(() => Promise.all(opened.map(db => db.terminate())));

const ids = snapshot => snapshot.docs.map(doc => doc.id);
const refused = (code, text) => error => {
  assert.equal(error.code, code, error.message);
  assert.match(error.message, text);
  return true;
};

/** Collects what a listener says; `next()` waits for its next snapshot. */
function listening(query) {
  const seen = [];
  const waiting = [];
  const tell = one => (waiting.length ? waiting.shift()(one) : seen.push(one));
  const stop = query.onSnapshot(snapshot => tell({ snapshot }), error => tell({ error }));
  const next = async () => {
    const { snapshot, error } = seen.length ? seen.shift() : await new Promise(done => waiting.push(done));
    if (error) throw error;
    return snapshot;
  };
  return { next, stop };
}

test('every type of value comes back as it went', async () => {
  const db = fresh();
  const value = {
    null: null, yes: true, int: 7, double: 1.5, big: 2 ** 53, nan: NaN, infinite: -Infinity, zero: -0,
    text: 'ä€𝄞', empty: '', bytes: Buffer.from([0, 255]), time: new Timestamp(1_700_000_000, 123_456_000),
    early: new Timestamp(-62_135_596_800, 0), point: new GeoPoint(-12.5, 179), ref: db.doc('other/place'),
    list: [1, 'a', null, { in: [] }], map: { 'a.b': { '`c`': 1 }, empty: {} }, vector: FieldValue.vector([1, 2.5, -3]),
  };
  const ref = db.doc('types/all');
  await ref.set(value);
  const got = (await ref.get()).data();
  assert.ok(got.vector.isEqual(value.vector));
  assert.ok(got.ref.isEqual(value.ref));
  assert.ok(got.time.isEqual(value.time) && got.early.isEqual(value.early) && got.point.isEqual(value.point));
  for (const name of ['vector', 'ref', 'time', 'early', 'point']) delete got[name], delete value[name];
  assert.deepEqual(got, value);
});

test('documents are made, changed, merged and deleted', async () => {
  const db = fresh();
  const ref = db.collection('rooms').doc('a');
  const { writeTime } = await ref.create({ n: 1, in: { a: 1, b: 2 } });
  await assert.rejects(ref.create({}), refused(GrpcStatus.ALREADY_EXISTS, /Document already exists: projects\/conform/));
  const first = await ref.get();
  assert.ok(first.createTime.isEqual(writeTime) && first.updateTime.isEqual(writeTime));
  assert.ok(first.readTime.valueOf() >= writeTime.valueOf());

  await ref.update({ 'in.a': FieldValue.delete(), 'in.c': 3, n: FieldValue.increment(2) });
  await ref.update(new FieldPath('x.y'), 'dotted');
  await ref.set({ in: { d: 4 }, at: FieldValue.serverTimestamp() }, { merge: true });
  await ref.set({ only: 1, not: 2 }, { mergeFields: ['only'] });
  const now = await ref.get();
  const { at, ...rest } = now.data();
  assert.deepEqual(rest, { n: 3, in: { b: 2, c: 3, d: 4 }, 'x.y': 'dotted', only: 1 });
  assert.ok(at instanceof Timestamp);
  assert.ok(now.createTime.isEqual(writeTime) && now.updateTime.valueOf() > writeTime.valueOf());

  await ref.update({ tags: FieldValue.arrayUnion('a', 'b', 'a') });
  await ref.update({ tags: FieldValue.arrayRemove('a') });
  assert.deepEqual((await ref.get()).get('tags'), ['b']);

  await assert.rejects(db.doc('rooms/none').update({ a: 1 }), refused(GrpcStatus.NOT_FOUND, /No document to update: /));
  await assert.rejects(
    ref.delete({ lastUpdateTime: writeTime }),
    refused(GrpcStatus.FAILED_PRECONDITION, /does not match the required base version/),
  );
  const later = Timestamp.fromMillis(Date.now() + 3_600_000);
  await assert.rejects(ref.update({ a: 1 }, { lastUpdateTime: later }), refused(GrpcStatus.INVALID_ARGUMENT, /greater than the stored version/));
  await ref.delete({ lastUpdateTime: (await ref.get()).updateTime });
  assert.equal((await ref.get()).exists, false);
  await ref.delete();
  await assert.rejects(ref.delete({ exists: true }), refused(GrpcStatus.NOT_FOUND, /No document/));

  const added = await db.collection('rooms').add({ n: 1 });
  assert.match(added.id, /^[A-Za-z0-9]{20}$/);
});

test('a batch is written whole or not at all', async () => {
  const db = fresh();
  await db.doc('rooms/b').set({ n: 1 });
  const batch = db.batch().set(db.doc('rooms/a'), { n: 1 }).update(db.doc('rooms/none'), { n: 1 });
  await assert.rejects(batch.commit(), refused(GrpcStatus.NOT_FOUND, /rooms\/none/));
  assert.equal((await db.doc('rooms/a').get()).exists, false);
  const results = await db.batch().set(db.doc('rooms/a'), { n: 1 }).update(db.doc('rooms/a'), { m: 2 }).delete(db.doc('rooms/b')).commit();
  assert.equal(results.length, 3);
  const all = await db.getAll(db.doc('rooms/a'), db.doc('rooms/b'), db.doc('rooms/a'), { fieldMask: ['m'] });
  assert.deepEqual(all.map(doc => doc.data()), [{ m: 2 }, undefined, { m: 2 }]);
  assert.equal((await db.batch().commit()).length, 0);
});

test('what is too large or no value is refused in Firestore’s words', async () => {
  const db = fresh();
  await assert.rejects(
    db.doc('a/b').set({ text: 'x'.repeat(1_048_576) }),
    refused(GrpcStatus.INVALID_ARGUMENT, /exceeds the maximum allowed size of 1,048,576 bytes/),
  );
  await assert.rejects(db.doc('a/b').set({ __x__: 1 }), refused(GrpcStatus.INVALID_ARGUMENT, /reserved/));
});

test('every filter finds what it means', async () => {
  const db = fresh();
  const rooms = db.collection('rooms');
  const documents = {
    a: { n: 1, tags: ['x', 'y'], in: { v: 1 } },
    b: { n: 2.5, tags: ['y'], in: { v: 2 } },
    c: { n: 3, tags: [], in: {} },
    d: { n: NaN, tags: 'x' },
    e: { n: null },
    f: { n: 'text' },
    g: {},
  };
  const batch = db.batch();
  for (const [id, data] of Object.entries(documents)) batch.set(rooms.doc(id), data);
  await batch.commit();
  const check = async (query, want) => assert.deepEqual(ids(await query.get()), want);

  await check(rooms, ['a', 'b', 'c', 'd', 'e', 'f', 'g']);
  await check(rooms.where('n', '==', 1), ['a']);
  await check(rooms.where('n', '==', null), ['e']);
  await check(rooms.where('n', '==', NaN), ['d']);
  await check(rooms.where('n', '!=', 1), ['d', 'b', 'c', 'f']);
  await check(rooms.where('n', '!=', null), ['d', 'a', 'b', 'c', 'f']);
  await check(rooms.where('n', '<', 3), ['a', 'b']);
  await check(rooms.where('n', '<=', 3), ['a', 'b', 'c']);
  await check(rooms.where('n', '>', 1).where('n', '<', 3), ['b']);
  await check(rooms.where('n', '>=', 'a'), ['f']);
  await check(rooms.where('n', 'in', [1, 3, 'text', null]), ['a', 'c', 'f']);
  await check(rooms.where('n', 'not-in', [1, 3]), ['d', 'b', 'f']);
  await check(rooms.where('tags', 'array-contains', 'y'), ['a', 'b']);
  await check(rooms.where('tags', 'array-contains-any', ['x', 'z']), ['a']);
  await check(rooms.where('tags', '==', ['y']), ['b']);
  await check(rooms.where('in.v', '>', 1), ['b']);
  await check(rooms.where('in', '==', { v: 1 }), ['a']);
  await check(rooms.where(FieldPath.documentId(), '>', 'e'), ['f', 'g']);
  await check(rooms.where(FieldPath.documentId(), 'in', ['g', 'a', 'nobody']), ['a', 'g']);
  await check(
    rooms.where(Filter.or(Filter.where('n', '==', 1), Filter.and(Filter.where('n', '>', 2), Filter.where('tags', '==', [])))),
    ['a', 'c'],
  );
  await check(rooms.orderBy('n', 'desc'), ['f', 'c', 'b', 'a', 'd', 'e']);
  await check(rooms.orderBy('in.v'), ['a', 'b']);
  await check(rooms.orderBy('n').limit(2), ['e', 'd']);
  await check(rooms.orderBy('n').limitToLast(2), ['c', 'f']);
  await check(rooms.orderBy('n').offset(4), ['c', 'f']);
  const selected = await rooms.where('n', '==', 1).select('in.v', 'none').get();
  assert.deepEqual(selected.docs[0].data(), { in: { v: 1 } });
  assert.deepEqual((await rooms.select().limit(1).get()).docs[0].data(), {});
});

test('cursors begin and end where they say, by values and by documents', async () => {
  const db = fresh();
  const rooms = db.collection('rooms');
  for (const [id, n] of Object.entries({ a: 1, b: 2, c: 2, d: 3 })) await rooms.doc(id).set({ n });
  const by = rooms.orderBy('n');
  const check = async (query, want) => assert.deepEqual(ids(await query.get()), want);
  await check(by.startAt(2), ['b', 'c', 'd']);
  await check(by.startAfter(2), ['d']);
  await check(by.endAt(2), ['a', 'b', 'c']);
  await check(by.endBefore(2), ['a']);
  const b = await rooms.doc('b').get();
  await check(by.startAt(b), ['b', 'c', 'd']);
  await check(by.startAfter(b), ['c', 'd']);
  await check(by.endBefore(b), ['a']);
  await check(by.startAfter(b).limitToLast(1), ['d']);
  await check(rooms.orderBy(FieldPath.documentId()).startAfter('b'), ['c', 'd']);
  await check(by.orderBy(FieldPath.documentId(), 'desc').startAfter(2, 'c'), ['b', 'd']);
  await check(rooms.orderBy('n', 'desc').startAfter(b), ['a']);
});

test('collection groups, aggregations, partitions and plans', async () => {
  const db = fresh();
  const batch = db.batch();
  for (let n = 0; n < 40; n++) batch.set(db.doc(`rooms/${n % 4}/messages/m${n}`), { n, half: n / 2 });
  batch.set(db.doc('messages/top'), { n: 100, text: true });
  await batch.commit();
  const group = db.collectionGroup('messages');
  assert.equal((await group.get()).size, 41);
  assert.equal((await group.where('n', '<', 3).get()).size, 3);
  assert.equal((await group.count().get()).data().count, 41);
  assert.equal((await group.limit(7).count().get()).data().count, 7);
  const sums = await db.collection('rooms/1/messages').aggregate({
    count: AggregateField.count(), sum: AggregateField.sum('n'), mean: AggregateField.average('half'),
  }).get();
  assert.deepEqual(sums.data(), { count: 10, sum: 190, mean: 9.5 });
  const halves = db.collection('halves');
  for (const n of [4.8, 5.9, 6.0, 7.1, 8.2]) await halves.add({ n });
  const mean = await halves.aggregate({ sum: AggregateField.sum('n'), mean: AggregateField.average('n') }).get();
  assert.deepEqual(mean.data(), { sum: 32, mean: 6.4 }, 'the mean is the sum as it is told, divided');
  const none = await db.collection('none').aggregate({ sum: AggregateField.sum('n'), mean: AggregateField.average('n') }).get();
  assert.deepEqual(none.data(), { sum: 0, mean: null });
  // What is summed also orders, where the query says no other order: a limit takes the least, of those that have the field.
  const { sum, count } = AggregateField;
  for (const [id, data] of Object.entries({ a: {}, b: { n: 3 }, c: { n: 1, m: 5 }, d: { n: 2, m: 1 } })) await db.doc(`few/${id}`).set(data);
  const few = db.collection('few');
  const asked = async (query, ...fields) => (await query.aggregate(fields.reduce((all, name) => ({ ...all, [name]: sum(name) }), { count: count() })).get()).data();
  assert.deepEqual(await asked(few.limit(2), 'n'), { count: 2, n: 3 });
  assert.deepEqual(await asked(few.offset(1), 'n'), { count: 2, n: 5 });
  assert.deepEqual(await asked(few.limit(1), 'm', 'n'), { count: 1, m: 1, n: 2 });
  assert.deepEqual(await asked(few.orderBy('n', 'desc').limit(1), 'n'), { count: 1, n: 3 });
  assert.deepEqual(await asked(few.orderBy('m', 'desc').limit(1), 'n'), { count: 1, n: 1 });

  const parts = [];
  for await (const part of group.getPartitions(5)) parts.push(part);
  assert.equal(parts.length, 5);
  const sizes = await Promise.all(parts.map(async part => (await part.toQuery().get()).size));
  assert.equal(sizes.reduce((a, b) => a + b), 41);
  assert.ok(Math.max(...sizes) <= 10);

  const plan = await group.where('n', '<', 3).explain();
  assert.equal(plan.metrics.executionStats, null);
  assert.ok(plan.metrics.planSummary.indexesUsed.length);
  const run = await group.where('n', '<', 3).explain({ analyze: true });
  assert.equal(run.snapshot.size, 3);
  assert.equal(run.metrics.executionStats.resultsReturned, 3);
  const counted = await group.count().explain({ analyze: true });
  assert.equal(counted.snapshot.data().count, 41);
});

test('neighbours of a vector are found exactly', async () => {
  const db = fresh();
  const points = db.collection('points');
  await points.doc('a').set({ in: { v: FieldValue.vector([1, 0]) } });
  await points.doc('b').set({ in: { v: FieldValue.vector([0, 2]) } });
  await points.doc('c').set({ in: { v: FieldValue.vector([3, 4]) } });
  await points.doc('other').set({ in: { v: FieldValue.vector([1]) } });
  const near = async options => (await points.findNearest({ vectorField: 'in.v', queryVector: [1, 0], limit: 3, ...options }).get());
  assert.deepEqual(ids(await near({ distanceMeasure: 'EUCLIDEAN' })), ['a', 'b', 'c']);
  assert.deepEqual(ids(await near({ distanceMeasure: 'DOT_PRODUCT' })), ['c', 'a', 'b']);
  const cosine = await near({ distanceMeasure: 'COSINE', distanceThreshold: 0.5, distanceResultField: 'far' });
  assert.deepEqual(cosine.docs.map(doc => [doc.id, doc.get('far')]), [['a', 0], ['c', 1 - 0.6]]);
});

test('a transaction reads one state and commits on it alone', async () => {
  const db = fresh();
  const ref = db.doc('rooms/a');
  await ref.set({ n: 1 });
  const result = await db.runTransaction(async transaction => {
    const doc = await transaction.get(ref);
    const missing = await transaction.get(db.doc('rooms/none'));
    assert.equal(missing.exists, false);
    const all = await transaction.get(db.collection('rooms').where('n', '>', 0));
    assert.equal(all.size, 1);
    assert.equal((await transaction.get(db.collection('rooms').count())).data().count, 1);
    transaction.update(ref, { n: doc.get('n') + 1 }).create(db.doc('rooms/b'), { n: 5 });
    return 'done';
  });
  assert.equal(result, 'done');
  assert.equal((await ref.get()).get('n'), 2);

  let attempts = 0;
  await db.runTransaction(async transaction => {
    attempts++;
    const doc = await transaction.get(ref);
    if (attempts === 1) await ref.set({ n: 10 });
    transaction.update(ref, { n: doc.get('n') + 1 });
  });
  assert.deepEqual([attempts, (await ref.get()).get('n')], [2, 11]);

  attempts = 0;
  await db.runTransaction(async transaction => {
    attempts++;
    const many = await transaction.get(db.collection('rooms').where('n', '>', 3).limit(2));
    if (attempts === 1) await db.doc('rooms/0').set({ n: 7 });
    transaction.set(db.doc('sums/a'), { size: many.size });
  });
  assert.equal(attempts, 2, 'a document that comes into a result that was read');

  await assert.rejects(db.runTransaction(async () => { throw new Error('mine'); }), /mine/);
  const { readTime } = await ref.get();
  await ref.set({ n: 99 });
  const then = await db.runTransaction(async transaction => (await transaction.get(ref)).get('n'), { readOnly: true, readTime });
  assert.equal(then, 11);
  const now = await db.runTransaction(async transaction => (await transaction.get(ref)).get('n'), { readOnly: true });
  assert.equal(now, 99);
});

test('a contended counter always goes ahead', async () => {
  const clients = Array.from({ length: 16 }, () => fresh({ databaseId: 'node-contended' }));
  const ref = clients[0].doc('counters/one');
  await ref.set({ n: 0 });
  await Promise.all(clients.map(async db => {
    for (let round = 0; round < 3; round++) {
      await db.runTransaction(async transaction => {
        const own = db.doc('counters/one');
        const doc = await transaction.get(own);
        transaction.update(own, { n: doc.get('n') + 1 });
      });
    }
  }));
  assert.equal((await ref.get()).get('n'), 48);
});

test('missing parents are listed, and everything below is deleted with them', async () => {
  const db = fresh();
  const writes = ['rooms/a', 'rooms/a/messages/x', 'rooms/gone/messages/y', 'rooms/gone/pins/z', 'rooms!/other', 'roomsy/z'];
  await Promise.all(writes.map(path => db.doc(path).set({ n: 1 })));
  const rooms = db.collection('rooms');
  assert.deepEqual((await rooms.listDocuments()).map(ref => ref.id), ['a', 'gone']);
  assert.deepEqual((await db.listCollections()).map(one => one.id), ['rooms', 'rooms!', 'roomsy']);
  assert.deepEqual((await db.doc('rooms/gone').listCollections()).map(one => one.id), ['messages', 'pins']);
  await db.recursiveDelete(db.doc('rooms/gone'));
  assert.deepEqual((await rooms.listDocuments()).map(ref => ref.id), ['a']);
  await db.recursiveDelete(rooms);
  assert.deepEqual((await db.listCollections()).map(one => one.id), ['rooms!', 'roomsy']);
});

test('a listener hears every change and nothing else', async () => {
  const db = fresh();
  const rooms = db.collection('rooms');
  const watch = listening(rooms.where('n', '>', 0).orderBy('n'));
  const first = await watch.next();
  assert.equal(first.size, 0);
  await rooms.doc('a').set({ n: 1 });
  const added = await watch.next();
  assert.deepEqual(added.docChanges().map(change => [change.type, change.doc.id]), [['added', 'a']]);
  await db.batch().set(rooms.doc('b'), { n: 2 }).set(rooms.doc('z'), { n: -1 }).update(rooms.doc('a'), { n: 3 }).commit();
  const both = await watch.next();
  assert.deepEqual(ids(both), ['b', 'a']);
  assert.deepEqual(both.docChanges().map(change => change.type).sort(), ['added', 'modified']);
  assert.ok(both.readTime.valueOf() > added.readTime.valueOf());
  await rooms.doc('a').update({ n: -3 });
  assert.deepEqual((await watch.next()).docChanges().map(change => [change.type, change.doc.id]), [['removed', 'a']]);
  await rooms.doc('b').delete();
  assert.equal((await watch.next()).size, 0);
  watch.stop();
});

test('listeners of limits, groups and single documents', async () => {
  const db = fresh();
  const rooms = db.collection('rooms');
  for (const [id, n] of Object.entries({ a: 1, b: 2, c: 3 })) await rooms.doc(id).set({ n });
  const top = listening(rooms.orderBy('n').limit(2));
  const last = listening(rooms.orderBy('n').limitToLast(1));
  const one = listening(rooms.doc('z'));
  const group = listening(db.collectionGroup('rooms').select('n'));
  assert.deepEqual(ids(await top.next()), ['a', 'b']);
  assert.deepEqual(ids(await last.next()), ['c']);
  assert.equal((await one.next()).exists, false);
  assert.equal((await group.next()).size, 3);
  await rooms.doc('a').delete();
  assert.deepEqual(ids(await top.next()), ['b', 'c']);
  assert.equal((await group.next()).size, 2);
  await rooms.doc('z').set({ n: 9, more: true });
  assert.deepEqual(ids(await last.next()), ['z']);
  assert.equal((await one.next()).get('n'), 9);
  assert.deepEqual((await group.next()).docs.map(doc => doc.data()), [{ n: 2 }, { n: 3 }, { n: 9 }]);
  await rooms.doc('z').delete();
  assert.equal((await one.next()).exists, false);
  for (const watch of [top, last, one, group]) watch.stop();
});

test('what cannot be listened to says so', async () => {
  // Only listening: of a query that is refused this client takes seven seconds to be convinced.
  await assert.rejects(listening(fresh().collection('rooms').limit(-1)).next(), /Error 3: limit is negative: -1/);
});

test('types of MongoDB are refused, as Firestore’s own edition refuses them, and bytes are bytes', async () => {
  const { BsonObjectId, BsonTimestamp, Bytes, Decimal128Value, Int32Value, MaxKey, MinKey, RegexValue } = firestore;
  const ref = fresh().doc('a/b');
  const others = {
    INT: new Int32Value(1), DECIMAL128: new Decimal128Value('1.5'), OBJECT_ID: new BsonObjectId('507f191e810c19729de860ea'),
    REQUEST_TIMESTAMP: new BsonTimestamp(1, 2), REGEX: new RegexValue('a', 'i'), MIN_VALUE: MinKey.instance(), MAX_VALUE: MaxKey.instance(),
  };
  for (const [name, v] of Object.entries(others)) {
    await assert.rejects(ref.set({ v }), refused(GrpcStatus.INVALID_ARGUMENT, new RegExp(`Value type ${name} is not allowed`)));
  }
  await ref.set({ v: Bytes.fromUint8Array(new Uint8Array([0, 255])) });
  assert.deepEqual((await ref.get()).data(), { v: Buffer.from([0, 255]) });
});

test('the client’s settings and its messages are its own', async () => {
  const { DEFAULT_MAX_IDLE_CHANNELS, MAX_REQUEST_RETRIES, protos, setLogFunction } = firestore;
  assert.ok(DEFAULT_MAX_IDLE_CHANNELS > 0 && MAX_REQUEST_RETRIES > 0);
  const said = [];
  setLogFunction(text => said.push(text));
  const db = fresh({ maxIdleChannels: 0 });
  await db.doc('a/b').set({ n: 1 });
  setLogFunction(null);
  assert.ok(said.length);
  const message = protos.google.firestore.v1.Document.fromObject({ name: 'a', fields: { n: { integerValue: 1 } } });
  assert.equal(String(message.fields.n.integerValue), '1');
});

test('a text that is none, and other bytes that are no message, are the client’s own fault', async () => {
  const db = fresh();
  // JavaScript's texts may hold half of a pair of surrogates, UTF-8 cannot.
  await assert.rejects(db.doc('a/half').set({ text: 'a\ud83d' }), refused(GrpcStatus.INVALID_ARGUMENT, /not UTF-8/));
  await db.doc('a/whole').set({ text: '😀' });
  assert.deepEqual(ids(await db.collection('a').get()), ['whole']);
});

test('the state of a test is saved and restored, and a listener sees it in one step', async () => {
  const db = fresh();
  const rooms = db.collection('rooms');
  const snapshot = method => fetch(
    `http://${process.env.FIRESTORE_EMULATOR_HOST}/emulator/v1/projects/conform/databases/${db.databaseId}/snapshots/start`,
    { method },
  ).then(answer => answer.json());
  for (const [id, n] of [['a', 1], ['b', 2], ['c', 3]]) await rooms.doc(id).set({ n });
  assert.deepEqual(await snapshot('POST'), { documents: 3, changed: 0 });

  await rooms.doc('b').update({ n: 20 });
  await rooms.doc('c').delete();
  await rooms.doc('d').set({ n: 4 });
  const { next, stop } = listening(rooms);
  assert.deepEqual(ids(await next()), ['a', 'b', 'd']);
  assert.deepEqual(await snapshot('PUT'), { documents: 3, changed: 3 });
  const restored = await next();
  assert.deepEqual(restored.docs.map(doc => [doc.id, doc.get('n')]), [['a', 1], ['b', 2], ['c', 3]]);
  assert.deepEqual(restored.docChanges().map(({ type, doc }) => `${type} ${doc.id}`).sort(), ['added c', 'modified b', 'removed d']);
  stop();
});
