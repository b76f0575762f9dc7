import assert from 'node:assert/strict';
import { test } from 'node:test';

import {
  Bytes, GeoPoint, HearthError, Timestamp, arrayUnion, deleteField, doc, getFirestore, increment, initializeApp, maximum, minimum,
  serverTimestamp, vector,
} from '../hearth.js';
import { decodeFields, decodeValue, encodeFields, encodeValue, isPlain } from '../src/wire/value.js';
import { randomOf, randomValue } from './random.js';

const db = getFirestore(initializeApp({ host: 'localhost:1' }));
const other = getFirestore(initializeApp({ host: 'localhost:2' }));

/**
 * @param {unknown} value
 * @param {string} json
 */
function check(value, json) {
  assert.equal(JSON.stringify(encodeValue(value, db)), json);
}

/**
 * @param {unknown} data
 * @param {RegExp} words
 * @param {'plain' | 'set' | 'update'} [place]
 */
function refused(data, words, place = 'set') {
  assert.throws(() => encodeFields(data, db, place), error => {
    assert.ok(error instanceof HearthError);
    assert.equal(error.code, 'invalid-argument');
    assert.match(error.message, words);
    return true;
  });
}

test('json values are themselves', () => {
  check({ a: [null, true, 'x', { b: 3 }] }, '{"a":[null,true,"x",{"b":3}]}');
});

test('numbers keep their kind as far as a JavaScript number knows it', () => {
  check(3, '3');
  check(-7.25, '-7.25');
  check(2 ** 53 - 1, '9007199254740991');
  check(2 ** 53, '{"$double":9007199254740992}');
  check(1e300, '{"$double":1e+300}');
  check(-0, '{"$double":"-0"}');
  check(NaN, '{"$double":"NaN"}');
  check(-Infinity, '{"$double":"-Infinity"}');
  check(9007199254740993n, '{"$int":"9007199254740993"}');
  refused({ n: 2n ** 63n }, /more than 64 bits \(found in field n\)/);
});

test('what JSON lacks has a dollar form', () => {
  check(new Timestamp(1_769_853_600, 123_456_000), '{"$timestamp":"2026-01-31T10:00:00.123456Z"}');
  check(new Timestamp(1_769_853_600, 999), '{"$timestamp":"2026-01-31T10:00:00Z"}');
  check(new Date('2026-01-31T10:00:00.5Z'), '{"$timestamp":"2026-01-31T10:00:00.500Z"}');
  check(new Timestamp(-62_135_596_800, 0), '{"$timestamp":"0001-01-01T00:00:00Z"}');
  check(Bytes.fromBase64String('aGVhcnRo'), '{"$bytes":"aGVhcnRo"}');
  check(new Uint8Array([0, 255]), '{"$bytes":"AP8="}');
  check(doc(db, 'users/ada'), '{"$ref":"users/ada"}');
  check(new GeoPoint(48.85, 2.35), '{"$geo":[48.85,2.35]}');
  check(vector([0.1, 0.2]), '{"$vector":[0.1,0.2]}');
});

test('a map with a single dollar key is wrapped, one with more is not', () => {
  check({ a: { $ref: 'x' } }, '{"a":{"$map":{"$ref":"x"}}}');
  check({ a: { $ref: 'x', b: 1 } }, '{"a":{"$ref":"x","b":1}}');
  check({ a: { $map: { $map: 1 } } }, '{"a":{"$map":{"$map":{"$map":{"$map":1}}}}}');
});

test('the data of a document is never wrapped', () => {
  assert.deepEqual(encodeFields({ $ref: 'x' }, db, 'set'), { $ref: 'x' });
  assert.deepEqual(decodeFields({ $ref: 'x' }, db), { $ref: 'x' });
});

test('undefined and functions are refused with the path of the field', () => {
  refused({ a: { 'b.c': undefined } }, /unsupported value undefined \(found in field a\.`b\.c`\)/);
  refused({ a: [1, undefined] }, /unsupported value undefined \(found in field a\.`1`\)/);
  refused({ a: Array(1) }, /unsupported value undefined/);
  refused({ f() {} }, /a function \(found in field f\)/);
  refused({ s: Symbol('x') }, /unsupported value/);
  refused({ m: new Map() }, /a Map object \(found in field m\)/);
  refused({ '': 1 }, /a field without a name/);
  refused({ d: new Date(NaN) }, /an invalid Date/);
  refused({ r: doc(other, 'a/b') }, /another database/);
  refused({ a: [[1]] }, /array directly inside an array/);
  refused([1], /must be a plain object, not an array/);
  refused(undefined, /not undefined/);
});

