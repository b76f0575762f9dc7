// Values as JSON and back: `docs/query.md`, "Values". It knows every `$` form and no connection.

import { HearthError, invalid } from '../errors.js';
import { FieldPath, printPath } from '../fieldpath.js';
import { DocumentReference } from '../reference.js';
import { Bytes, FieldValue, GeoPoint, Timestamp, VectorValue } from '../values.js';

/** @typedef {import('../reference.js').Firestore} Firestore */

/**
 * JSON as it stands on the wire. (JSDoc cannot say a type that contains arrays of itself.)
 *
 * @typedef {unknown} Json
 */

/**
 * Where a value stands, which decides what it may hold: `plain` no transforms (queries, array members), `set` transforms but no
 * `deleteField`, `update` everything.
 *
 * @typedef {'plain' | 'set' | 'update'} Place
 */

/** 64-bit integers end here. */
const INT_MIN = -(2n ** 63n);
const INT_MAX = 2n ** 63n - 1n;

/**
 * The fields of a document as JSON.
 *
 * @param {unknown} data
 * @param {Firestore} firestore references must belong to it
 * @param {Place} place
 * @returns {{ [key: string]: Json }}
 */
export function encodeFields(data, firestore, place) {
  if (!isPlain(data)) throw invalid(`the data of a document must be a plain object, not ${describe(data)}`);
  return fields(data, { firestore, place, names: [] });
}

/**
 * One value as JSON.
 *
 * @param {unknown} value
 * @param {Firestore} firestore
 * @param {Place} [place]
 * @param {readonly string[]} [names] where it stands, for errors
 * @returns {Json}
 */
export function encodeValue(value, firestore, place = 'plain', names = []) {
  return encode(value, { firestore, place, names: [...names] });
}

/** @typedef {{ firestore: Firestore, place: Place, names: string[] }} Walk */

/**
 * @param {unknown} value
 * @param {Walk} walk
 * @returns {Json}
 */
function encode(value, walk) {
  switch (typeof value) {
    case 'boolean':
    case 'string':
      return value;
    case 'number':
      return encodeNumber(value);
    case 'bigint':
      if (value < INT_MIN || value > INT_MAX) throw invalid(`an integer of more than 64 bits${where(walk)}`);
      return { $int: String(value) };
    case 'object':
      return value === null ? null : encodeObject(value, walk);
    default:
      throw invalid(`unsupported value ${describe(value)}${where(walk)}`);
  }
}

/**
 * Integers stay integers as far as a JavaScript number is sure of them; every other number is a double and says so where JSON's
 * own form would be read as an integer or not at all.
 *
 * @param {number} number
 * @returns {Json}
 */
function encodeNumber(number) {
  if (Object.is(number, -0)) return { $double: '-0' };
  if (Number.isSafeInteger(number)) return number;
  if (Number.isInteger(number)) return { $double: number };
  return Number.isFinite(number) ? number : { $double: String(number) };
}

/**
 * @param {object} value
 * @param {Walk} walk
 * @returns {Json}
 */
function encodeObject(value, walk) {
  if (Array.isArray(value)) return items(value, walk);
  if (value instanceof Date) {
    if (Number.isNaN(value.getTime())) throw invalid(`an invalid Date${where(walk)}`);
    return { $timestamp: printTimestamp(Timestamp.fromDate(value)) };
  }
  if (value instanceof Timestamp) return { $timestamp: printTimestamp(value) };
  if (value instanceof Bytes) return { $bytes: value.toBase64() };
  if (value instanceof Uint8Array) return { $bytes: Bytes.fromUint8Array(value).toBase64() };
  if (value instanceof GeoPoint) return { $geo: [value.latitude, value.longitude] };
  if (value instanceof VectorValue) return { $vector: value.toArray() };
  if (value instanceof DocumentReference) {
    if (value.firestore !== walk.firestore) throw invalid(`a reference into another database${where(walk)}`);
    return { $ref: value.path };
  }
  if (value instanceof FieldValue) return transform(value, walk);
  if (!isPlain(value)) throw invalid(`unsupported value ${describe(value)}${where(walk)}`);
  const map = fields(value, walk);
  return isTagged(map) ? { $map: map } : map;
}

/**
 * @param {readonly unknown[]} list
 * @param {Walk} walk
 * @returns {Json[]}
 */
function items(list, walk) {
  /** @type {Json[]} */
  const encoded = [];
  // Not `map`, which would skip the holes of a sparse array.
  for (let at = 0; at < list.length; at++) {
    const item = list[at];
    const inside = { ...walk, place: /** @type {Place} */ ('plain'), names: [...walk.names, String(at)] };
    if (Array.isArray(item)) throw invalid(`an array directly inside an array${where(inside)}`);
    encoded.push(encode(item, inside));
  }
  return encoded;
}

/**
 * @param {object} map
 * @param {Walk} walk
 * @returns {{ [key: string]: Json }}
 */
