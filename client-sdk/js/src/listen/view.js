// The documents of a result, in order, and what changed in it. Pure: an event goes in, a new view comes out.

/** @typedef {import('../wire/message.js').WireDocument} WireDocument */
/** @typedef {import('../wire/message.js').WireChange} WireChange */

/**
 * A change for those who listen: a removed document still has its last content.
 *
 * @typedef {{ type: 'added' | 'modified' | 'removed', doc: WireDocument, from: number, to: number }} Change
 */

/** @typedef {{ docs: readonly WireDocument[], changes: readonly Change[] }} View */

/**
 * Applies changes in sequence.
 *
 * @param {readonly WireDocument[]} before
 * @param {readonly WireChange[]} wire
 * @returns {View | null} null when they do not fit: something was missed
 */
export function fold(before, wire) {
  const docs = [...before];
  /** @type {Change[]} */
  const changes = [];
  for (const { type, doc, from, to } of wire) {
    const old = docs[from];
    if (type !== 'added' && old?.path !== doc.path) return null;
    if (type !== 'added') docs.splice(from, 1);
    if (type === 'removed') {
      changes.push({ type, doc: /** @type {WireDocument} */ (old), from, to: -1 });
      continue;
    }
    if (to < 0 || to > docs.length) return null;
    docs.splice(to, 0, doc);
    changes.push({ type, doc, from: type === 'added' ? -1 : from, to });
  }
  return { docs, changes };
}

/**
 * The changes that lead from one list to another, applied in sequence: removals, then additions and moves from the first position to the last.
 *
 * @param {readonly WireDocument[]} before
 * @param {readonly WireDocument[]} after
 * @returns {Change[]}
 */
export function difference(before, after) {
  const staying = new Set(after.map(doc => doc.path));
  const known = new Set(before.map(doc => doc.path));
  /** @type {Change[]} */
  const changes = [];
  /** @type {WireDocument[]} */
  const docs = [];
  for (const doc of before) {
    if (staying.has(doc.path)) docs.push(doc);
    else changes.push({ type: 'removed', doc, from: docs.length, to: -1 });
  }
  after.forEach((doc, to) => {
    if (!known.has(doc.path)) {
      docs.splice(to, 0, doc);
      changes.push({ type: 'added', doc, from: -1, to });
      return;
    }
    // All before `to` are in place, so this search ends where it begins unless the document moved.
    let from = to;
    while (docs[from]?.path !== doc.path) from++;
    const old = docs[from];
    if (from !== to) docs.splice(to, 0, ...docs.splice(from, 1));
    docs[to] = doc;
    if (from !== to || old?.updated !== doc.updated || old.created !== doc.created) {
      changes.push({ type: 'modified', doc, from, to });
    }
  });
  return changes;
}

/**
 * @param {readonly WireDocument[]} docs
 * @returns {Change[]} all of them, added
 */
export function allAdded(docs) {
  return docs.map((doc, to) => ({ type: 'added', doc, from: -1, to }));
}
