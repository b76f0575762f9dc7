// Firebase's web SDK with a cache that outlives its page: what is written without a network is kept through a reload, and
// arrives once when there is one.

import assert from 'node:assert/strict';

import { scene, until } from '../../browser/browser.js';
import { run, sees, withSdk } from './page.js';

/** @typedef {import('playwright-core').Page} Page */

const { app } = withSdk();

/**
 * Takes a person's network to the server away; the site is still there.
 *
 * @param {Page} page
 * @param {string} host
 */
async function cut(page, host) {
  const context = page.context();
  const isServer = (/** @type {URL} */ url) => url.origin === host;
  await context.route(isServer, route => route.abort('internetdisconnected'));
  // What streams already, streams on: the client itself has to begin anew.
  await run(page, `await sdk.disableNetwork(db); await sdk.enableNetwork(db)`);
  return { mend: () => context.unroute(isServer) };
}

/**
 * Waits until a listener shows, from wherever, what is wanted.
 *
 * @param {Page} page
 * @param {string} name
 * @param {string} id
 * @param {string} field
 * @param {unknown} value
 */
async function showsAnyhow(page, name, id, field, value) {
  await until(page, ([name, id, field, value]) => /** @type {any} */ (globalThis).heard[name]?.at(-1)?.docs[id]?.[field] === value,
    /** @type {const} */ ([name, id, field, value]));
}

for (const cache of /** @type {const} */ (['single', 'multiple'])) {
  scene(`what was written offline is kept through a reload and arrives once, ${cache} tab`, async ({ hearth, person }) => {
    const mine = await person();
    await app(mine, hearth.host, {}, { cache });
    const other = await app(await person(), hearth.host, {});
    for (const page of [mine, other.page]) await run(page, `listen('counts')`);
    await run(mine, `await sdk.setDoc(sdk.doc(db, 'counts/a'), { n: 0, list: [] }); await sdk.setDoc(sdk.doc(db, 'counts/b'), { n: 0 })`);
    for (const page of [mine, other.page]) await sees(page, 'counts', 'b', 'n', 0);

    const network = await cut(mine, hearth.host);
    await run(mine, `for (let n = 1; n <= 12; n++) {
      void sdk.updateDoc(sdk.doc(db, 'counts/a'), { n: sdk.increment(10), list: sdk.arrayUnion(n), at: sdk.serverTimestamp() });
      void sdk.addDoc(sdk.collection(db, 'notes'), { n });
    }
    void sdk.deleteDoc(sdk.doc(db, 'counts/b'));
    void sdk.writeBatch(db).set(sdk.doc(db, 'counts/c'), { n: 1 }).set(sdk.doc(db, 'counts/d'), { n: 1 }).commit()`);
    await showsAnyhow(mine, 'counts', 'd', 'n', 1);
    await run(other.page, `await sdk.updateDoc(sdk.doc(db, 'counts/a'), { n: sdk.increment(1) }); await sdk.setDoc(sdk.doc(db, 'counts/e'), { n: 5 })`);

    await app(mine, hearth.host, {}, { cache });
    await run(mine, `listen('counts')`);
    await showsAnyhow(mine, 'counts', 'a', 'n', 120);
    const kept = await run(mine, `const doc = await sdk.getDocFromCache(sdk.doc(db, 'counts/a'));
      return [doc.metadata.hasPendingWrites, doc.metadata.fromCache, doc.data().list.length]`);
    assert.deepEqual(kept, [true, true, 12]);
    assert.equal(await run(mine, `return (await sdk.getDocsFromCache(sdk.collection(db, 'notes'))).size`), 12);
    assert.deepEqual((await hearth.ask('GET', '/p/demo/db/notes')).docs, [], 'nothing has reached the server');

    await network.mend();
    await run(mine, `await sdk.waitForPendingWrites(db)`);
    for (const page of [mine, other.page]) {
      await sees(page, 'counts', 'a', 'n', 121);
      await sees(page, 'counts', 'b', 'n', null);
      for (const [id, n] of /** @type {const} */ ([['c', 1], ['d', 1], ['e', 5]])) await sees(page, 'counts', id, 'n', n);
    }
    const notes = (await hearth.ask('GET', '/p/demo/db/notes')).docs.map((/** @type {any} */ doc) => doc.data.n);
    assert.deepEqual(notes.sort((/** @type {number} */ a, /** @type {number} */ b) => a - b), Array.from({ length: 12 }, (_, n) => n + 1));
    const { data } = await hearth.ask('GET', '/p/demo/db/counts/a');
    assert.deepEqual(data.list, Array.from({ length: 12 }, (_, n) => n + 1), 'in the order in which they were written');
  });
}

