// The client against the real server, once per transport: `npm run conform` starts one, `HEARTH_URL=http://127.0.0.1:8080 npm run conform`
// takes one that runs. Each test writes below a collection of its own, so that the server need not be empty.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { WebSocket } from 'ws';

import {
  HearthError, Timestamp, addDoc, and, arrayRemove, arrayUnion, average, collection, collectionGroup, count, deleteDoc, deleteField, doc, documentId, endBefore,
  getAggregateFromServer, getCountFromServer, getDoc, getDocs, getFirestore, increment, initializeApp, limit, limitToLast, maximum, minimum, onAggregate,
  onConnectionState, onSnapshot, or, orderBy, query, runTransaction, serverTimestamp, setDoc, startAfter, startAt, sum, terminate, updateDoc, where,
  writeBatch,
} from '../hearth.js';
import { encodeFields } from '../src/wire/value.js';
import { fold } from '../src/listen/view.js';
import { wireOf } from '../src/snapshot.js';
import { Hearth } from './hearth.js';
import { pick, randomOf, randomValue, upTo } from './random.js';

/** @typedef {import('../hearth.js').CollectionReference} Collection */
/** @typedef {import('../hearth.js').Firestore} Firestore */
/** @typedef {import('../hearth.js').QuerySnapshot} QuerySnapshot */
/** @typedef {import('../src/wire/message.js').WireChange} WireChange */
/** @typedef {import('../src/wire/message.js').WireDocument} WireDocument */

const webSocket = /** @type {import('../src/link/websocket.js').SocketMaker} */ (/** @type {unknown} */ (WebSocket));
const seed = Number(process.env['SEED'] ?? Date.now() % 1e9);
const transports = /** @type {const} */ (['websocket', 'sse', 'poll']);

/** @type {Hearth | null} Our own server, where we are not told of another. */
let hearth = null;
let host = process.env['HEARTH_URL'] ?? '';
if (host === '') {
  before(async () => {
    hearth = await Hearth.start();
    ({ host } = hearth);
  });
  after(() => hearth?.stop());
}

/**
 * @param {string} name
 * @param {(place: { db: Firestore, all: Collection, random: () => number, other: () => Firestore }) => Promise<void>} story
 */
function story(name, story) {
  for (const transport of transports) {
    test(`${transport}: ${name}`, { timeout: 60_000 }, async context => {
      context.diagnostic(`seed ${seed}`);
      /** @type {Firestore[]} */
      const clients = [];
      const client = () => {
        const db = getFirestore(initializeApp({ host, transport, webSocket, token: process.env['HEARTH_TOKEN'] }));
        clients.push(db);
        return db;
      };
      const db = client();
      try {
        await story({ db, all: collection(doc(collection(db, 'conform')), 'docs'), random: randomOf(seed), other: client });
      } finally {
        await Promise.all(clients.map(terminate));
      }
    });
  }
}

/**
 * @param {{ docs: readonly { id: string }[] }} snapshot
 * @returns {string}
 */
const ids = ({ docs }) => docs.map(({ id }) => id).join(' ');

/**
 * @param {string} code
 * @returns {(error: unknown) => boolean}
 */
const coded = code => error => error instanceof HearthError && error.code === code;

/**
 * Waits until a listener has heard what is looked for.
 *
 * @template S
 * @param {(hear: (heard: S) => void, fail: (error: Error) => void) => () => void} listen
 * @param {(heard: S) => boolean} found
 * @returns {Promise<S>}
 */
function until(listen, found) {
  return new Promise((resolve, reject) => {
    const stop = listen(heard => {
      if (!found(heard)) return;
      resolve(heard);
      queueMicrotask(() => stop());
    }, reject);
  });
}

story('every value comes back as it was written', async ({ db, all, random }) => {
  for (let round = 0; round < 30; round++) {
    const value = named(randomValue(random, db));
    const ref = await addDoc(all, { value });
    const wire = wireOf(await getDoc(ref))?.data;
    assert.deepEqual(sorted(wire), sorted(JSON.parse(JSON.stringify(encodeFields({ value }, db, 'set')))), `round ${round}`);
  }
});

story('writes, merges and transforms', async ({ all }) => {
  const ref = doc(all, 'a');
  await assert.rejects(updateDoc(ref, { n: 1 }), coded('not-found'));
  await setDoc(ref, { n: 1, deep: { x: 1, y: 2 }, list: [1, 2] });
  await setDoc(ref, { deep: { y: 3 } }, { merge: true });
  await setDoc(ref, { deep: { x: 9 }, n: 100 }, { mergeFields: ['deep.x'] });
  assert.deepEqual((await getDoc(ref)).data(), { n: 1, deep: { x: 9, y: 3 }, list: [1, 2] });
  await updateDoc(ref, { 'deep.x': deleteField(), n: increment(2), list: arrayUnion(2, 3), top: maximum(5), at: serverTimestamp() });
  await updateDoc(ref, 'list', arrayRemove(1), 'top', minimum(4), 'deep.`a.b`', true);
  const { at, ...rest } = (await getDoc(ref)).data() ?? {};
  assert.deepEqual(rest, { n: 3, deep: { y: 3, 'a.b': true }, list: [2, 3], top: 4 });
  assert.ok(at instanceof Timestamp);
  await deleteDoc(ref);
  await deleteDoc(ref);
  assert.equal((await getDoc(ref)).exists(), false);
});

