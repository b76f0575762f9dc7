// Firebase's web SDK in Chromium, each of its ways to stream: two people see each other's writes, whatever happens between.

import assert from 'node:assert/strict';

import { scene, until } from '../../browser/browser.js';
import { NEVER_BACK, run, sees, withSdk } from './page.js';

const MODES = {
  'by default': {},
  'long polling': { experimentalForceLongPolling: true },
  'without fetch streams': { useFetchStreams: false },
};
/**
 * By default the SDK takes a first byte that is later than twice the time of the handshake for a proxy that holds answers
 * back, and polls from then on. On a busy machine without a proxy that happens too.
 */
const TRUSTING = { experimentalAutoDetectLongPolling: false };

const { app, url } = withSdk();

/**
 * The requests by which a page hears of things.
 *
 * @param {URL[]} asked
 */
const received = asked => asked.filter(url => url.searchParams.get('RID') === 'rpc');

scene('a page that names no server finds that of /sdk/firebase-defaults.js', async ({ hearth, person }) => {
  const page = await person();
  await page.goto(url());
  await page.addScriptTag({ url: `${hearth.host}/sdk/firebase-defaults.js` });
  const data = await page.evaluate(async () => {
    const { initializeApp } = await import(`${location.origin}/firebase-app.js`);
    const sdk = await import(`${location.origin}/firebase-firestore.js`);
    const db = sdk.getFirestore(initializeApp());
    await sdk.setDoc(sdk.doc(db, 'rooms/lobby'), { open: true });
    return (await sdk.getDoc(sdk.doc(db, 'rooms/lobby'))).data();
  });
  assert.deepEqual(data, { open: true });
  const answer = await fetch(`${hearth.host}/p/demo/db/rooms/lobby`);
  assert.deepEqual((await answer.json()).data, { open: true });
});

for (const [mode, settings] of Object.entries(MODES)) {
  scene(`two pages see each other's writes, ${mode}`, async ({ hearth, person }) => {
    const one = await app(await person(), hearth.host, settings);
    const two = await app(await person(), hearth.host, settings);
    for (const { page } of [one, two]) {
      await run(page, `listen('rooms')`);
      await until(page, () => /** @type {any} */ (globalThis).shows('rooms', () => true), null);
    }
    const id = await run(one.page, `return (await sdk.addDoc(sdk.collection(db, 'rooms'), {
      text: 'größer als 😀', n: 1, at: sdk.serverTimestamp(), near: new sdk.GeoPoint(1.5, -2), list: [1, { a: null }],
    })).id`);
    for (const { page } of [one, two]) await sees(page, 'rooms', id, 'text', 'größer als 😀');
    await run(two.page, `await sdk.updateDoc(sdk.doc(db, 'rooms/${id}'), { n: sdk.increment(41), text: 'ja' })`);
    for (const { page } of [one, two]) await sees(page, 'rooms', id, 'n', 42);
    assert.equal(await run(one.page, `return (await sdk.getDoc(sdk.doc(db, 'rooms/none'))).exists()`), false);
    const size = `return (await sdk.getDocs(sdk.query(sdk.collection(db, 'rooms'), sdk.where('n', '>', 41)))).size`;
    assert.equal(await run(two.page, size), 1);
    await run(one.page, `await sdk.deleteDoc(sdk.doc(db, 'rooms/${id}'))`);
    for (const { page } of [one, two]) await sees(page, 'rooms', id, 'n', null);

    for (const { asked } of [one, two]) {
      const answers = received(asked);
      const first = new Map(answers.toReversed().map(({ searchParams }) => [searchParams.get('SID'), searchParams.get('CI')]));
      assert.deepEqual(new Set(first.values()), new Set([mode === 'long polling' ? '1' : '0']), 'how each session begins');
      assert.deepEqual(answers.filter(({ searchParams }) => searchParams.get('gsessionid') !== searchParams.get('SID')), []);
    }
  });

  scene(`what happened while a page was offline arrives once, ${mode}`, async ({ hearth, person }) => {
    const one = await app(await person(), hearth.host, settings);
    const two = await app(await person(), hearth.host, settings);
    for (const { page } of [one, two]) await run(page, `listen('counts')`);
    await run(one.page, `await sdk.setDoc(sdk.doc(db, 'counts/a'), { n: 0 }); await sdk.setDoc(sdk.doc(db, 'counts/b'), { n: 0 })`);
    for (const { page } of [one, two]) await sees(page, 'counts', 'b', 'n', 0);

    await run(two.page, `await sdk.disableNetwork(db)`);
    await run(one.page, `await sdk.updateDoc(sdk.doc(db, 'counts/a'), { n: sdk.increment(1) }); await sdk.deleteDoc(sdk.doc(db, 'counts/b'))`);
    await run(two.page, `for (let n = 0; n < 12; n++) void sdk.updateDoc(sdk.doc(db, 'counts/a'), { n: sdk.increment(10) })`);
    await run(two.page, `await sdk.enableNetwork(db)`);
    for (const { page } of [one, two]) {
      await sees(page, 'counts', 'a', 'n', 121);
      await sees(page, 'counts', 'b', 'n', null);
    }
  });

  scene(`twenty listeners of a page share one stream, ${mode}`, async ({ hearth, person }) => {
    const { page, asked } = await app(await person(), hearth.host, mode === 'long polling' ? settings : { ...settings, ...TRUSTING });
    await run(page, `for (let at = 0; at < 20; at++) listen('many/' + at + '/docs')`);
    await run(page, `const batch = sdk.writeBatch(db);
      for (let at = 0; at < 20; at++) batch.set(sdk.doc(db, 'many/' + at + '/docs/d'), { at });
      await batch.commit()`);
    for (let at = 0; at < 20; at++) await sees(page, `many/${at}/docs`, 'd', 'at', at);
    const opened = asked.filter(url => url.pathname.endsWith('/Listen/channel') && !url.searchParams.has('SID'));
    assert.equal(opened.length, 1);
    const polls = received(asked).filter(url => url.searchParams.get('CI') === '1').length;
    assert.equal(polls, mode === 'long polling' ? received(asked).length : 0);
  });

  scene(`pages go on after a server that was killed, ${mode}`, async ({ hearth, person }) => {
    const one = await app(await person(), hearth.host, settings);
    const two = await app(await person(), hearth.host, settings);
    for (const { page } of [one, two]) await run(page, `listen('lives')`);
    await run(one.page, `await sdk.setDoc(sdk.doc(db, 'lives/a'), { n: 1 })`);
    for (const { page } of [one, two]) await sees(page, 'lives', 'a', 'n', 1);
    await hearth.restart();
    await run(two.page, `await sdk.setDoc(sdk.doc(db, 'lives/b'), { n: 2 })`);
    for (const { page } of [one, two]) {
      await sees(page, 'lives', 'a', 'n', 1);
      await sees(page, 'lives', 'b', 'n', 2);
    }
  }, { skip: NEVER_BACK });
}
