// The newest @google-cloud/firestore, unmodified, with much at once: bulk writes, deleting all below, partitions, plans,
// neighbours. FIRESTORE_EMULATOR_HOST says where the server is. Each test has a database of its own.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import http2 from 'node:http2';
import { after, test } from 'node:test';
import firestore from '@google-cloud/firestore';

const { AggregateField, FieldPath, FieldValue, Filter, Firestore, GrpcStatus } = firestore;

const opened = [];

/** A fresh database. */
function fresh() {
  const db = new Firestore({ projectId: 'conform', databaseId: `bulk-${opened.length}` });
  opened.push(db);
  return db;
}

after(() => Promise.all(opened.map(db => db.terminate())));

const ids = snapshot => snapshot.docs.map(doc => doc.id);
const count = async query => (await query.count().get()).data().count;

test('a bulk writer writes five thousand documents of every kind of write, and each has its own outcome', async () => {
  const db = fresh();
  const bulk = db.collection('bulk');
  const writer = db.bulkWriter({ throttling: false });
  const told = [];
  writer.onWriteResult(({ path }) => told.push(path));
  const made = Array.from({ length: 5_000 }, (_, n) => writer.create(bulk.doc(`d${n}`), { n, even: n % 2 === 0 }));
  await writer.flush();
  assert.equal(new Set((await Promise.all(made)).map(({ writeTime }) => writeTime)).size, 5_000);
  assert.equal(new Set(told).size, 5_000);
  assert.equal(await count(bulk), 5_000);

  // A second round over the same ones: a third of each kind, and some that fail.
  const failed = [];
  writer.onWriteError(({ code, operationType, documentRef, failedAttempts }) => {
    failed.push([operationType, documentRef.id, code, failedAttempts]);
    return false;
  });
  const quietly = promise => void promise.catch(() => {});
  for (let n = 0; n < 5_000; n++) {
    const ref = bulk.doc(`d${n}`);
    if (n % 3 === 0) quietly(writer.update(ref, { n: FieldValue.increment(10_000) }));
    else if (n % 3 === 1) quietly(writer.delete(ref));
    else quietly(writer.set(ref, { more: true }, { merge: true }));
  }
  quietly(writer.create(bulk.doc('d5'), {}));
  quietly(writer.update(bulk.doc('nobody'), { n: 1 }));
  quietly(writer.delete(bulk.doc('nothing'), { exists: true }));
  await writer.close();
  assert.deepEqual(failed.sort(), [
    ['create', 'd5', GrpcStatus.ALREADY_EXISTS, 1],
    ['delete', 'nothing', GrpcStatus.NOT_FOUND, 1],
    ['update', 'nobody', GrpcStatus.NOT_FOUND, 1],
  ]);
  assert.equal(await count(bulk), 5_000 - 1_667);
  assert.equal(await count(bulk.where('n', '>=', 10_000)), 1_667);
  assert.equal(await count(bulk.where('more', '==', true)), 1_666);
  const sums = bulk.aggregate({ sum: AggregateField.sum('n'), mean: AggregateField.average('n'), count: AggregateField.count() });
  const numbers = Array.from({ length: 5_000 }, (_, n) => n).filter(n => n % 3 !== 1).map(n => (n % 3 === 0 ? n + 10_000 : n));
  const sum = numbers.reduce((a, b) => a + b);
  assert.deepEqual((await sums.get()).data(), { sum, mean: sum / numbers.length, count: numbers.length });
});

test('a refused write is tried again where its writer wants that', async () => {
  const db = fresh();
  const writer = db.bulkWriter({ throttling: false });
  const ref = db.doc('late/one');
  writer.onWriteError(({ code, failedAttempts }) => {
    if (failedAttempts === 1) void db.doc('late/one').set({ n: 1 });
    return code === GrpcStatus.NOT_FOUND && failedAttempts < 10;
  });
  await Promise.all([writer.update(ref, { n: FieldValue.increment(1) }), writer.close()]);
  assert.equal((await ref.get()).get('n'), 2);
});

