// npm firebase's `firebase/firestore` in Node, unmodified, before the real server: there it speaks gRPC.
// FIRESTORE_EMULATOR_HOST says where the server is.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as sdk from 'firebase/firestore';
import { cities, clients, ids, refused, tests } from './shared.js';

const {
  collection, collectionGroup, deleteDoc, disableNetwork, doc, enableNetwork, getDocFromCache,
  getDocFromServer, getDocs, getDocsFromServer, increment, limit, limitToLast, maximum, minimum, onSnapshot,
  onSnapshotsInSync, orderBy, query, runTransaction, serverTimestamp, setDoc, startAfter, Timestamp, updateDoc,
  waitForPendingWrites, where, writeBatch,
} = sdk;
const fresh = clients(sdk, 'node');

/** A listener: `until(holds)` waits for a snapshot of the server's state, without writes on the way, that is as wanted. */
function listening(what) {
  const seen = [];
  let wake = () => {};
  const tell = one => {
    seen.push(one);
    wake();
  };
  const stop = onSnapshot(what, { includeMetadataChanges: true }, snapshot => tell({ snapshot }), error => tell({ error }));
  const until = async holds => {
    for (;;) {
      for (const { snapshot, error } of seen.splice(0)) {
        if (error) throw error;
        const { fromCache, hasPendingWrites } = snapshot.metadata;
        if (!fromCache && !hasPendingWrites && holds(snapshot)) return snapshot;
      }
      await new Promise(done => (wake = done));
    }
  };
  return { until, stop };
}

tests(sdk, fresh, {
  read: getDocFromServer, all: getDocsFromServer, count: sdk.getCountFromServer, numbers: sdk.getAggregateFromServer, invalid: 'invalid-argument',
});

// Older versions have no such transforms.
test('the larger and the smaller of two numbers are kept', { skip: !maximum }, async () => {
  const ref = doc(fresh(), 'rooms/a');
  await setDoc(ref, { high: maximum(3), low: minimum(3) });
  await setDoc(ref, { high: maximum(2), low: minimum(2) }, { merge: true });
  assert.deepEqual((await getDocFromServer(ref)).data(), { high: 3, low: 2 });
});

test('a query is answered by the server alone where that is asked for', async () => {
  const all = await cities(sdk, fresh());
  assert.equal(ids(await getDocsFromServer(query(all, orderBy('n'), startAfter(3)))), 'de');
});

test('two clients hear of each other’s writes, and of a batch at once', async () => {
  const [one, two] = [fresh('heard'), fresh('heard')];
  const rooms = db => collection(db, 'rooms');
  const watches = [one, two].map(db => listening(query(rooms(db), where('n', '>', 0), orderBy('n'))));
  for (const watch of watches) assert.equal((await watch.until(() => true)).size, 0);
  await setDoc(doc(one, 'rooms/a'), { n: 2, at: serverTimestamp() });
  for (const watch of watches) {
    const { docs: [found] } = await watch.until(({ size }) => size === 1);
    assert.ok(found.data().at instanceof Timestamp);
  }
  // Both at once, in every snapshot of the other client.
  const broken = [];
  const whole = onSnapshot(rooms(two), snapshot => {
    if (snapshot.docs.some(({ id }) => id === 'b') !== snapshot.docs.some(({ id }) => id === 'c')) broken.push(ids(snapshot));
  });
  await writeBatch(one).set(doc(one, 'rooms/b'), { n: 1 }).set(doc(one, 'rooms/c'), { n: 3 }).update(doc(one, 'rooms/a'), { n: 4 }).commit();
  for (const watch of watches) assert.equal(ids(await watch.until(({ size }) => size === 3)), 'bca');
  await writeBatch(two).delete(doc(two, 'rooms/b')).delete(doc(two, 'rooms/c')).set(doc(two, 'rooms/a'), { n: 0 }).commit();
  for (const watch of watches) assert.equal((await watch.until(({ size }) => size === 0)).size, 0);
  assert.deepEqual(broken, []);
  whole();
  for (const watch of watches) watch.stop();
});

