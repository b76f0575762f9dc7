import assert from 'node:assert/strict';
import { test } from 'node:test';

import {
  DocumentSnapshot, FieldPath, HearthError, Timestamp, and, collection, collectionGroup, doc, documentId, endAt, endBefore, getFirestore,
  initializeApp, limit, limitToLast, or, orderBy, query, queryEqual, refEqual, startAfter, startAt, where,
} from '../hearth.js';
import { fieldPath, printPath } from '../src/fieldpath.js';
import { wireQuery } from '../src/query.js';
import { wireSet, wireUpdate } from '../src/write.js';

const db = getFirestore(initializeApp({ host: 'localhost:1' }));
const messages = collection(db, 'rooms/lobby/messages');

/**
 * @param {import('../hearth.js').Query<unknown>} built
 * @param {unknown} want
 */
function check(built, want) {
  assert.deepEqual(JSON.parse(JSON.stringify(wireQuery(built.spec))), want);
}

/**
 * @param {() => unknown} act
 * @param {RegExp} words
 */
function refused(act, words) {
  assert.throws(act, error => error instanceof HearthError && error.code === 'invalid-argument' && words.test(error.message));
}

test('a collection asks for everything', () => {
  check(messages, { limit: 'all' });
});

test('one condition stands alone, several are joined by and', () => {
  check(query(messages, where('room', '==', 'a')), { where: ['room', '==', 'a'], limit: 'all' });
  check(query(messages, where('room', '==', 'a'), or(where('n', '>', 1), and(where('x', 'in', [1, 2]), where('y', '!=', null)))), {
    where: { and: [['room', '==', 'a'], { or: [['n', '>', 1], { and: [['x', 'in', [1, 2]], ['y', '!=', null]] }] }] },
    limit: 'all',
  });
});

test('a query narrows a query and leaves it as it was', () => {
  const first = query(messages, where('a', '==', 1));
  check(query(first, where('b', '==', 2), limit(3)), { where: { and: [['a', '==', 1], ['b', '==', 2]] }, limit: 3 });
  check(first, { where: ['a', '==', 1], limit: 'all' });
});

test('the last of limit and limitToLast counts', () => {
  check(query(messages, orderBy('n'), limit(3), limitToLast(2)), { orderBy: [['n', 'asc']], limitToLast: 2 });
  check(query(messages, orderBy('n'), limitToLast(2), limit(3)), { orderBy: [['n', 'asc']], limit: 3 });
  refused(() => query(messages, limitToLast(2)), /needs an orderBy/);
  refused(() => limit(0), /above 0/);
});

test('values of cursors pair with the orders', () => {
  check(query(messages, orderBy('at', 'desc'), startAfter(new Timestamp(0, 0)), endAt(5)), {
    orderBy: [['at', 'desc']], limit: 'all', startAfter: [{ $timestamp: '1970-01-01T00:00:00Z' }], endAt: [5],
  });
  refused(() => query(messages, orderBy('a'), startAt(1, 2)), /more values than the query has orders/);
  refused(() => query(query(messages, orderBy('a'), startAt(1)), orderBy('b')), /must come before/);
});

test('a document as cursor spells out the implied order', () => {
  const data = { n: 3, author: { name: 'ada' }, 'x.y': { $geo: [1, 2] }, deep: { $map: { $key: 7 } } };
  const snapshot = new DocumentSnapshot(doc(messages, 'm1'), { path: 'rooms/lobby/messages/m1', data, created: '1', updated: '2' });
  const name = { $ref: 'rooms/lobby/messages/m1' };
  check(query(messages, startAt(snapshot)), { orderBy: [['__name__', 'asc']], limit: 'all', startAt: [name] });
  check(query(messages, where('n', '>', 1), where(new FieldPath('x.y'), '!=', 1), orderBy('author.name', 'desc'), endBefore(snapshot)), {
    where: { and: [['n', '>', 1], ['`x.y`', '!=', 1]] },
    orderBy: [['author.name', 'desc'], ['n', 'desc'], ['`x.y`', 'desc'], ['__name__', 'desc']],
    limit: 'all',
    endBefore: ['ada', 3, { $geo: [1, 2] }, name],
  });
  check(query(messages, orderBy('deep.$key'), startAt(snapshot)), {
    orderBy: [['deep.`$key`', 'asc'], ['__name__', 'asc']], limit: 'all', startAt: [7, name],
  });
  refused(() => query(messages, orderBy('missing'), startAt(snapshot)), /has no field missing/);
  refused(() => query(messages, startAt(new DocumentSnapshot(doc(messages, 'none'), null))), /that exists/);
});

test('the document id compares with references', () => {
  const name = (/** @type {string} */ id) => ({ $ref: `rooms/lobby/messages/${id}` });
  check(query(messages, where(documentId(), 'in', ['a', doc(messages, 'b')])), {
    where: ['__name__', 'in', [name('a'), name('b')]], limit: 'all',
  });
  check(query(messages, orderBy(documentId()), startAt('a')), { orderBy: [['__name__', 'asc']], limit: 'all', startAt: [name('a')] });
  const group = collectionGroup(db, 'messages');
  check(query(group, where(documentId(), '==', 'a/b')), { where: ['__name__', '==', { $ref: 'a/b' }], limit: 'all' });
  assert.equal(group.spec.path, '~/messages');
  refused(() => query(group, where(documentId(), '==', 'a')), /whole paths/);
  refused(() => query(messages, where(documentId(), '==', 3)), /an id, a path or a reference/);
});