test('all below a collection is deleted, thousands deep, and nothing beside it', async () => {
  const db = fresh();
  const writer = db.bulkWriter({ throttling: false });
  for (let n = 0; n < 5_500; n++) void writer.set(db.doc(`tree/t${n % 50}/leaves/l${n}`), { n });
  for (const path of ['tree/t0', 'tree!/t0', 'tree/t0/leaves/l0/deeper/still', 'treetop/a', 'other/t0/leaves/l']) void writer.set(db.doc(path), {});
  await writer.flush();
  const tree = db.collection('tree');
  assert.equal((await tree.listDocuments()).length, 50, 'all but one of them is missing itself');
  assert.deepEqual(ids(await tree.get()), ['t0']);
  const later = await db.doc('tree/t1').get();
  assert.equal(later.exists, false);

  await db.recursiveDelete(db.doc('tree/t0'), writer);
  assert.equal(await count(db.collectionGroup('leaves')), 5_500 - 110 + 1);
  assert.equal((await tree.listDocuments()).length, 49);
  await db.recursiveDelete(tree, writer);
  assert.equal((await tree.listDocuments()).length, 0);
  assert.deepEqual((await db.listCollections()).map(one => one.id), ['other', 'tree!', 'treetop']);
  assert.equal(await count(db.collectionGroup('leaves')), 1);
  await writer.close();
});

test('partitions cover a group once, however many are asked for', async () => {
  const db = fresh();
  const writer = db.bulkWriter({ throttling: false });
  for (let n = 0; n < 1_000; n++) void writer.set(db.doc(`rooms/${n % 7}/messages/m${n}`), { n });
  void writer.set(db.doc('messages/top'), { n: -1 });
  await writer.close();
  const group = db.collectionGroup('messages');
  const whole = ids(await group.orderBy(FieldPath.documentId()).get());
  assert.equal(whole.length, 1_001);
  for (const wanted of [1, 2, 10, 300]) {
    const found = [];
    let parts = 0;
    for await (const part of group.getPartitions(wanted)) {
      parts++;
      found.push(...ids(await part.toQuery().get()));
    }
    assert.deepEqual([parts, found], [wanted, whole], `${wanted}`);
  }
  const none = [];
  for await (const part of db.collectionGroup('none').getPartitions(5)) none.push(part);
  assert.equal(none.length, 1);
  assert.deepEqual([none[0].startAt, none[0].endBefore], [undefined, undefined]);
});

test('a plan is told without running, and with what running cost', async () => {
  const db = fresh();
  const batch = db.batch();
  for (let n = 0; n < 30; n++) batch.set(db.doc(`rooms/r${n}`), { n, v: FieldValue.vector([n, 1]) });
  await batch.commit();
  const some = db.collection('rooms').where('n', '<', 10).orderBy('n', 'desc');
  const neighbours = db.collection('rooms').findNearest({ vectorField: 'v', queryVector: [3, 1], limit: 4, distanceMeasure: 'EUCLIDEAN' });
  const numbers = some.aggregate({ sum: AggregateField.sum('n') });
  for (const query of [some, neighbours, numbers]) {
    const plan = await query.explain();
    assert.equal(plan.snapshot, null);
    assert.equal(plan.metrics.executionStats, null);
    assert.ok(plan.metrics.planSummary.indexesUsed.length >= 1);
  }
  for (const [query, size, results] of [[some, 10, 10], [neighbours, 4, 4], [numbers, undefined, 1]]) {
    const { metrics, snapshot } = await query.explain({ analyze: true });
    assert.equal(snapshot.size, size);
    const { executionDuration, readOperations, resultsReturned } = metrics.executionStats;
    assert.equal(resultsReturned, results);
    assert.ok(readOperations >= 1 && executionDuration.seconds >= 0);
  }
  assert.equal((await numbers.explain({ analyze: true })).snapshot.data().sum, 45);
  const streamed = [];
  for await (const one of some.explainStream({ analyze: true })) streamed.push(one);
  assert.equal(streamed.filter(({ document }) => document).length, 10);
  assert.equal(streamed.filter(({ metrics }) => metrics).length, 1);
  assert.ok(streamed.length === 10 && streamed[9].metrics, 'what it cost comes with the last document');
  const none = [];
  for await (const one of db.collection('none').explainStream({ analyze: true })) none.push(one);
  assert.ok(none.length === 1 && !none[0].document && none[0].metrics.executionStats.resultsReturned === 0);
});