test('listeners of limits, groups and single documents', async () => {
  const [db, other] = [fresh('windows'), fresh('windows')];
  const all = await cities(sdk, other);
  await setDoc(doc(other, 'cities/a/cities/f'), { n: 6 });
  const first = listening(query(collection(db, 'cities'), orderBy('n'), limit(2)));
  const last = listening(query(collection(db, 'cities'), orderBy('n'), limitToLast(2)));
  const group = listening(query(collectionGroup(db, 'cities'), where('n', '>', 4)));
  const single = listening(doc(db, 'cities/z'));
  assert.equal(ids(await first.until(() => true)), 'ab');
  assert.equal(ids(await last.until(() => true)), 'de');
  assert.equal(ids(await group.until(() => true)), 'ef');
  assert.equal((await single.until(() => true)).exists(), false);
  await deleteDoc(doc(all, 'a'));
  await setDoc(doc(all, 'z'), { n: 10 });
  assert.equal(ids(await first.until(snapshot => ids(snapshot) !== 'ab')), 'bc');
  assert.equal(ids(await last.until(snapshot => ids(snapshot) !== 'de')), 'ez');
  assert.equal(ids(await group.until(({ size }) => size === 3)), 'efz');
  assert.equal((await single.until(one => one.exists())).data().n, 10);
  for (const watch of [first, last, group, single]) watch.stop();
  // The same again: from the memory of this client's own view of it, and what has changed since.
  await deleteDoc(doc(all, 'z'));
  const again = listening(query(collection(db, 'cities'), orderBy('n'), limitToLast(2)));
  assert.equal(ids(await again.until(() => true)), 'de');
  again.stop();
});

test('a listener is told each step once: what is written here, what came of it, when the network went and came', async () => {
  const db = fresh();
  const rooms = collection(db, 'rooms');
  const told = [];
  let wake = () => {};
  const stop = onSnapshot(rooms, { includeMetadataChanges: true }, snapshot => {
    const { hasPendingWrites, fromCache } = snapshot.metadata;
    told.push([ids(snapshot), hasPendingWrites ? 'pending' : 'settled', fromCache ? 'cached' : 'current'].join(' '));
    wake();
  });
  // Whatever were told beside these would stand between them, or in front of what is told next.
  const next = async (...wanted) => {
    while (told.length < wanted.length) await new Promise(done => (wake = done));
    assert.deepEqual(told.splice(0), wanted);
  };
  await next(' settled current');
  await setDoc(doc(rooms, 'a'), { n: 1 });
  await next('a pending current', 'a settled current');
  await setDoc(doc(rooms, 'a'), { n: 1 });
  await next('a pending current', 'a settled current');
  const refusedBatch = writeBatch(db).set(doc(rooms, 'b'), { n: 2 }).update(doc(rooms, 'missing'), { n: 3 }).commit();
  await assert.rejects(refusedBatch, refused('not-found'));
  await next('ab pending current', 'a settled current');
  await disableNetwork(db);
  await next('a settled cached');
  const late = setDoc(doc(rooms, 'c'), { at: serverTimestamp() });
  await next('ac pending cached');
  await enableNetwork(db);
  await late;
  while (told.at(-1) !== 'ac settled current') await new Promise(done => (wake = done));
  told.length = 0;
  await deleteDoc(doc(rooms, 'a'));
  await next('c settled current');
  await deleteDoc(doc(rooms, 'c'));
  await next(' settled current');
  stop();
});

test('a limit from the front and its mirror from the back are one target, and each goes on without the other', async () => {
  const db = fresh();
  const all = await cities(sdk, db);
  const [front, back] = [query(all, orderBy('n'), limit(2)), query(all, orderBy('n', 'desc'), limitToLast(2))];
  let [one, two] = [listening(front), listening(back)];
  assert.deepEqual([ids(await one.until(() => true)), ids(await two.until(() => true))], ['ab', 'ba']);
  one.stop();
  one = listening(front);
  assert.equal(ids(await one.until(() => true)), 'ab');
  await setDoc(doc(all, 'z'), { n: 0 });
  assert.deepEqual([ids(await one.until(({ docs }) => docs[0].id === 'z')), ids(await two.until(({ docs }) => docs[1].id === 'z'))], ['za', 'az']);
  two.stop();
  await updateDoc(doc(all, 'a'), { n: -1 });
  two = listening(back);
  assert.deepEqual([ids(await one.until(({ docs }) => docs[0].id === 'a')), ids(await two.until(() => true))], ['az', 'za']);
  for (const watch of [one, two]) watch.stop();
});

test('a transaction is tried again when another came first, and a contended counter is counted to the last one', async () => {
  const [db, other] = [fresh('counts'), fresh('counts')];
  const ref = doc(db, 'counters/one');
  await setDoc(ref, { n: 1 });
  let attempts = 0;
  await runTransaction(db, async transaction => {
    const { n } = (await transaction.get(ref)).data();
    if (attempts++ === 0) await setDoc(doc(other, 'counters/one'), { n: 10 });
    transaction.update(ref, { n: n + 1 });
  });
  assert.equal(attempts, 2);
  const add = db => runTransaction(db, async transaction => {
    const own = doc(db, 'counters/one');
    await transaction.get(doc(db, 'counters/missing'));
    transaction.set(own, { n: (await transaction.get(own)).data().n + 1 });
  }, { maxAttempts: 50 });
  await Promise.all(Array.from({ length: 8 }, (_, n) => add(n % 2 ? db : other)));
  assert.equal((await getDocFromServer(ref)).data().n, 19);
  await assert.rejects(runTransaction(db, async () => { throw new Error('mine'); }), /mine/);
});

