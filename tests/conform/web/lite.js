// npm firebase's `firebase/firestore/lite`, unmodified, before the real server: it speaks REST and nothing else.
// FIRESTORE_EMULATOR_HOST says where the server is.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as sdk from 'firebase/firestore/lite';
import { clients, refused, tests } from './shared.js';

const { collection, doc, getDoc, getDocs, runTransaction, setDoc } = sdk;
const fresh = clients(sdk, 'lite');

// This SDK reads only the HTTP status of a refusal: 400 is 'failed-precondition' to it, whatever the body says.
const INVALID = 'failed-precondition';

tests(sdk, fresh, { read: getDoc, all: getDocs, count: sdk.getCount, numbers: sdk.getAggregate, invalid: INVALID });

test('a contended counter is counted by transactions to the last one', async () => {
  const db = fresh();
  const ref = doc(db, 'counters/one');
  const other = doc(db, 'counters/missing');
  const add = () => runTransaction(db, async transaction => {
    const got = await transaction.get(ref);
    await transaction.get(other);
    transaction.set(ref, { n: (got.data()?.n ?? 0) + 1 });
  }, { maxAttempts: 50 });
  await Promise.all(Array.from({ length: 5 }, add));
  assert.equal((await getDoc(ref)).data().n, 5);
  await assert.rejects(runTransaction(db, async () => { throw new Error('mine'); }), /mine/);
});

test('a mocked user is let in, and what is refused has its code', async () => {
  const db = fresh(undefined, { mockUserToken: { sub: 'ada' } });
  await setDoc(doc(db, 'rooms/a'), { n: 1 });
  assert.equal((await getDoc(doc(db, 'rooms/a'))).data().n, 1);
  await assert.rejects(getDocs(collection(db, '__rooms__')), refused(INVALID));
  await assert.rejects(setDoc(doc(db, 'rooms/large'), { text: 'x'.repeat(1_100_000) }), refused(INVALID));
});