test('neighbours stand in order of each distance, behind filters, within a threshold', async () => {
  const db = fresh();
  const points = db.collection('points');
  const vectors = { a: [1, 0, 0], b: [0, 1, 0], c: [2, 2, 0], d: [-1, 0, 0], e: [1, 0, 0], short: [1, 0], zero: [0, 0, 0] };
  const batch = db.batch();
  for (const [id, v] of Object.entries(vectors)) batch.set(points.doc(id), { in: { v: FieldValue.vector(v) }, even: 'ace'.includes(id) });
  batch.set(points.doc('none'), { in: { v: [1, 0, 0] }, even: true });
  await batch.commit();
  const near = async (options, query = points) =>
    (await query.findNearest({ vectorField: 'in.v', queryVector: [1, 0, 0], limit: 10, distanceResultField: 'far', ...options }).get());
  const shown = snapshot => snapshot.docs.map(doc => [doc.id, Math.round(doc.get('far') * 1e6) / 1e6]);

  assert.deepEqual(shown(await near({ distanceMeasure: 'EUCLIDEAN' })), [
    ['a', 0], ['e', 0], ['zero', 1], ['b', 1.414214], ['d', 2], ['c', 2.236068],
  ].sort((x, y) => x[1] - y[1] || (x[0] < y[0] ? -1 : 1)));
  assert.deepEqual(shown(await near({ distanceMeasure: 'DOT_PRODUCT', limit: 3 })), [['c', 2], ['a', 1], ['e', 1]]);
  const cosine = shown(await near({ distanceMeasure: 'COSINE' }));
  assert.deepEqual(cosine.filter(([id]) => id !== 'zero'), [['a', 0], ['e', 0], ['c', 0.292893], ['b', 1], ['d', 2]]);

  assert.deepEqual(ids(await near({ distanceMeasure: 'EUCLIDEAN', distanceThreshold: 1 })), ['a', 'e', 'zero']);
  assert.deepEqual(ids(await near({ distanceMeasure: 'DOT_PRODUCT', distanceThreshold: 1 })), ['c', 'a', 'e'], 'of products, the greater is the nearer');
  const even = points.where('even', '==', true);
  assert.deepEqual(ids(await near({ distanceMeasure: 'EUCLIDEAN' }, even)), ['a', 'e', 'c']);
  assert.deepEqual(ids(await near({ distanceMeasure: 'EUCLIDEAN', limit: 1 }, points.where(Filter.or(Filter.where('even', '==', false), Filter.where('in.v', '==', FieldValue.vector([2, 2, 0])))))), ['zero']);
  const selected = await near({ distanceMeasure: 'EUCLIDEAN', limit: 1 }, points.select('even', 'far'));
  assert.deepEqual(selected.docs[0].data(), { even: true, far: 0 });
});

test('one connection holds the streams of a thousand clients: those of one process share it', { timeout: 60_000 }, async () => {
  const session = http2.connect(`http://${process.env.FIRESTORE_EMULATOR_HOST}`);
  // One that finds no place would wait for the end of another.
  const streams = Array.from({ length: 1_000 }, () => session.request({ ':path': '/p/streams/db/rooms', accept: 'text/event-stream' }));
  const answers = await Promise.all(streams.map(stream => once(stream, 'response')));
  assert.deepEqual([...new Set(answers.map(([headers]) => headers[':status']))], [200]);
  session.destroy();
});