story('queries, orders, cursors and counts', async ({ db, all }) => {
  const batch = writeBatch(db);
  for (let n = 0; n < 12; n++) batch.set(doc(all, `d${String(n).padStart(2, '0')}`), { n, even: n % 2 === 0, tags: [`t${n % 3}`], rest: n % 4 });
  await batch.commit();
  const found = async (/** @type {import('../hearth.js').QueryConstraint[]} */ ...constraints) => ids(await getDocs(query(all, ...constraints)));
  assert.equal(await found(where('n', '<', 3)), 'd00 d01 d02');
  assert.equal(await found(where('even', '==', true), orderBy('n', 'desc'), limit(2)), 'd10 d08');
  assert.equal(await found(orderBy('n'), limitToLast(2)), 'd10 d11');
  assert.equal(await found(where('tags', 'array-contains', 't1'), where('n', '>', 4)), 'd07 d10');
  assert.equal(await found(where('rest', 'in', [0, 3]), where('n', '!=', 3), where('n', '<', 8)), 'd00 d04 d07');
  assert.equal(await found(or(where('n', '==', 1), and(where('n', '>=', 10), where('even', '==', false)))), 'd01 d11');
  assert.equal(await found(orderBy('n'), startAt(4), endBefore(6)), 'd04 d05');
  assert.equal(await found(where(documentId(), 'in', ['d03', 'd01'])), 'd01 d03');
  const page = await getDocs(query(all, orderBy('rest'), limit(4)));
  assert.equal(ids(page), 'd00 d04 d08 d01');
  assert.equal(await found(orderBy('rest'), startAfter(page.docs.at(-1)), limit(3)), 'd05 d09 d02');
  assert.equal((await getCountFromServer(query(all, where('even', '==', true)))).data().count, 6);
  assert.deepEqual((await getAggregateFromServer(all, { n: count(), s: sum('n'), a: average('n'), none: average('missing') })).data(), { n: 12, s: 66, a: 5.5, none: null });
  const id = `g${doc(all).id}`;
  await setDoc(doc(all, 'd00', id, 'x'), { n: 1 });
  await setDoc(doc(all, 'd01', id, 'y'), { n: 2 });
  assert.equal(ids(await getDocs(query(collectionGroup(db, id), orderBy('n', 'desc')))), 'y x');
});

story('a write resolves after the snapshot that contains it', async ({ all }) => {
  /** @type {string[]} */
  const heard = [];
  onSnapshot(query(all, orderBy('n')), snapshot => heard.push(ids(snapshot)));
  for (let n = 0; n < 10; n++) {
    await setDoc(doc(all, `d${n}`), { n });
    assert.ok(heard.at(-1)?.endsWith(`d${n}`), heard.at(-1));
  }
});

story('listeners follow random writes of others, change by change', async ({ db, all, random, other }) => {
  const sources = [
    query(all, orderBy('n'), limit(4)), query(all, orderBy('n', 'desc'), limitToLast(3)), query(all, where('k', '==', 1)),
    query(all, where('n', '>', 3), orderBy('n'), startAfter(4)), all,
  ];
  const watched = sources.map(source => {
    const watch = { source, docs: /** @type {readonly WireDocument[]} */ ([]), last: /** @type {QuerySnapshot | null} */ (null) };
    onSnapshot(source, snapshot => {
      const changes = snapshot.docChanges().map(({ type, doc, oldIndex, newIndex }) => ({ type, doc: wireOf(doc), from: oldIndex, to: newIndex }));
      const view = fold(watch.docs, /** @type {WireChange[]} */ (changes));
      assert.ok(view, 'the changes fit');
      watch.docs = view.docs;
      watch.last = snapshot;
      assert.equal(view.docs.map(({ path }) => path).join(), snapshot.docs.map(({ ref }) => ref.path).join());
    });
    return watch;
  });
  const writer = other();
  for (let round = 0; round < 60; round++) {
    const ref = doc(writer, all.path, pick(random, ['a', 'b', 'c', 'd', 'e', 'f', 'g']));
    await (random() < 0.3 ? deleteDoc(ref) : setDoc(ref, { n: upTo(random, 9), k: upTo(random, 2) }));
  }
  // A write through the listeners' own connection comes after all that was committed before.
  await setDoc(doc(all, 'last'), { n: -1, k: 9 });
  for (const { source, last } of watched) assert.equal(ids(last ?? { docs: [] }), ids(await getDocs(source)));
  void db;
});

