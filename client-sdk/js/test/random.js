// Numbers that look random and come again under the same seed, and values made of them.

import { Bytes, GeoPoint, Timestamp, doc, vector } from '../hearth.js';

/**
 * @param {number} seed
 * @returns {() => number} from 0 to 1
 */
export function randomOf(seed) {
  let state = (seed + 1) >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/**
 * @param {() => number} random
 * @param {number} below
 */
export function upTo(random, below) {
  return Math.floor(random() * below);
}

/**
 * @template T
 * @param {() => number} random
 * @param {readonly T[]} list
 * @returns {T}
 */
export function pick(random, list) {
  return /** @type {T} */ (list[upTo(random, list.length)]);
}

const NUMBERS = [0, -0, 1, -1, 1.5, NaN, Infinity, -Infinity, 2 ** 53, 2 ** 53 - 1, -(2 ** 60), 1e300, 5e-324, 1e21, 123456789012345680000];
const TEXTS = ['', 'a', '$ref', 'ünï', '😀', '\u0000"\\', '__proto__', 'a.b', '`'];
const NAMES = ['a', 'b', '$ref', '$map', '$x', 'a.b', '`', '__proto__', 'constructor', 'ü'];

/**
 * @param {() => number} random
 * @param {import('../hearth.js').Firestore} firestore
 * @param {{ depth?: number, inArray?: boolean }} [at]
 * @returns {unknown} any value that a document may hold
 */
export function randomValue(random, firestore, { depth = 0, inArray = false } = {}) {
  const inside = { depth: depth + 1 };
  switch (upTo(random, depth > 3 ? 10 : 12)) {
    case 0: return null;
    case 1: return random() < 0.5;
    case 2: return pick(random, NUMBERS);
    case 3: return pick(random, TEXTS);
    case 4: return new Timestamp(upTo(random, 4e9) - 2e9, upTo(random, 1e6) * 1000);
    case 5: return Bytes.fromUint8Array(Uint8Array.from({ length: upTo(random, 9) }, () => upTo(random, 256)));
    case 6: return doc(firestore, pick(random, ['users/ada', 'a/b/c/d']));
    case 7: return new GeoPoint(random() * 180 - 90, random() * 360 - 180);
    case 8: return vector(Array.from({ length: upTo(random, 4) }, random));
    case 9: return pick(random, [9007199254740993n, -(2n ** 63n), 2n ** 63n - 1n]);
    case 10:
      if (inArray) return 'no array directly inside an array';
      return Array.from({ length: upTo(random, 4) }, () => randomValue(random, firestore, { ...inside, inArray: true }));
    default:
      return Object.fromEntries(
        Array.from({ length: upTo(random, 4) }, () => [pick(random, NAMES), randomValue(random, firestore, inside)]),
      );
  }
}