function fields(map, walk) {
  return Object.fromEntries(
    Object.entries(map).map(([name, value]) => {
      if (name === '') throw invalid(`a field without a name${where(walk)}`);
      return [name, encode(value, { ...walk, names: [...walk.names, name] })];
    }),
  );
}

/**
 * @param {FieldValue} value
 * @param {Walk} walk
 * @returns {Json}
 */
function transform(value, walk) {
  const { name, key, operand } = value;
  if (walk.place === 'plain') throw invalid(`${name}() cannot be used here${where(walk)}`);
  if (key === '$delete' && walk.place !== 'update') {
    throw invalid(`${name}() is for updateDoc and for setDoc with merge${where(walk)}`);
  }
  return { [key]: encode(operand, { ...walk, place: 'plain' }) };
}

/**
 * The fields of a document from their JSON; a fresh object each time.
 *
 * @param {{ [key: string]: Json }} json
 * @param {Firestore} firestore what references in it belong to
 * @returns {{ [field: string]: unknown }}
 */
export function decodeFields(json, firestore) {
  return Object.fromEntries(Object.entries(json).map(([name, value]) => [name, decodeValue(value, firestore)]));
}

/**
 * @param {Json} json
 * @param {Firestore} firestore
 * @returns {unknown}
 */
export function decodeValue(json, firestore) {
  if (Array.isArray(json)) return json.map(item => decodeValue(item, firestore));
  if (!isMap(json)) return json;
  if (!isTagged(json)) return decodeFields(json, firestore);
  const tag = /** @type {string} */ (Object.keys(json)[0]);
  const body = json[tag];
  switch (tag) {
    case '$timestamp':
      if (typeof body === 'string') return readTimestamp(body);
      break;
    case '$bytes':
      if (typeof body === 'string') return Bytes.fromBase64String(body);
      break;
    case '$ref':
      if (typeof body === 'string') return new DocumentReference(firestore, body);
      break;
    case '$geo':
      if (isNumbers(body) && body.length === 2) return new GeoPoint(body[0] ?? NaN, body[1] ?? NaN);
      break;
    case '$vector':
      if (isNumbers(body)) return new VectorValue(body);
      break;
    case '$int':
      if (typeof body === 'string' && /^-?\d+$/.test(body)) return BigInt(body);
      break;
    case '$double':
      if (typeof body === 'number') return body;
      if (body === 'NaN' || body === 'Infinity' || body === '-Infinity' || body === '-0') return Number(body);
      break;
    case '$map':
      if (isMap(body)) return decodeFields(body, firestore);
      break;
    default:
      throw new HearthError('unimplemented', `the server sent a value of the unknown type ${tag}`);
  }
  throw new HearthError('data-loss', `the server sent a malformed ${tag}`);
}

/**
 * @param {Timestamp} time
 * @returns {string} RFC 3339 in UTC, with no more digits than it needs and at most microseconds
 */
export function printTimestamp(time) {
  const whole = new Date(time.seconds * 1000).toISOString().slice(0, 19);
  const micros = String(Math.floor(time.nanoseconds / 1000)).padStart(6, '0');
  return `${whole}${micros === '000000' ? '' : `.${micros.replace(/000$/, '')}`}Z`;
}

/**
 * @param {string} text
 * @returns {Timestamp}
 */
export function readTimestamp(text) {
  const parts = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)$/.exec(text);
  const millis = parts ? Date.parse(`${parts[1]}${parts[3]}`) : NaN;
  if (!parts || Number.isNaN(millis)) throw new HearthError('data-loss', 'the server sent a malformed $timestamp');
  return new Timestamp(millis / 1000, Number((parts[2] ?? '').padEnd(9, '0')));
}

/**
 * @param {{ [key: string]: Json }} json
 * @returns {boolean} whether it has the form of what JSON cannot say
 */
function isTagged(json) {
  const keys = Object.keys(json);
  return keys.length === 1 && /** @type {string} */ (keys[0]).startsWith('$');
}

/**
 * @param {Json} json
 * @returns {json is { [key: string]: Json }}
 */
export function isMap(json) {
  return typeof json === 'object' && json !== null && !Array.isArray(json);
}

/**
 * @param {Json} json
 * @returns {json is number[]}
 */
function isNumbers(json) {
  return Array.isArray(json) && json.every(item => typeof item === 'number');
}

/**
 * @param {unknown} value
 * @returns {value is object} whether it was written as `{…}`, in this page or another frame of it
 */
export function isPlain(value) {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return false;
  const parent = Object.getPrototypeOf(value);
  return parent === null || Object.getPrototypeOf(parent) === null;
}

/** @param {unknown} value */
function describe(value) {
  if (typeof value !== 'object' || value === null) return typeof value === 'function' ? 'a function' : String(value);
  return Array.isArray(value) ? 'an array' : `a ${value.constructor?.name || 'nameless'} object`;
}

/** @param {Walk} walk */
function where(walk) {
  return walk.names.length === 0 ? '' : ` (found in field ${printPath(new FieldPath(...walk.names))})`;
}
