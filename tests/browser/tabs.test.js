// Two tabs of one browser, twenty listeners in each, a write per second, over HTTP/1.1, where a browser opens six connections to a host.

import assert from 'node:assert/strict';
import { setInterval } from 'node:timers/promises';

import { scene, until } from './browser.js';

/** @typedef {import('./browser.js').Page} Page */

const TRANSPORTS = ['websocket', 'sse', 'poll'];
const LISTENERS = 20;
const WRITES = 8;

/**
 * Opens a tab with its listeners, each to a query of its own that every write concerns.
 *
 * @param {Page} page
 * @param {string} host
 * @param {string} transport
 * @returns {Promise<{ page: Page, connections: () => number }>}
 */
async function tab(page, host, transport) {
  let connections = 0;
  page.on('websocket', () => connections++);
  page.on('request', request => (connections += Number(request.method() === 'POST' && new URL(request.url()).pathname === '/links')));
  await page.goto(host);
  await page.evaluate(async ({ transport, listeners }) => {
    const sdk = /** @type {typeof import('../../client-sdk/js/hearth.js')} */ (await import(`${location.origin}/sdk/hearth.js`));
    const db = sdk.getFirestore(sdk.initializeApp({ transport: /** @type {any} */ (transport) }));
    const all = sdk.collection(db, `tabs/${transport}/writes`);
    /** @type {number[][]} */
    const heard = Array.from({ length: listeners }, () => []);
    heard.forEach((steps, at) => {
      sdk.onSnapshot(sdk.query(all, sdk.orderBy('n'), sdk.limit(100 + at)), snapshot => {
        steps.push(snapshot.docChanges().length, snapshot.size);
      });
    });
    const write = (/** @type {number} */ n) => sdk.addDoc(all, { n });
    Object.assign(globalThis, { heard, write });
  }, { transport, listeners: LISTENERS });
  await hears(page, 0);
  return { page, connections: () => connections };
}

/**
 * Waits until all listeners of a tab have heard of so many documents.
 *
 * @param {Page} page
 * @param {number} size
 */
const hears = (page, size) => until(page, size => {
  const { heard } = /** @type {{ heard: number[][] }} */ (/** @type {unknown} */ (globalThis));
  return heard.every(steps => steps.at(-1) === size);
}, size);

scene('twenty listeners in each of two tabs hear every write, over one connection per tab', async ({ hearth, person }) => {
  const tabs = await Promise.all(TRANSPORTS.map(async transport => {
    const first = await person();
    const second = await first.context().newPage();
    return [await tab(first, hearth.host, transport), await tab(second, hearth.host, transport)];
  }));

  // The pace is what is tried here; nothing is waited for by it.
  let n = 0;
  for await (const _ of setInterval(1_000)) {
    // The tabs take turns: sending, too, must find a free connection.
    await Promise.all(tabs.map(pair => pair[n % 2]?.page.evaluate(n => /** @type {any} */ (globalThis).write(n), n)));
    if (++n === WRITES) break;
  }

  // Each write by itself: one change, and one document more.
  const want = [0, 0, ...Array.from({ length: WRITES }, (_, n) => [1, n + 1]).flat()];
  for (const { page, connections } of tabs.flat()) {
    await hears(page, WRITES);
    assert.deepEqual(await page.evaluate(() => /** @type {any} */ (globalThis).heard), Array.from({ length: LISTENERS }, () => want));
    assert.equal(connections(), 1);
    const protocols = await page.evaluate(() => performance.getEntriesByType('resource').map(entry => /** @type {any} */ (entry).nextHopProtocol));
    assert.ok(protocols.length > 0 && protocols.every(protocol => protocol === 'http/1.1' || protocol === ''), String(protocols));
  }
  const metrics = await (await fetch(`${hearth.host}/metrics`)).text();
  assert.match(metrics, new RegExp(`^hearth_listeners ${LISTENERS * 6}$`, 'm'));
});
