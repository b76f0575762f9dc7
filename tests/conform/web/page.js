// A page with Firebase's web SDK before the real server, and what tests ask of it.

import { after, before } from 'node:test';

import { until } from '../../browser/browser.js';
import { serveSdk } from './site.js';

/** @typedef {import('playwright-core').Page} Page */

/**
 * Why scenes in which a server is killed are left out, in `./soak conform-old`: `firebase` 10 and 11 ask once for a listener's
 * stream that broke, and where that is refused never again, with Google's own emulator too.
 */
export const NEVER_BACK = process.env['TEST_FIREBASE'] ? 'this version does not come back after a refused connection' : false;

/** Hands the SDK out for as long as the tests of a file run. */
export function withSdk() {
  /** @type {{ url: string, close: () => void }} */
  let site;
  before(async () => void (site = await serveSdk()));
  after(() => site.close());
  return {
    /** Where the SDK's files are. */
    url: () => site.url,
    /**
     * Opens the SDK in a page. Its requests to the server are noted.
     *
     * @param {Page} page
     * @param {string} host
     * @param {object} settings
     * @param {{ cache?: 'single' | 'multiple' }} [options] a cache that outlives the page, for one tab or several
     * @returns {Promise<{ page: Page, asked: URL[] }>}
     */
    app: (page, host, settings, options = {}) => app(site.url, page, host, settings, options),
  };
}

/**
 * @param {string} site
 * @param {Page} page
 * @param {string} host
 * @param {object} settings
 * @param {{ cache?: 'single' | 'multiple' }} options
 */
async function app(site, page, host, settings, { cache }) {
  /** @type {URL[]} */
  const asked = [];
  page.on('request', request => {
    const url = new URL(request.url());
    if (url.origin === host) asked.push(url);
  });
  await page.goto(site);
  await page.evaluate(async ({ port, settings, cache }) => {
    const { initializeApp } = await import(`${location.origin}/firebase-app.js`);
    const sdk = await import(`${location.origin}/firebase-firestore.js`);
    const tabManager = cache === 'multiple' ? sdk.persistentMultipleTabManager() : sdk.persistentSingleTabManager({});
    const local = cache ? { localCache: sdk.persistentLocalCache({ tabManager }) } : {};
    const db = sdk.initializeFirestore(initializeApp({ projectId: 'demo', apiKey: 'k' }), { ...settings, ...local });
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
  }, { port: Number(new URL(host).port), settings, cache });
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
export async function sees(page, name, id, field, value) {
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
export function run(page, code) {
  return page.evaluate(`(async () => { ${code} })()`);
}
