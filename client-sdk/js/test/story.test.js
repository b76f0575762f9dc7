// The whole client on real sockets, once per transport.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { WebSocket } from 'ws';

import {
  HearthError, addDoc, collection, count, deleteDoc, doc, getAggregateFromServer, getCountFromServer, getDoc, getDocs, getFirestore,
  increment, initializeApp, limitToLast, onAggregate, onConnectionState, onSnapshot, orderBy, query, runTransaction,
  serverTimestamp, setDoc, terminate, updateDoc, writeBatch,
} from '../hearth.js';
import { Server } from './server.js';

/** @typedef {import('../hearth.js').Firestore} Firestore */
/** @typedef {'websocket' | 'sse' | 'poll'} Transport */

const webSocket = /** @type {import('../src/link/websocket.js').SocketMaker} */ (/** @type {unknown} */ (WebSocket));

/**
 * A test with a server and a client, both gone afterwards.
 *
 * @param {string} name
 * @param {(server: Server, db: Firestore) => Promise<void>} story
 * @param {{ only?: Transport[], token?: import('../src/firestore.js').TokenSource, tokens?: string[] }} [options]
 */
function story(name, story, { only = ['websocket', 'sse', 'poll'], token, tokens = [] } = {}) {
  for (const transport of only) {
    test(`${transport}: ${name}`, { timeout: 20_000 }, async () => {
      const server = await new Server().start();
      for (const known of tokens) server.tokens.add(known);
      const db = getFirestore(initializeApp({ host: server.host, transport, webSocket, token }));
      try {
        await story(server, db);
      } finally {
        await terminate(db);
        await server.stop();
      }
    });
  }
}

/**
 * What is heard, with a way to wait for it.
 *
 * @template T
 */
class Ear {
  /** @type {T[]} */
  heard = [];
  /** @type {(() => void)[]} */
  #waiting = [];