scene('a page that was away hears only what has changed, and what was deleted meanwhile is gone', async ({ hearth, person }) => {
  const mine = await person();
  await app(mine, hearth.host, {}, { cache: 'single' });
  const other = await app(await person(), hearth.host, {});
  await run(other.page, `const batch = sdk.writeBatch(db);
    for (let n = 0; n < 100; n++) batch.set(sdk.doc(db, 'many/' + n), { n });
    await batch.commit()`);
  await run(mine, `listen('many')`);
  await sees(mine, 'many', '99', 'n', 99);
  const network = await cut(mine, hearth.host);
  await run(other.page, `await sdk.deleteDoc(sdk.doc(db, 'many/7')); await sdk.setDoc(sdk.doc(db, 'many/8'), { n: -8 });
    await sdk.deleteDoc(sdk.doc(db, 'many/9')); await sdk.setDoc(sdk.doc(db, 'many/9'), { n: -9 })`);
  await app(mine, hearth.host, {}, { cache: 'single' });
  /** What the SDK's own log says that it was told. @type {string[]} */
  const told = [];
  mine.on('console', message => {
    const [, change] = /'Listen' .*received:.*"(document(?:Change|Delete|Remove))".*documents\/(many\/\d+)/.exec(message.text()) ?? [];
    if (change !== undefined) told.push(change);
  });
  await run(mine, `sdk.setLogLevel('debug')`);
  await run(mine, `listen('many')`);
  await showsAnyhow(mine, 'many', '7', 'n', 7);
  await network.mend();
  await sees(mine, 'many', '7', 'n', null);
  for (const [id, n] of /** @type {const} */ ([['8', -8], ['9', -9], ['10', 10]])) await sees(mine, 'many', id, 'n', n);
  assert.deepEqual(told.sort(), ['documentChange', 'documentChange', 'documentDelete']);
  assert.equal(await run(mine, `return (await sdk.getDocs(sdk.collection(db, 'many'))).size`), 99);
});

scene('two tabs share one cache: what the one wrote offline is sent by the other', async ({ hearth, person }) => {
  const first = await person();
  await app(first, hearth.host, {}, { cache: 'multiple' });
  await run(first, `listen('shared')`);
  await until(first, () => /** @type {any} */ (globalThis).shows('shared', () => true), null);
  const second = await first.context().newPage();
  await app(second, hearth.host, {}, { cache: 'multiple' });
  await run(second, `listen('shared')`);
  await until(second, () => /** @type {any} */ (globalThis).shows('shared', () => true), null);

  const network = await cut(first, hearth.host);
  await run(second, `for (let n = 0; n < 5; n++) void sdk.setDoc(sdk.doc(db, 'shared/a'), { n: sdk.increment(1) }, { merge: true })`);
  for (const page of [first, second]) await showsAnyhow(page, 'shared', 'a', 'n', 5);
  await second.close();
  await network.mend();
  await sees(first, 'shared', 'a', 'n', 5);
  assert.equal((await hearth.ask('GET', '/p/demo/db/shared/a')).data.n, 5);
});

scene('a cache that is switched on the older way, indexed, emptied', async ({ hearth, person }) => {
  const page = await person();
  await app(page, hearth.host, {});
  const told = await run(page, `
    const { initializeApp } = await import(location.origin + '/firebase-app.js');
    const told = {};
    for (const [name, enable] of Object.entries({ one: sdk.enableIndexedDbPersistence, several: sdk.enableMultiTabIndexedDbPersistence })) {
      const open = () => {
        const store = sdk.getFirestore(initializeApp({ projectId: 'demo', apiKey: 'k' }, name + Math.random()));
        sdk.connectFirestoreEmulator(store, '127.0.0.1', ${new URL(hearth.host).port});
        return store;
      };
      const store = open();
      await enable(store);
      await sdk.setIndexConfiguration(store, { indexes: [{ collectionGroup: 'rooms', fields: [{ fieldPath: 'n', order: 'ASCENDING' }] }] });
      const indexes = sdk.getPersistentCacheIndexManager(store);
      sdk.enablePersistentCacheIndexAutoCreation(indexes);
      await sdk.setDoc(sdk.doc(store, 'rooms/' + name), { n: 1 });
      const rooms = sdk.query(sdk.collection(store, 'rooms'), sdk.where('n', '>', 0));
      await sdk.getDocsFromServer(rooms);
      const cached = (await sdk.getDocsFromCache(rooms)).docs.map(one => one.id).join();
      sdk.disablePersistentCacheIndexAutoCreation(indexes);
      sdk.deleteAllPersistentCacheIndexes(indexes);
      const still = (await sdk.getDocsFromCache(rooms)).size;
      await sdk.terminate(store);
      await sdk.clearIndexedDbPersistence(store);
      told[name] = [cached, still, indexes instanceof sdk.PersistentCacheIndexManager];
    }
    return told;
  `);
  assert.deepEqual(told, { one: ['one', 1, true], several: ['one,several', 2, true] });
});