test('what a transaction makes of a document by two steps, there or not, read before or not', async () => {
  const db = fresh();
  const rooms = collection(db, 'rooms');
  const steps = {
    get: (transaction, ref) => transaction.get(ref),
    del: (transaction, ref) => transaction.delete(ref),
    set: (transaction, ref, n) => transaction.set(ref, { n }),
    update: (transaction, ref, n) => transaction.update(ref, { n }),
  };
  const outcome = async (isThere, ...names) => {
    const ref = doc(rooms);
    if (isThere) await setDoc(ref, { n: 0 });
    const run = runTransaction(db, async transaction => {
      for (const [n, name] of names.entries()) await steps[name](transaction, ref, n);
    });
    const code = await run.then(() => undefined, error => error.code);
    return code ?? (await getDocFromServer(ref)).data()?.n ?? 'gone';
  };
  for (const isThere of [true, false]) {
    for (const before of [['get'], []]) {
      const check = async (want, ...names) => assert.equal(await outcome(isThere, ...before, ...names), want, String([isThere, ...before, ...names]));
      const last = before.length + 1;
      await check('gone', 'del', 'del');
      await check('invalid-argument', 'del', 'update');
      await check(last, 'del', 'set');
      await check('gone', 'set', 'del');
      await check(last, 'set', 'update');
      await check(last, 'set', 'set');
      // What was read as missing is refused by the client itself.
      const failure = before.length ? 'invalid-argument' : 'not-found';
      await check(isThere ? 'gone' : failure, 'update', 'del');
      await check(isThere ? last : failure, 'update', 'update');
      await check(isThere ? last : failure, 'update', 'set');
    }
  }
});

test('what is written without a network is seen at once, and arrives in its order when there is one', async () => {
  const [db, other] = [fresh('offline'), fresh('offline')];
  const watch = listening(collection(other, 'rooms'));
  await watch.until(() => true);
  await setDoc(doc(db, 'rooms/a'), { n: 1 });
  // What nobody listens to leaves the cache, in some versions at once.
  const kept = listening(doc(db, 'rooms/a'));
  await kept.until(one => one.exists());
  await disableNetwork(db);
  for (let n = 0; n < 12; n++) void updateDoc(doc(db, 'rooms/a'), { n: increment(10) });
  void setDoc(doc(db, 'rooms/b'), { after: 'all' });
  const here = await getDocFromCache(doc(db, 'rooms/a'));
  assert.deepEqual([here.data(), here.metadata.hasPendingWrites], [{ n: 121 }, true]);
  await updateDoc(doc(other, 'rooms/a'), { n: increment(1), more: true });
  await enableNetwork(db);
  await waitForPendingWrites(db);
  const seen = await watch.until(({ size }) => size === 2);
  assert.deepEqual(seen.docs.map(one => one.data()), [{ n: 122, more: true }, { after: 'all' }]);
  for (const one of [watch, kept]) one.stop();
});

test('all listeners of a client are brought to one version together', async () => {
  const [db, other] = [fresh('together'), fresh('together')];
  const watches = ['x', 'y'].map(name => listening(collection(db, name)));
  for (const watch of watches) await watch.until(() => true);
  const counted = { x: 0, y: 0 };
  const torn = [];
  const stops = ['x', 'y'].map(name => onSnapshot(collection(db, name), ({ size }) => void (counted[name] = size)));
  stops.push(onSnapshotsInSync(db, () => counted.x === counted.y || torn.push({ ...counted })));
  for (let n = 0; n < 10; n++) await writeBatch(other).set(doc(other, `x/${n}`), {}).set(doc(other, `y/${n}`), {}).commit();
  for (const watch of watches) await watch.until(({ size }) => size === 10);
  assert.deepEqual(torn, []);
  for (const stop of [...stops, ...watches.map(watch => watch.stop)]) stop();
});

test('a mocked user is let in, and what is refused has its code', async () => {
  const db = fresh(undefined, { mockUserToken: { sub: 'ada' } });
  await setDoc(doc(db, 'rooms/a'), { n: 1 });
  assert.equal((await getDocFromServer(doc(db, 'rooms/a'))).data().n, 1);
  await assert.rejects(listening(collection(db, '__rooms__')).until(() => true), refused('invalid-argument'));
  await assert.rejects(getDocs(collection(db, '__rooms__')), refused('invalid-argument'));
  await assert.rejects(setDoc(doc(db, 'rooms/large'), { text: 'x'.repeat(1_100_000) }), refused('invalid-argument'));
});