test('unusable conditions are refused at once', () => {
  // @ts-expect-error there is no such operator
  refused(() => where('a', '===', 1), /unknown operator/);
  refused(() => where('a', 'in', []), /at least one value/);
  refused(() => where('a', 'in', 3), /takes a list/);
  refused(() => where('a..b', '==', 3), /does not make sense/);
  refused(() => query(messages, where('a', '==', undefined)), /unsupported value undefined \(found in field a\)/);
});

test('field paths print and parse', () => {
  const paths = [['a'], ['a', 'b'], ['a.b'], ['`'], ['\\', 'x'], ['ü', '0'], [' '], ['a`.\\b', 'c']];
  for (const names of paths) assert.deepEqual(fieldPath(printPath(new FieldPath(...names))).names, names);
  assert.deepEqual(fieldPath('a-b.c').names, ['a-b', 'c']);
  for (const bad of ['', '.', 'a.', '.a', '`a', 'a`b`', '`a`b', '``']) refused(() => fieldPath(bad), /field path/);
});

test('paths of references are checked', () => {
  assert.equal(doc(db, 'a', 'b').path, 'a/b');
  assert.equal(doc(db, '/a/b/').path, 'a/b');
  assert.equal(collection(doc(db, 'a/b'), 'c').path, 'a/b/c');
  assert.match(doc(messages).id, /^[A-Za-z0-9]{20}$/);
  assert.equal(messages.parent?.path, 'rooms/lobby');
  assert.equal(messages.parent?.parent.path, 'rooms');
  assert.equal(collection(db, 'a').parent, null);
  refused(() => doc(db, 'a'), /even number/);
  refused(() => collection(db, 'a/b'), /odd number/);
  refused(() => doc(db, 'a//b/c'), /empty segment/);
  refused(() => doc(db), /needs a path/);
  assert.ok(refEqual(doc(db, 'a/b'), doc(db, 'a', 'b')));
  assert.ok(!refEqual(doc(db, 'a/b'), doc(db, 'a/c')));
});

test('equal queries are equal however they were built', () => {
  assert.ok(queryEqual(query(messages, where('a', '==', 1)), query(messages, where(new FieldPath('a'), '==', 1))));
  assert.ok(!queryEqual(query(messages, limit(1)), query(messages, limit(2))));
});

test('updates take an object, or fields and values in turn', () => {
  const ref = doc(db, 'a/b');
  assert.deepEqual(wireUpdate(ref, [{ 'x.y': 1, z: { $ref: 'q' } }]), { update: 'a/b', data: { 'x.y': 1, z: { $map: { $ref: 'q' } } } });
  assert.deepEqual(wireUpdate(ref, ['x', 1, new FieldPath('y.z'), 2]), { update: 'a/b', data: { x: 1, '`y.z`': 2 } });
  refused(() => wireUpdate(ref, ['x']), /has no value/);
  refused(() => wireUpdate(ref, ['x', 1, 'x', 2]), /given twice/);
  refused(() => wireUpdate(ref, [{ x: { y: undefined } }]), /found in field x\.y/);
  refused(() => wireUpdate(ref, [3]), /an update takes/);
});

test('a merge names its fields or takes all', () => {
  const ref = doc(db, 'a/b');
  assert.deepEqual(wireSet(ref, { x: 1 }), { set: 'a/b', data: { x: 1 } });
  assert.deepEqual(wireSet(ref, { x: 1 }, { merge: true }), { set: 'a/b', data: { x: 1 }, merge: true });
  assert.deepEqual(wireSet(ref, { x: { y: 1 } }, { mergeFields: ['x.y'] }), { set: 'a/b', data: { x: { y: 1 } }, merge: ['x.y'] });
  refused(() => wireSet(ref, { x: 1 }, { mergeFields: ['y'] }), /which the data lacks/);
});

test('a snapshot gives its fields by path and fresh each time', () => {
  const wire = { path: 'a/b', data: { x: { 'y.z': [1] }, t: { $timestamp: '2026-01-31T10:00:00Z' } }, created: '1769853600123456', updated: '1769853600123457' };
  const snapshot = new DocumentSnapshot(doc(db, 'a/b'), wire);
  assert.deepEqual(snapshot.get('x.`y.z`'), [1]);
  assert.equal(snapshot.get('x.q.r'), undefined);
  assert.equal(snapshot.get('x.constructor'), undefined);
  assert.deepEqual(snapshot.createTime, new Timestamp(1769853600, 123456000));
  const data = /** @type {{ x: unknown }} */ (snapshot.data());
  data.x = 0;
  assert.deepEqual(snapshot.get('x'), { 'y.z': [1] });
  assert.equal(new DocumentSnapshot(doc(db, 'a/b'), null).data(), undefined);
});