  /** @param {T} what */
  hear = what => {
    this.heard.push(what);
    for (const wake of this.#waiting.splice(0)) wake();
  };

  /**
   * @param {(heard: readonly T[]) => boolean} enough
   * @returns {Promise<void>}
   */
  async until(enough) {
    while (!enough(this.heard)) await new Promise(woken => this.#waiting.push(() => woken(null)));
  }
}

/** @param {import('../hearth.js').QuerySnapshot<unknown>} snapshot */
const ids = snapshot => snapshot.docs.map(({ id }) => id).join(',');

/**
 * @param {Firestore} db
 * @param {import('../hearth.js').Query<unknown>} [source]
 */
function listen(db, source = query(collection(db, 'c'), orderBy('n'))) {
  const ear = /** @type {Ear<string>} */ (new Ear());
  const stop = onSnapshot(source, snapshot => ear.hear(ids(snapshot)), error => ear.hear(error.code));
  return { ear, stop };
}

story('listeners hear writes, and a write resolves after its snapshot', async (server, db) => {
  const { ear, stop } = listen(db);
  await ear.until(heard => heard.length === 1);
  assert.deepEqual(ear.heard, ['']);
  await setDoc(doc(db, 'c/a'), { n: 1 });
  assert.deepEqual(ear.heard, ['', 'a']);
  await setDoc(doc(db, 'c/b'), { n: 0, at: serverTimestamp() });
  assert.deepEqual(ear.heard, ['', 'a', 'b,a']);
  await updateDoc(doc(db, 'c/a'), 'n', increment(-5));
  await deleteDoc(doc(db, 'c/b'));
  assert.deepEqual(ear.heard, ['', 'a', 'b,a', 'a,b', 'a']);
  stop();
  await setDoc(doc(db, 'c/z'), { n: 1 });
  assert.equal(ear.heard.length, 5, 'nothing is heard after stopping');
  assert.equal(server.opened, 1, 'one connection');
});

story('reads, batches, added documents and counts', async (_server, db) => {
  const numbers = new Ear();
  onAggregate(collection(db, 'c'), { n: count() }, snapshot => numbers.hear(snapshot.data().n));
  const batch = writeBatch(db);
  for (const n of [3, 1, 2]) batch.set(doc(db, `c/${n}`), { n });
  await batch.commit();
  const added = await addDoc(collection(db, 'c'), { n: 4 });
  assert.equal(ids(await getDocs(query(collection(db, 'c'), orderBy('n'), limitToLast(2)))), `3,${added.id}`);
  assert.deepEqual((await getDoc(added)).data(), { n: 4 });
  assert.equal((await getDoc(doc(db, 'c/none'))).exists(), false);
  assert.equal((await getCountFromServer(collection(db, 'c'))).data().count, 4);
  assert.deepEqual((await getAggregateFromServer(collection(db, 'c'), { a: count(), b: count() })).data(), { a: 4, b: 4 });
  assert.deepEqual(numbers.heard, [0, 3, 4]);
});

story('a document is listened to from before it exists', async (_server, db) => {
  const ear = new Ear();
  onSnapshot(doc(db, 'c/a'), { next: snapshot => ear.hear(snapshot.data()) });
  await ear.until(heard => heard.length === 1);
  await setDoc(doc(db, 'c/a'), { n: 1 });
  await deleteDoc(doc(db, 'c/a'));
  assert.deepEqual(ear.heard, [undefined, { n: 1 }, undefined]);
});

story('a listener that is refused hears why, and the others go on', async (_server, db) => {
  const refused = listen(db, collection(db, 'secret'));
  const { ear } = listen(db);
  await refused.ear.until(heard => heard.length === 1);
  assert.deepEqual(refused.ear.heard, ['permission-denied']);
  await setDoc(doc(db, 'c/a'), { n: 1 });
  assert.deepEqual(ear.heard, ['', 'a']);
});

story('a refused write says why', async (_server, db) => {
  await assert.rejects(updateDoc(doc(db, 'c/none'), { n: 1 }), error => error instanceof HearthError && error.code === 'not-found');
});

story('what was committed while the connection was lost is heard after it, once', async (server, db) => {
  const { ear } = listen(db);
  for (const id of ['a', 'b', 'c']) await setDoc(doc(db, `c/${id}`), { n: 1 });
  server.drop();
  server.commit([{ set: 'c/d', data: { n: 1 } }, { delete: 'c/a' }]);
  server.commit([{ set: 'c/e', data: { n: 1 } }]);
  await ear.until(heard => heard.at(-1) === 'b,c,d,e');
  assert.deepEqual(ear.heard, ['', 'a', 'a,b', 'a,b,c', 'b,c,d,e']);
  assert.equal(server.resets, 0);
  assert.equal(server.opened, 2);
});

story('a server that restarts is found again, and a write made meanwhile is carried out once', async (server, db) => {
  const { ear } = listen(db);
  const states = new Ear();
  onConnectionState(db, ({ state }) => states.hear(state));
  await setDoc(doc(db, 'c/n'), { n: 1 });
  await server.stop();
  await states.until(heard => heard.includes('waiting'));
  const write = updateDoc(doc(db, 'c/n'), { n: increment(1) });
  await server.start();
  await write;
  assert.deepEqual((await getDoc(doc(db, 'c/n'))).data(), { n: 2 });
  assert.deepEqual(ear.heard, ['', 'n', 'n']);
});

story('a commit whose answer was lost is carried out once', async (server, db) => {
  await setDoc(doc(db, 'c/n'), { n: 1 });
  server.loseCommits = 1;
  await updateDoc(doc(db, 'c/n'), { n: increment(1) });
  assert.deepEqual((await getDoc(doc(db, 'c/n'))).data(), { n: 2 });
  assert.equal(server.opened, 2);
});

story('answers to requests get lost, and nothing else does', async (server, db) => {
  const { ear } = listen(db);
  await ear.until(heard => heard.length === 1);
  server.loseAnswers = 2;
  await setDoc(doc(db, 'c/n'), { n: 1 });
  await updateDoc(doc(db, 'c/n'), { n: increment(1) });
  assert.deepEqual(server.now.docs.get('c/n')?.data, { n: 2 });
  assert.deepEqual(ear.heard, ['', 'n', 'n']);
  assert.equal(server.opened, 1, 'the link was not given up');
}, { only: ['sse', 'poll'] });

story('transactions run again when what they read has changed', async (server, db) => {
  const ref = doc(db, 'c/n');
  await setDoc(ref, { n: 1 });
  let runs = 0;
  const result = await runTransaction(db, async transaction => {
    const read = await transaction.get(ref);
    await transaction.get(doc(db, 'c/none'));
    if (runs++ === 0) server.commit([{ set: 'c/n', data: { n: 10 } }]);
    const n = Number(read.get('n')) + 1;
    transaction.update(ref, { n });
    return n;
  });
  assert.equal(runs, 2);
  assert.equal(result, 11);
  const all = Array.from({ length: 4 }, () => runTransaction(db, async transaction => {
    const read = await transaction.get(ref);
    transaction.set(ref, { n: Number(read.get('n')) + 1 });
  }));
  await Promise.all(all);
  assert.deepEqual((await getDoc(ref)).data(), { n: 15 });
});

story('a transaction that keeps losing gives up, and one that throws writes nothing', async (server, db) => {
  const ref = doc(db, 'c/n');
  let runs = 0;
  const losing = runTransaction(db, async transaction => {
    await transaction.get(ref);
    server.commit([{ set: 'c/n', data: { n: ++runs } }]);
    transaction.set(ref, { n: -1 });
  }, { maxAttempts: 2 });
  await assert.rejects(losing, error => error instanceof HearthError && error.code === 'aborted');
  assert.equal(runs, 2);
  await assert.rejects(runTransaction(db, async transaction => {
    transaction.set(ref, { n: -1 });
    await transaction.get(ref);
  }), /reads before its writes/);
  assert.deepEqual((await getDoc(ref)).data(), { n: 2 });
}, { only: ['websocket'] });

story('a token proves who one is, and a fresh one takes over when it ends', async (server, db) => {
  const { ear } = listen(db);
  await setDoc(doc(db, 'c/a'), { n: 1 });
  server.tokens.delete('old');
  server.tokens.add('new');
  server.drop(4401);
  await setDoc(doc(db, 'c/b'), { n: 2 });
  assert.deepEqual(ear.heard, ['', 'a', 'a,b']);
}, { tokens: ['old'], token: ({ refresh }) => (refresh ? 'new' : 'old') });

story('a token that nobody accepts ends in an error for all', async (_server, db) => {
  const { ear } = listen(db);
  await assert.rejects(setDoc(doc(db, 'c/a'), { n: 1 }), error => error instanceof HearthError && error.code === 'unauthenticated');
  await ear.until(heard => heard.length > 0);
  assert.deepEqual(ear.heard, ['unauthenticated']);
}, { tokens: ['good'], token: () => 'bad' });

story('a callback may stop its own listener, and one that throws harms nobody', async (_server, db) => {
  const ear = new Ear();
  const stop = onSnapshot(collection(db, 'c'), snapshot => {
    stop();
    ear.hear(snapshot.size);
  });
  const other = listen(db);
  await setDoc(doc(db, 'c/a'), { n: 1 });
  assert.deepEqual(ear.heard, [0]);
  assert.deepEqual(other.ear.heard, ['', 'a']);
});

story('a client that was terminated says so', async (_server, db) => {
  await setDoc(doc(db, 'c/a'), { n: 1 });
  await terminate(db);
  await assert.rejects(getDoc(doc(db, 'c/a')), error => error instanceof HearthError && error.code === 'failed-precondition');
}, { only: ['websocket'] });

test('without WebSocket the ladder ends at SSE, without that at polling', { timeout: 20_000 }, async () => {
  const server = await new Server().start();
  server.blocked.add('websocket');
  try {
    for (const want of ['sse', 'poll']) {
      const db = getFirestore(initializeApp({ host: server.host, webSocket }));
      const states = new Ear();
      onConnectionState(db, ({ transport }) => states.hear(transport));
      await setDoc(doc(db, 'c/a'), { n: 1 });
      assert.equal(states.heard.at(-1), want);
      await terminate(db);
      server.blocked.add(want);
    }
  } finally {
    await server.stop();
  }
});