story('a live count', async ({ all }) => {
  const numbers = { n: count(), s: sum('n') };
  /** @type {unknown[]} */
  const heard = [];
  await new Promise((resolve, reject) => {
    onAggregate(query(all, where('n', '>', 0)), numbers, snapshot => resolve(heard.push(snapshot.data())), reject);
  });
  // Sent before the first answer came, a write might have been in it.
  for (const n of [1, 0, 5]) await setDoc(doc(all, `d${n}`), { n });
  await deleteDoc(doc(all, 'd1'));
  assert.deepEqual(heard, [{ n: 0, s: 0 }, { n: 1, s: 1 }, { n: 2, s: 6 }, { n: 1, s: 5 }]);
});

story('contenders in transactions all get their turn', async ({ all, other }) => {
  const rivals = [other(), other()];
  await setDoc(doc(all, 'n'), { n: 0 });
  await Promise.all(rivals.flatMap(db => [1, 2, 3].map(() => runTransaction(db, async transaction => {
    const ref = doc(db, all.path, 'n');
    const n = Number((await transaction.get(ref)).get('n'));
    transaction.update(ref, { n: n + 1 });
  }, { maxAttempts: 20 }))));
  assert.equal((await getDoc(doc(all, 'n'))).get('n'), 6);
});

story('twenty listeners share one connection', async ({ db, all }) => {
  /** @type {string[]} */
  const states = [];
  onConnectionState(db, ({ state }) => states.push(state));
  const sizes = Array.from({ length: 20 }, () => -1);
  sizes.forEach((_, at) => onSnapshot(query(all, where('k', '==', at)), snapshot => (sizes[at] = snapshot.size)));
  for (let at = 0; at < 20; at++) await setDoc(doc(all, `d${at}`), { k: at });
  assert.deepEqual(sizes, Array.from({ length: 20 }, () => 1));
  assert.equal(states.filter(state => state === 'connecting').length, 1);
});

story('a document is heard of before it exists and after it is gone', async ({ all }) => {
  const ref = doc(all, 'a');
  /** @type {unknown[]} */
  const heard = [];
  const first = until(hear => onSnapshot(ref, hear), () => true);
  onSnapshot(ref, snapshot => heard.push(snapshot.data()?.['n']));
  assert.equal((await first).exists(), false);
  await setDoc(ref, { n: 1 });
  await deleteDoc(ref);
  assert.deepEqual(heard, [undefined, 1, undefined]);
});

story('the server is killed in the middle: each write is done once, and listeners hear every step', async ({ all }) => {
  // Not ours to kill.
  if (!hearth) return;
  const ref = doc(all, 'n');
  await setDoc(ref, { n: 0 });
  /** @type {number[]} */
  const heard = [];
  onSnapshot(ref, snapshot => heard.push(Number(snapshot.get('n'))));
  const write = () => Array.from({ length: 10 }, () => updateDoc(ref, { n: increment(1) }));
  const before = write();
  await Promise.race(before);
  const restarted = hearth.restart();
  await Promise.all([restarted, ...before, ...write()]);
  assert.equal(heard.at(-1), 20);
  // What was committed while nobody listened may come as one step.
  assert.deepEqual(heard, [...new Set(heard)].sort((a, b) => a - b));
});

story('what makes no sense is refused with a code, and the rest goes on', async ({ db, all }) => {
  await assert.rejects(getDocs(query(all, where('a', 'in', Array.from({ length: 10_001 }, (_, at) => at)))), coded('invalid-argument'));
  await assert.rejects(setDoc(doc(db, 'conform', '__reserved__'), {}), coded('invalid-argument'));
  await assert.rejects(setDoc(doc(all, 'big'), { text: 'x'.repeat(1_100_000) }), coded('invalid-argument'));
  await setDoc(doc(all, 'a'), { n: 1 });
  assert.equal(ids(await getDocs(all)), 'a');
});

/**
 * A value whose field names the server accepts.
 *
 * @param {unknown} value
 * @returns {unknown}
 */
function named(value) {
  if (Array.isArray(value)) return value.map(named);
  if (typeof value !== 'object' || value === null || Object.getPrototypeOf(value) !== Object.prototype) return value;
  return Object.fromEntries(Object.entries(value).map(([name, item]) => [name === '__proto__' ? 'proto' : name, named(item)]));
}

/**
 * JSON with its keys in order, and doubles that JavaScript cannot tell from integers as the same.
 *
 * @param {unknown} json
 * @returns {unknown}
 */
function sorted(json) {
  if (Array.isArray(json)) return json.map(sorted);
  if (typeof json !== 'object' || json === null) return json;
  const entries = Object.entries(json);
  const [first] = entries;
  if (entries.length === 1 && first?.[0] === '$double' && typeof first[1] === 'number') return first[1];
  if (entries.length === 1 && first?.[0] === '$timestamp') return String(first[1]).replace(/(\.\d*?)0+Z$/, '$1Z').replace('.Z', 'Z');
  return Object.fromEntries(entries.map(([name, value]) => [name, sorted(value)]).sort(([a], [b]) => (String(a) < String(b) ? -1 : 1)));
}
