// Random values, writes and queries from a seed. Few fields, few documents, few values: so that they meet.

import firestore from '@google-cloud/firestore';

const { FieldPath, FieldValue, Filter, GeoPoint, Timestamp } = firestore;

/** Draws from a seed; the same seed draws the same. Mulberry32. */
export function drawing(seed) {
  let state = seed >>> 0;
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
  const below = n => Math.floor(next() * n);
  const pick = list => list[below(list.length)];
  const chance = share => next() < share;
  return { below, pick, chance, some: (from, to, make) => Array.from({ length: from + below(to - from + 1) }, make) };
}

export const COLLECTIONS = ['rooms', 'rooms/r1/parts', 'halls'];
const IDS = ['r1', 'r2', 'a', 'B', 'ä', '0', '10', '9'];
const FIELDS = ['n', 'm', 'list', 'map.x', 'map.y'];

/** Any value; `db` for references. */
export function value(db, draw, depth = 0) {
  if (draw.chance(0.4)) return draw.below(5) - 1;
  const scalars = [
    () => draw.below(5) - 1, () => draw.below(5) - 1, () => draw.below(8) / 2, () => draw.pick([null, true, false]),
    () => draw.pick([NaN, -0, Infinity, -Infinity, 2 ** 53, -(2 ** 40) + 0.5]), () => draw.pick(['', 'a', 'b', 'ab', 'ä', '\uffff', '𝄞']),
    () => Buffer.from(draw.pick(['', 'a', 'b'])), () => new Timestamp(draw.pick([0, 1, 1_700_000_000]), draw.pick([0, 1_000])),
    () => new GeoPoint(draw.pick([-1, 0, 1.5]), draw.pick([0, 2])), () => db.doc(`${draw.pick(COLLECTIONS)}/${draw.pick(IDS)}`),
    () => FieldValue.vector(draw.some(1, 2, () => draw.below(3))),
  ];
  if (depth < 2 && draw.chance(0.25)) {
    // An array holds no array, and to the emulator no vector.
    const inner = () => {
      for (;;) {
        const one = value(db, draw, depth + 1);
        if (!Array.isArray(one) && !(one instanceof firestore.VectorValue)) return one;
      }
    };
    if (draw.chance(0.5)) return draw.some(0, 3, inner);
    return Object.fromEntries(draw.some(0, 2, () => [draw.pick(['x', 'y', 'z']), value(db, draw, depth + 1)]));
  }
  return draw.pick(scalars)();
}

const document = (db, draw) => db.doc(`${draw.pick(COLLECTIONS)}/${draw.pick(IDS)}`);
const data = (db, draw) => Object.fromEntries(draw.some(0, 4, () => [draw.pick(['n', 'm', 'list', 'map']), value(db, draw)]));

function change(db, draw) {
  const changed = Object.fromEntries(draw.some(1, 3, () => [draw.pick(FIELDS), draw.chance(0.2) ? FieldValue.delete() : value(db, draw)]));
  if (draw.chance(0.4)) {
    const transforms = [
      () => FieldValue.increment(draw.pick([1, -2, 0.5])), () => FieldValue.arrayUnion(draw.below(4), draw.pick(['a', NaN, 1.5])),
      () => FieldValue.arrayRemove(draw.pick([0, 1, 'a', NaN])),
    ];
    changed[draw.pick(['n', 'list'])] = draw.pick(transforms)();
  }
  // One path may not lead through another.
  if ('map' in changed) delete changed['map.x'], delete changed['map.y'];
  return changed;
}

/** A batch of writes, as a function of the database: the same for both. The first ones only set: they can not be refused. */
export function writes(seed, most) {
  return db => {
    const draw = drawing(seed);
    const batch = db.batch();
    for (let left = most > 4 ? most : 1 + draw.below(most); left > 0; left--) {
      const ref = document(db, draw);
      const kind = most > 4 ? 0 : draw.below(10);
      if (kind < 5) batch.set(ref, data(db, draw));
      else if (kind < 6) batch.set(ref, data(db, draw), { merge: true });
      else if (kind < 8) batch.update(ref, change(db, draw));
      else if (kind < 9) batch.delete(ref, draw.chance(0.3) ? { exists: true } : {});
      else batch.create(ref, data(db, draw));
    }
    return batch;
  };
}

function filter(db, draw, isGroup, depth = 0) {
  if (depth < 2 && draw.chance(0.25)) {
    const parts = draw.some(2, 3, () => filter(db, draw, isGroup, depth + 1));
    return draw.chance(0.5) ? Filter.and(...parts) : Filter.or(...parts);
  }
  const several = () => draw.some(1, 3, () => value(db, draw, 1));
  // In a group a name is a whole path.
  if (!isGroup && draw.chance(0.1)) return Filter.where(FieldPath.documentId(), draw.pick(['<', '>=', '==', '!=']), draw.pick(IDS));
  const field = draw.pick(FIELDS);
  const operator = draw.pick(['==', '==', '<', '<=', '>', '>=', '!=', 'array-contains', 'in', 'not-in', 'array-contains-any']);
  return Filter.where(field, operator, /in$|any$/.test(operator) ? several() : value(db, draw, 1));
}

/** A query as a function of the database; throws where the SDK itself refuses it. */
export function query(seed) {
  return db => {
    const draw = drawing(seed);
    const isGroup = draw.chance(0.2);
    let made = isGroup ? db.collectionGroup(draw.pick(['rooms', 'parts'])) : db.collection(draw.pick(COLLECTIONS));
    if (draw.chance(0.75)) made = made.where(filter(db, draw, isGroup));
    const orders = draw.chance(0.5) ? draw.some(1, 2, () => draw.pick(FIELDS)) : [];
    for (const field of new Set(orders)) made = made.orderBy(field, draw.pick(['asc', 'desc']));
    if (draw.chance(0.15)) made = made.orderBy(FieldPath.documentId(), draw.pick(['asc', 'desc']));
    if (orders.length && draw.chance(0.4)) made = made[draw.pick(['startAt', 'startAfter'])](value(db, draw, 1));
    if (orders.length && draw.chance(0.3)) made = made[draw.pick(['endAt', 'endBefore'])](value(db, draw, 1));
    if (draw.chance(0.3)) made = made.limit(1 + draw.below(4));
    if (draw.chance(0.1)) made = made.offset(draw.below(3));
    if (draw.chance(0.1)) made = made.select(draw.pick(FIELDS));
    return made;
  };
}
