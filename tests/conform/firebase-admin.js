// The newest firebase-admin, unmodified, before the real server: FIRESTORE_EMULATOR_HOST says where it is.
//
// Each test has an app and a database of its own, by gRPC and, where it says so, by REST (preferRest), for which the SDK
// wants credentials also where an emulator is named: a key that is made here, of nobody.

import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { after, test } from 'node:test';
import { cert, deleteApp, initializeApp } from 'firebase-admin/app';
import { AggregateField, FieldValue, Filter, GrpcStatus, Timestamp, getFirestore, initializeFirestore } from 'firebase-admin/firestore';

const { privateKey } = generateKeyPairSync('rsa', {
  modulusLength: 2048,
  privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
  publicKeyEncoding: { type: 'spki', format: 'pem' },
});
const credential = () => cert({ projectId: 'conform', clientEmail: 'server@conform.iam.gserviceaccount.com', privateKey });

const apps = [];
after(() => Promise.all(apps.map(deleteApp)));

/** A fresh database of a fresh app. */
function fresh(how) {
  const id = `admin-${apps.length}`;
  const app = initializeApp({ projectId: 'conform', ...(how.preferRest && { credential: credential() }) }, id);
  apps.push(app);
  return how.preferRest ? initializeFirestore(app, how, id) : getFirestore(app, id);
}

const ids = snapshot => snapshot.docs.map(doc => doc.id).join('');

/** What holds by either way. */
async function holds(db) {
  const rooms = db.collection('rooms');
  await rooms.doc('a').create({ n: 1, tags: ['x'], in: { gone: 1 } });
  await assert.rejects(rooms.doc('a').create({}), { code: GrpcStatus.ALREADY_EXISTS });
  await assert.rejects(rooms.doc('none').update({ n: 1 }), { code: GrpcStatus.NOT_FOUND });
  await rooms.doc('a').update({
    n: FieldValue.increment(2), tags: FieldValue.arrayUnion('y'), 'in.gone': FieldValue.delete(), at: FieldValue.serverTimestamp(),
  });
  const { at, ...rest } = (await rooms.doc('a').get()).data();
  assert.deepEqual(rest, { n: 3, tags: ['x', 'y'], in: {} });
  assert.ok(at instanceof Timestamp);

  const batch = db.batch();
  for (const [index, id] of ['b', 'c', 'd'].entries()) batch.set(rooms.doc(id), { n: index });
  await batch.commit();
  const either = Filter.or(Filter.where('n', '==', 0), Filter.where('n', '>', 1));
  assert.equal(ids(await rooms.where(either).orderBy('n', 'desc').get()), 'adb');
  const numbers = await rooms.aggregate({ all: AggregateField.count(), sum: AggregateField.sum('n') }).get();
  assert.deepEqual(numbers.data(), { all: 4, sum: 6 });
  assert.deepEqual((await db.listCollections()).map(({ id }) => id), ['rooms']);

  const sum = await db.runTransaction(async transaction => {
    const [a, b] = await transaction.getAll(rooms.doc('a'), rooms.doc('b'));
    transaction.update(a.ref, { n: a.get('n') + 10 }).delete(b.ref);
    return a.get('n') + b.get('n');
  });
  assert.equal(sum, 3);
  assert.equal((await rooms.doc('a').get()).get('n'), 13);
  assert.equal((await rooms.doc('b').get()).exists, false);

  const writer = db.bulkWriter();
  for (let n = 0; n < 60; n++) writer.set(db.doc(`many/m${n}`), { n });
  const refused = writer.create(rooms.doc('a'), {}).then(() => assert.fail('it is there'), error => error.code);
  await writer.close();
  assert.equal(await refused, GrpcStatus.ALREADY_EXISTS);
  assert.equal((await db.collection('many').get()).size, 60);
  await db.recursiveDelete(db.collection('many'));
  assert.equal((await db.collection('many').get()).size, 0);

  // A listener is always by gRPC, whatever was preferred.
  const told = [];
  let wake = () => {};
  const stop = rooms.orderBy('n').onSnapshot(snapshot => (told.push(ids(snapshot)), wake()), error => (told.push(error), wake()));
  const next = async count => {
    while (told.length < count) await new Promise(done => (wake = done));
    return told[count - 1];
  };
  assert.equal(await next(1), 'cda');
  await rooms.doc('e').set({ n: 1.5 });
  assert.equal(await next(2), 'ceda');
  stop();
}

test('firebase-admin reads, writes, listens and counts by gRPC', () => holds(fresh({})));

test('firebase-admin reads, writes, listens and counts with preferRest', () => holds(fresh({ preferRest: true })));
