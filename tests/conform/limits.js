// What Firestore refuses because it is too much, through the newest @google-cloud/firestore; by REST what the SDK itself
// would refuse before anybody hears of it. LIMITS says whose limits the server was told to hold. Codes and words are those of
// Google's emulator, and of production where the two differ or the emulator has no such limit.

import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';
import firestore from '@google-cloud/firestore';

const { AggregateField, Filter, Firestore, GrpcStatus } = firestore;

const isCloud = process.env.LIMITS === 'cloud';
const root = `http://${process.env.FIRESTORE_EMULATOR_HOST}/v1/projects/conform/databases/(default)/documents`;
const db = new Firestore({ projectId: 'conform' });
const c = db.collection('c');

after(() => db.terminate());

const numbers = count => Array.from({ length: count }, (_, n) => n);

/** What is refused in any case. */
const refused = (promise, message) => assert.rejects(promise, error => {
  assert.equal(error.code, GrpcStatus.INVALID_ARGUMENT, error.message);
  // The SDK puts its number of the code and its name before the server's words.
  assert.equal(error.message.replace(/^3 INVALID_ARGUMENT: /, ''), message);
  return true;
});

/** What the cloud refuses, in these words, and this server answers. */
async function more(query, message) {
  if (isCloud) await refused(query().get(), message);
  else await query().get();
}

async function post(path, body, method = 'POST') {
  const answer = await fetch(root + path, { method, body: JSON.stringify(body) });
  return { status: answer.status, body: await answer.json() };
}

async function refusedByRest(path, body, message, method) {
  const { status, body: { error } } = await post(path, body, method);
  assert.deepEqual([status, error?.status, error?.message], [400, 'INVALID_ARGUMENT', message]);
}

const name = path => `projects/conform/databases/(default)/documents/${path}`;
const update = (path, fields, more = {}) => ({ writes: [{ update: { name: name(path), fields }, ...more }] });

