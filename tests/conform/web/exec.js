// An app as it is written for Firebase itself, under `hearth exec`: no line of it names a server.

import assert from 'node:assert/strict';
import process from 'node:process';

import { deleteApp, initializeApp } from 'firebase/app';
import { doc, getDoc, getFirestore, setDoc } from 'firebase/firestore';

const app = initializeApp();
const db = getFirestore(app);
await setDoc(doc(db, 'rooms/lobby'), { open: true });
assert.deepEqual((await getDoc(doc(db, 'rooms/lobby'))).data(), { open: true });
assert.equal(app.options.projectId, 'shop');

// It is in the server of `hearth exec` that it was written, and in the project that was named.
const answer = await fetch(`${process.env['HEARTH_URL']}/p/shop/db/rooms/lobby`);
assert.deepEqual((await answer.json()).data, { open: true });
await deleteApp(app);
