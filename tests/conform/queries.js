// One table of queries, asked in three ways: by the native API, and by @google-cloud/firestore over gRPC and over REST.
// All find the same documents in the same order, and the same numbers. FIRESTORE_EMULATOR_HOST says where the server is.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import firestore from '@google-cloud/firestore';

import { standIn } from './credentials.js';

const { AggregateField, FieldPath, Filter, Firestore } = firestore;

const PROJECT = 'queries';
const ADDRESS = `http://${process.env.FIRESTORE_EMULATOR_HOST}/p/${PROJECT}/db`;

/** What is asked: a collection or, behind `~/`, a group; the query as the native API has it; and what is found. */
const TABLE = [
  ['rooms', {}, 'a b c d e f'],
  ['rooms', { where: ['n', '==', 2] }, 'b'],
  ['rooms', { where: ['n', '==', 2.5] }, 'e'],
  ['rooms', { where: ['n', '!=', 2] }, 'a e c d'],
  ['rooms', { where: ['n', '<', 3] }, 'a b e'],
  ['rooms', { where: ['n', '>=', 2] }, 'b e c'],
  ['rooms', { where: ['n', '>', 'a'] }, 'd'],
  ['rooms', { where: ['n', '==', null] }, 'f'],
  ['rooms', { where: ['n', 'in', [1, 3, 'x']] }, 'a c d'],
  ['rooms', { where: ['n', 'not-in', [1, 'x']] }, 'b e c'],
  ['rooms', { where: ['tags', 'array-contains', 'new'] }, 'a c'],
  ['rooms', { where: ['tags', 'array-contains-any', ['old', 'odd']] }, 'a b'],
  ['rooms', { where: ['map.x', '==', 1] }, 'a'],
  ['rooms', { where: ['map.`y.z`', '>', 0] }, 'b'],
  ['rooms', { where: ['`odd name`', '==', true] }, 'c'],
  ['rooms', { where: { and: [['n', '>', 1], ['n', '<', 3]] } }, 'b e'],
  ['rooms', { where: { or: [['n', '==', 1], { and: [['n', '>', 2], ['tags', 'array-contains', 'new']] }] } }, 'a c'],
  ['rooms', { where: { and: [['n', '>', 0], ['m', '>', 0]] } }, 'b a'],
  ['rooms', { orderBy: [['n', 'asc']] }, 'f a b e c d'],
  ['rooms', { orderBy: [['n', 'desc']] }, 'd c e b a f'],
  ['rooms', { orderBy: [['m', 'desc'], ['n', 'asc']] }, 'a b'],
  ['rooms', { orderBy: [['__name__', 'desc']], limit: 2 }, 'f e'],
  ['rooms', { orderBy: [['n', 'asc']], limit: 2, offset: 1 }, 'a b'],
  ['rooms', { orderBy: [['n', 'asc']], limitToLast: 2 }, 'c d'],
  ['rooms', { orderBy: [['n', 'asc']], startAt: [2], endAt: [3] }, 'b e c'],
  ['rooms', { orderBy: [['n', 'asc']], startAfter: [2], endBefore: [3] }, 'e'],
  ['rooms', { orderBy: [['n', 'desc']], startAfter: [2.5] }, 'b a f'],
  ['rooms', { where: ['n', '>', 100] }, ''],
  ['rooms/a/parts', {}, 'x y'],
  ['~/parts', {}, 'x y z'],
  ['~/parts', { where: ['n', '>', 1], orderBy: [['n', 'desc']] }, 'z y'],
  ['nothing', {}, ''],
  ['rooms', { aggregates: [{ count: true }] }, { count: 6 }],
  // A count beside these would differ on purpose: Firestore's counts only documents that have `m`, the native API's all.
  ['rooms', { aggregates: [{ sum: 'm' }, { avg: 'm' }] }, { 'sum(m)': 3, 'avg(m)': 1.5 }],
  ['rooms', { where: ['n', 'in', [null, 1]] }, 'a'],
  ['rooms', { where: ['n', '>', 1], aggregates: [{ count: true }, { sum: 'n' }] }, { count: 3, 'sum(n)': 7.5 }],
  ['~/parts', { limit: 2, orderBy: [['n', 'desc']], aggregates: [{ count: true }, { avg: 'n' }] }, { count: 2, 'avg(n)': 2.5 }],
];

const DOCUMENTS = {
  'rooms/a': { n: 1, m: 2, tags: ['new', 'old'], map: { x: 1 } },
  'rooms/b': { n: 2, m: 1, tags: ['odd'], map: { x: '1', 'y.z': 5 } },
  'rooms/c': { n: 3, tags: ['new'], 'odd name': true },
  'rooms/d': { n: 'x' },
  'rooms/e': { n: 2.5, tags: 'new' },
  'rooms/f': { n: null },
  'rooms/a/parts/x': { n: 1 },
  'rooms/a/parts/y': { n: 2 },
  'rooms/gone/parts/z': { n: 3 },
};

const grpc = new Firestore({ projectId: PROJECT });
const rest = new Firestore({ projectId: PROJECT, preferRest: true, auth: standIn() });

before(async () => {
  const batch = grpc.batch();
  for (const [path, data] of Object.entries(DOCUMENTS)) batch.set(grpc.doc(path), data);
  await batch.commit();
});
after(() => Promise.all([grpc.terminate(), rest.terminate()]));

async function askNative(path, query) {
  const response = await fetch(`${ADDRESS}/${path}/~query`, { method: 'POST', body: JSON.stringify(query) });
  const answer = await response.json();
  assert.equal(response.status, 200, JSON.stringify(answer));
  return answer.aggregates ?? answer.docs.map(doc => doc.path.split('/').at(-1)).join(' ');
}

/** A field's path as the SDK wants it: names in back-ticks stay whole. */
function field(text) {
  const names = text.match(/`[^`]*`|[^.]+/g).map(name => name.replaceAll('`', ''));
  return text === '__name__' ? FieldPath.documentId() : new FieldPath(...names);
}

function filter(given) {
  if (given.and) return Filter.and(...given.and.map(filter));
  if (given.or) return Filter.or(...given.or.map(filter));
  return Filter.where(field(given[0]), given[1], given[2]);
}

async function askSdk(db, path, query) {
  let asked = path.startsWith('~/') ? db.collectionGroup(path.slice(2)) : db.collection(path);
  if (query.where) asked = asked.where(filter(query.where));
  for (const [name, direction] of query.orderBy ?? []) asked = asked.orderBy(field(name), direction);
  for (const word of ['limit', 'limitToLast', 'offset']) if (word in query) asked = asked[word](query[word]);
  for (const word of ['startAt', 'startAfter', 'endAt', 'endBefore']) if (word in query) asked = asked[word](...query[word]);
  if (!query.aggregates) return (await asked.get()).docs.map(doc => doc.id).join(' ');
  const numbers = query.aggregates.map(one => {
    if (one.count) return ['count', AggregateField.count()];
    return one.sum ? [`sum(${one.sum})`, AggregateField.sum(one.sum)] : [`avg(${one.avg})`, AggregateField.average(one.avg)];
  });
  return (await asked.aggregate(Object.fromEntries(numbers)).get()).data();
}

for (const [path, query, want] of TABLE) {
  test(`${path} ${JSON.stringify(query)}`, async () => {
    assert.deepEqual(await askNative(path, query), want, 'native');
    assert.deepEqual(await askSdk(grpc, path, query), want, 'gRPC');
    assert.deepEqual(await askSdk(rest, path, query), want, 'REST');
  });
}