test('transforms stand where a field stands and nowhere else', () => {
  const data = { t: serverTimestamp(), n: { up: increment(1), top: maximum(9), low: minimum(-0) }, l: arrayUnion('a', { b: 1 }) };
  assert.deepEqual(encodeFields(data, db, 'set'), {
    t: { $serverTimestamp: true },
    n: { up: { $increment: 1 }, top: { $max: 9 }, low: { $min: { $double: '-0' } } },
    l: { $arrayUnion: ['a', { b: 1 }] },
  });
  assert.deepEqual(encodeFields({ x: deleteField() }, db, 'update'), { x: { $delete: true } });
  refused({ x: deleteField() }, /deleteField\(\) is for updateDoc/);
  refused({ l: [serverTimestamp()] }, /serverTimestamp\(\) cannot be used here \(found in field l\.`0`\)/);
  refused({ l: arrayUnion(increment(1)) }, /increment\(\) cannot be used here/);
  refused({ x: increment(1) }, /increment\(\) cannot be used here/, 'plain');
});

test('what was encoded decodes to the same', () => {
  for (let seed = 0; seed < 2_000; seed++) {
    const random = randomOf(seed);
    const value = { v: randomValue(random, db) };
    const json = JSON.parse(JSON.stringify(encodeFields(value, db, 'set')));
    assert.deepStrictEqual(plain(decodeFields(json, db)), plain(value), `seed ${seed}`);
  }
});

test('timestamps are read with every number of digits and with offsets', () => {
  const read = (/** @type {string} */ text) => decodeValue({ $timestamp: text }, db);
  assert.deepEqual(read('2026-01-31T10:00:00Z'), new Timestamp(1_769_853_600, 0));
  assert.deepEqual(read('2026-01-31T12:00:00.000001+02:00'), new Timestamp(1_769_853_600, 1000));
  assert.deepEqual(read('0001-01-01T00:00:00.5Z'), new Timestamp(-62_135_596_800, 500_000_000));
});

test('a malformed or unknown dollar form is an error, not a value', () => {
  const bad = [{ $timestamp: 'soon' }, { $bytes: 3 }, { $geo: [1] }, { $geo: [1, 'x'] }, { $int: '1.5' }, { $double: 'x' }, { $map: [] }, { $ref: 1 }, { $vector: [null] }];
  for (const json of bad) {
    assert.throws(() => decodeValue(json, db), error => error instanceof HearthError && error.code === 'data-loss', JSON.stringify(json));
  }
  assert.throws(() => decodeValue({ $decimal: '1' }, db), error => error instanceof HearthError && error.code === 'unimplemented');
});

test('a field named like a property of every object changes no prototype', () => {
  const data = decodeFields(JSON.parse('{"__proto__":{"admin":true}}'), db);
  assert.equal(Object.getPrototypeOf(data), Object.prototype);
  assert.equal(/** @type {{ admin?: unknown }} */ (data).admin, undefined);
});

test('timestamps compare with < and >', () => {
  assert.ok(new Timestamp(1, 5) < new Timestamp(1, 6));
  assert.ok(new Timestamp(-5, 0) < new Timestamp(3, 0));
  assert.equal(Timestamp.fromMillis(-1).toMillis(), -1);
  assert.equal(Timestamp.fromDate(new Date(1500)).nanoseconds, 500_000_000);
});

/**
 * Values as what compares by content: classes with private fields would otherwise compare equal whatever they hold.
 *
 * @param {unknown} value
 * @returns {unknown}
 */
function plain(value) {
  if (value instanceof Bytes) return ['bytes', value.toBase64()];
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value === 'object' && value !== null && 'toArray' in value) return ['vector', JSON.stringify(value)];
  if (typeof value === 'object' && value !== null && 'path' in value && 'firestore' in value) return ['ref', value.path];
  if (isPlain(value)) return Object.entries(value).map(([name, item]) => [name, plain(item)]).sort();
  return value;
}
