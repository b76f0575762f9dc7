// Node's clients, unmodified, before a server in production: TLS, and closed to whoever does not show who they are. They are
// told the host as an app would tell them, and of no emulator. What they trust is in GRPC_DEFAULT_SSL_ROOTS_FILE_PATH.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import firestore from '@google-cloud/firestore';
import { _registerComponent, deleteApp, initializeApp } from 'firebase/app';
import { doc, getDocFromServer, initializeFirestore, onSnapshot, setDoc, setLogLevel, updateDoc } from 'firebase/firestore';

import { standIn } from '../credentials.js';
import { signIn } from './signed-in.js';

const { TEST_ADDRESS: address, TEST_PROJECT: projectId, TEST_KEY: key, TEST_TOKEN: token } = process.env;
const [host, port] = address.split(':');
setLogLevel('silent');

/** Settings of the server's client, with the key or token that it shows. */
const server = bearer => ({ projectId, host, port: Number(port), ssl: true, auth: standIn({ bearer }) });

test('@google-cloud/firestore works with the admin key, and with a user’s token', async () => {
  for (const bearer of [key, token]) {
    const db = new firestore.Firestore(server(bearer));
    const ref = db.doc('node/a');
    const heard = [];
    let wake = () => {};
    const stop = ref.onSnapshot(snapshot => {
      heard.push(snapshot.data());
      wake();
    });
    while (!heard.length) await new Promise(done => (wake = done));
    await ref.set({ n: 1 });
    while (heard.at(-1)?.n !== 1) await new Promise(done => (wake = done));
    await db.runTransaction(async transaction => transaction.update(ref, { n: (await transaction.get(ref)).get('n') + 1 }));
    assert.deepEqual((await db.collection('node').where('n', '>', 1).get()).docs.map(one => one.id), ['a']);
    stop();
    await ref.delete();
    await db.terminate();
  }
});

test('@google-cloud/firestore is refused with a key that is not the server’s', async () => {
  const db = new firestore.Firestore(server('no-such-key-0123456789abcdef0123456789'));
  await assert.rejects(db.doc('node/a').set({}), error => {
    assert.equal(error.code, firestore.GrpcStatus.UNAUTHENTICATED, error.message);
    return true;
  });
  await db.terminate();
});

test('firebase is refused as long as nobody is signed in, and works when somebody is', async () => {
  const nobody = initializeApp({ projectId, apiKey: 'key' }, 'nobody');
  const closed = initializeFirestore(nobody, { host: address, ssl: true });
  await assert.rejects(getDocFromServer(doc(closed, 'web/a')), error => {
    assert.equal(error.code, 'permission-denied', error.message);
    return true;
  });
  await deleteApp(nobody);

  signIn(_registerComponent, 'ada', token);
  const app = initializeApp({ projectId, apiKey: 'key' });
  const db = initializeFirestore(app, { host: address, ssl: true });
  const seen = new Promise((done, fail) => void onSnapshot(doc(db, 'web/a'), one => one.data()?.n === 2 && done(one.data()), fail));
  await setDoc(doc(db, 'web/a'), { n: 1 });
  await updateDoc(doc(db, 'web/a'), { n: 2 });
  assert.deepEqual(await seen, { n: 2 });
  await deleteApp(app);
});