// The SDK asks five times for what was refused before it says so, which takes seconds: all at one time, then.
describe('limits', { concurrency: true }, () => {
  test('lists are of thirty values, or of ten', async () => {
    const all = [];
    await c.where('a', 'in', numbers(30)).get();
    await c.where('a', 'not-in', numbers(10)).get();
    all.push(more(() => c.where('a', 'in', numbers(31)), "'IN' supports up to 30 comparison values."));
    all.push(more(() => c.where('a', 'array-contains-any', numbers(31)), "'ARRAY_CONTAINS_ANY' supports up to 30 comparison values."));
    all.push(more(() => c.where('a', 'not-in', numbers(11)), "'NOT_IN' supports up to 10 comparison values."));
    await Promise.all(all);
  });

  test('a filter has thirty alternatives', async () => {
    const all = [];
    const tooMany = count => `Too many disjunctions after normalization. Result had ${count} disjunctions which is more than the maximum of 30`;
    const or = count => Filter.or(...numbers(count).map(n => Filter.where('a', '==', n)));
    await c.where(or(30)).get();
    all.push(more(() => c.where(or(31)), tooMany(31)));
    await c.where('a', 'in', numbers(5)).where('b', 'in', numbers(6)).get();
    all.push(more(() => c.where('a', 'in', numbers(6)).where('b', 'in', numbers(6)), tooMany(36)));
    // The same one many times is one.
    await c.where(Filter.or(...numbers(31).map(() => Filter.where('a', '==', 1)))).get();
    await Promise.all(all);
  });

  test('some filters do not stand beside others', async () => {
    const all = [];
    const single = "Only a single 'NOT_EQUAL', 'NOT_IN', 'IS_NOT_NAN', or 'IS_NOT_NULL' filter allowed per query.";
    all.push(more(() => c.where('a', '!=', 1).where('b', '!=', 2), single));
    all.push(more(() => c.where('a', '!=', 1).where('a', 'not-in', [2, 3]), single));
    all.push(more(() => c.where('a', '!=', null).where('b', '!=', NaN), single));
    const beside = "'NOT_IN' cannot be used in the same query with 'IN', 'ARRAY_CONTAINS_ANY' or 'OR'.";
    all.push(more(() => c.where('a', 'not-in', [1, 2]).where('b', 'in', [1, 2]), beside));
    all.push(more(() => c.where('a', 'not-in', [1, 2]).where('b', 'array-contains-any', [1, 2]), beside));
    const either = Filter.or(Filter.where('b', '==', 1), Filter.where('b', '==', 2));
    all.push(more(() => c.where(Filter.and(Filter.where('a', 'not-in', [1, 2]), either)), beside));
    const arrays = "A maximum of 1 'ARRAY_CONTAINS' filter is allowed per disjunction.";
    all.push(more(() => c.where('a', 'array-contains', 1).where('b', 'array-contains', 1), arrays));
    all.push(more(() => c.where('a', 'array-contains', 1).where('b', 'array-contains-any', [1, 2]), arrays));
    // In two alternatives it is one each; and != stands beside in.
    await c.where(Filter.or(Filter.where('a', 'array-contains', 1), Filter.where('b', 'array-contains', 1))).get();
    await c.where('a', '!=', 1).where('b', 'in', [1, 2]).get();
    await Promise.all(all);
  });

  test('inequalities, and filters and orders together, are counted', async () => {
    const all = [];
    const above = count => numbers(count).reduce((query, n) => query.where(`f${n}`, '>', 1), c);
    await above(10).get();
    const fields = numbers(11).map(n => `f${n}`).sort().join(', ');
    all.push(more(
      () => above(11),
      `The query contains 11 distinct inequality fields: [${fields}]. A query may not have more than 10 distinct inequality fields.`,
    ));
    const equal = (count, from = c) => numbers(count).reduce((query, n) => query.where(`f${n}`, '==', 1), from);
    const counted = rest => `The query may not have more than 100 filters + sort orders + ancestor total. Currently there are ${rest}.`;
    await equal(100).get();
    all.push(more(() => equal(101), counted('101 filters, 0 sort orders, and no ancestor filter')));
    all.push(more(() => equal(99).orderBy('y').orderBy('z'), counted('99 filters, 2 sort orders, and no ancestor filter')));
    all.push(more(() => equal(100, db.collection('x/y/c')), counted('100 filters, 0 sort orders, and one ancestor filter')));
    await Promise.all(all);
  });

  test('a listener and a count are held to the same', async () => {
    const all = [];
    const query = c.where('a', 'in', numbers(31));
    all.push(more(() => query.count(), "'IN' supports up to 30 comparison values."));
    let stop;
    const heard = new Promise((done, failed) => (stop = query.onSnapshot(done, failed)));
    // The SDK's listeners say code and words in one text.
    if (isCloud) await assert.rejects(heard, { message: "Error 3: 'IN' supports up to 30 comparison values." });
    else await heard;
    stop();
    await Promise.all(all);
  });

  test('numbers are five at a time', async () => {
    const sums = count => c.aggregate(Object.fromEntries(numbers(count).map(n => [`s${n}`, AggregateField.sum(`f${n}`)])));
    await sums(5).get();
    await refused(sums(6).get(), 'The maximum number of aggregations allowed in an aggregation query is 5. Received: 6');
  });

  test('a batch is of five hundred writes, a commit of more', async () => {
    const writes = numbers(501).map(n => ({ delete: name(`c/x${n}`) }));
    const { status, body } = await post(':batchWrite', { writes });
    if (isCloud) {
      assert.deepEqual([status, body.error.status, body.error.message], [400, 'INVALID_ARGUMENT', 'maximum 500 writes allowed per request']);
    } else {
      assert.deepEqual([status, body.writeResults.length], [200, 501]);
    }
    const batch = db.batch();
    for (const n of numbers(501)) batch.set(c.doc(`x${n}`), {});
    assert.equal((await batch.commit()).length, 501);
    const transforms = numbers(501).map(n => ({ fieldPath: `f${n}`, increment: { integerValue: '1' } }));
    await refusedByRest(':commit', update('c/d', {}, { updateTransforms: transforms }), `501 transforms of ${name('c/d')} are over the limit of 500`);
  });

  test('a document is of a mebibyte, a commit of ten, a request of eleven', async () => {
    const long = 'x'.repeat(100_000);
    await refused(
      c.doc('d').set(Object.fromEntries(numbers(11).map(n => [`a${n}`, long]))),
      `Document '${name('c/d')}' cannot be written because its size (1,100,097 bytes) exceeds the maximum allowed size of 1,048,576 bytes.`,
    );
    // Beside two texts: 20 bytes for the name, 32 for the document, and 2 + 1 for each field.
    const texts = second => c.doc('d').set({ a: 'x'.repeat(1_000_000), b: 'x'.repeat(second) });
    await texts(48_518);
    await refused(
      texts(48_519),
      `Document '${name('c/d')}' cannot be written because its size (1,048,577 bytes) exceeds the maximum allowed size of 1,048,576 bytes.`,
    );
    await c.doc('d').set({ a: 'x'.repeat(1_048_487) });
    for (const a of ['x'.repeat(1_048_488), Buffer.alloc(1_048_488)]) {
      if (isCloud) await refused(c.doc('d').set({ a }), 'The value of property "a" is longer than 1048487 bytes.');
      else await c.doc('d').set({ a });
    }
    const batch = count => {
      const batch = db.batch();
      for (const n of numbers(count)) batch.set(c.doc(`y${n}`), { a: 'x'.repeat(1_000_000) });
      return batch.commit();
    };
    await batch(10);
    await refused(batch(11), 'Transaction too big. Decrease transaction size.');
    await refused(batch(12), 'Request payload size exceeds the limit: 11534336 bytes.');
  });

  test('names and depths', async () => {
    const one = { integerValue: '1' };
    const within = (value, levels) => numbers(levels).reduce(inner => ({ mapValue: { fields: { m: inner } } }), value);
    await refusedByRest(':commit', update('c/d', { ['a'.repeat(1_501)]: one }), 'The property.name is longer than 1500 bytes.');
    await refusedByRest(':commit', update('c/d', { '': one }), 'The property.name is the empty string.');
    await refusedByRest(':commit', update('c/d', { __a__: one }), 'field name __a__ is reserved');
    await refusedByRest(':commit', update('c/d', { a: within(one, 21) }), 'Property a contains an invalid nested entity.');
    await refusedByRest(':commit', update('c/d', { a: { mapValue: { fields: { ['b'.repeat(1_501)]: one } } } }), 'Property a contains an invalid nested entity.');
    await refusedByRest(':commit', update('c/d', { a: { mapValue: { fields: { __b__: one } } } }), "field name '__b__' is reserved.");
    const nested = { arrayValue: { values: [{ arrayValue: { values: [one] } }] } };
    await refusedByRest(':commit', update('c/d', { a: nested }), 'Cannot convert an array value in an array value.');
    await refusedByRest(':commit', update('c/d', {}, { updateMask: { fieldPaths: ['a'.repeat(1_501)] } }), 'property path is longer than 1500 bytes.');
    await refusedByRest(':commit', update('c/d', {}, { updateMask: { fieldPaths: ['__a__'] } }), 'Invalid reserved name in field path __a__');
    assert.equal((await post(':commit', update('c/d', { ['a'.repeat(1_500)]: one, b: within(one, 20) }))).status, 200);

    await refusedByRest(':commit', update(`c/${'d'.repeat(1_501)}`, {}), 'The key path element name is longer than 1500 bytes.');
    await refusedByRest(':commit', update(`${'c'.repeat(1_501)}/d`, {}), 'The key path element kind is longer than 1500 bytes.');
    await refusedByRest('/c?documentId=__d__', {}, 'Resource id "__d__" is invalid because it is reserved.');
    await refused(db.doc('c/__d__').get(), 'Resource id "__d__" is invalid because it is reserved.');
    await refused(db.collection('__c__').get(), 'Collection id "__c__" is invalid because it is reserved.');
    const deep = levels => Array(levels).fill('c/d').join('/');
    await refused(db.doc(deep(101)).set({}), 'Key path is too long. Cannot exceed 100 elements.');
    await db.doc(deep(100)).set({});
    await db.doc(`c/${'d'.repeat(1_500)}`).set({});
  });
});
