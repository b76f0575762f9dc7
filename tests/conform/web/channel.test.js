// Firebase's web SDK in Chromium, each of its ways to stream: two people see each other's writes, whatever happens between.

import assert from 'node:assert/strict';
import { after, before } from 'node:test';

import { scene, until } from '../../browser/browser.js';
import { serveSdk } from './site.js';

/** @typedef {import('playwright-core').Page} Page */

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

/** @type {{ url: string, close: () => void }} */
let site;
before(async () => void (site = await serveSdk()));
after(() => site.close());

/**
 * Opens the SDK in a page. Its requests to the server are noted.
 *
 * @param {Page} page
 * @param {string} host
 * @param {object} settings
 * @returns {Promise<{ page: Page, asked: URL[] }>}
 */
async function app(page, host, settings) {
  /** @type {URL[]} */
  const asked = [];
  page.on('request', request => {
    const url = new URL(request.url());
    if (url.origin === host) asked.push(url);
  });
  await page.goto(site.url);
  await page.evaluate(async ({ port, settings }) => {
    const { initializeApp } = await import(`${location.origin}/firebase-app.js`);
    const sdk = await import(`${location.origin}/firebase-firestore.js`);
    const db = sdk.initializeFirestore(initializeApp({ projectId: 'demo', apiKey: 'k' }), settings);
    sdk.connectFirestoreEmulator(db, '127.0.0.1', port);
    /** @type {Record<string, any[]>} */
    const heard = {};
    const listen = (/** @type {string} */ path, name = path) => {
      heard[name] = [];
      return sdk.onSnapshot(sdk.collection(db, path), { includeMetadataChanges: true }, (/** @type {any} */ snapshot) => {
        const { fromCache, hasPendingWrites } = snapshot.metadata;
        const docs = Object.fromEntries(snapshot.docs.map((/** @type {any} */ doc) => [doc.id, doc.data()]));
        heard[name]?.push({ docs, settled: !fromCache && !hasPendingWrites });
      });
    };
    /** Whether the newest snapshot of a listener is the server's and holds these documents. */
    const shows = (/** @type {string} */ name, /** @type {(docs: any) => boolean} */ holds) => {
      const last = heard[name]?.at(-1);
      return last !== undefined && last.settled && holds(last.docs);
    };
    Object.assign(globalThis, { sdk, db, heard, listen, shows });
  }, { port: Number(new URL(host).port), settings });
  return { page, asked };
}

/**
 * Waits until a listener shows the server's own state, and in it this field of this document.
 *
 * @param {Page} page
 * @param {string} name
 * @param {string} id
 * @param {string} field
 * @param {unknown} value `null`: there is no such document
 */
async function sees(page, name, id, field, value) {
  await until(page, ([name, id, field, value]) => {
    const g = /** @type {any} */ (globalThis);
    return g.shows(name, (/** @type {any} */ docs) => (value === null ? !(id in docs) : docs[id]?.[field] === value));
  }, /** @type {const} */ ([name, id, field, value]));
}

/**
 * @param {Page} page
 * @param {string} code runs in the page, with `sdk`, `db`, `listen`
 * @returns {Promise<any>}
 */
function run(page, code) {
  return page.evaluate(`(async () => { ${code} })()`);
}

/**
 * The requests by which a page hears of things.
 *
 * @param {URL[]} asked
 */
const received = asked => asked.filter(url => url.searchParams.get('RID') === 'rpc');

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
  });
}
