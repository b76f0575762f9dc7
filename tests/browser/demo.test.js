// The chat in two pages, of which one loses its connection while the server is killed.

import assert from 'node:assert/strict';

import { scene, until } from './browser.js';
import { Wire } from './wire.js';

/** @typedef {import('./browser.js').Page} Page */

/** @param {Page} page @returns {Promise<string[]>} what it shows, in its order */
const said = page => page.locator('#messages .said').allTextContents();

/**
 * @param {Page} page
 * @param {string} text
 */
async function say(page, text) {
  await page.fill('#text', text);
  await page.press('#text', 'Enter');
}

/**
 * @param {Page} page
 * @param {string} text
 */
const shows = (page, text) => until(page, text => [...document.querySelectorAll('.said')].some(said => said.textContent === text), text);

/**
 * @param {Page} page
 * @param {string} state
 */
const stands = (page, state) => page.waitForSelector(`#connection[data-state=${state}]`);

for (const transport of ['websocket', 'sse', 'poll']) {
  scene(`${transport}: the chat converges after one page was cut off and the server killed`, async ({ hearth, person }) => {
    const wire = await Wire.to(hearth.host);
    try {
      const [ada, bob] = [await person(), await person()];
      await ada.goto(`${wire.host}/demo?transport=${transport}`);
      await bob.goto(`${hearth.host}/demo?transport=${transport}`);
      const bothShow = (/** @type {string} */ text) => Promise.all([shows(ada, text), shows(bob, text)]);
      for (const page of [ada, bob]) {
        await stands(page, 'open');
        await page.evaluate(() => void (/** @type {any} */ (globalThis).neverReloaded = true));
      }
      assert.equal(await ada.textContent('#connection'), `live · ${transport}`);
      await say(ada, 'one');
      await bothShow('one');
      // It may be seen before its sender is told that it is written.
      await ada.waitForSelector('#waiting:text-is("")', { state: 'attached' });

      await ada.context().setOffline(true);
      wire.cut();
      await stands(ada, 'waiting');
      await say(ada, 'from the tunnel');
      assert.equal(await ada.textContent('#waiting'), 'sending a message…');
      await say(bob, 'two');
      await shows(bob, 'two');
      await hearth.restart();
      await say(bob, 'three');
      await shows(bob, 'three');
      assert.deepEqual([await said(ada), await said(bob)], [['one'], ['one', 'two', 'three']]);

      wire.mend();
      await ada.context().setOffline(false);
      await bothShow('from the tunnel');
      await say(ada, 'four');
      await bothShow('four');
      const all = ['one', 'two', 'three', 'from the tunnel', 'four'];
      assert.deepEqual([await said(ada), await said(bob)], [all, all]);
      await ada.waitForSelector('#count:text-is("5 messages")');
      await ada.waitForSelector('#waiting:text-is("")', { state: 'attached' });
      for (const page of [ada, bob]) assert.ok(await page.evaluate(() => /** @type {any} */ (globalThis).neverReloaded));
    } finally {
      await wire.close();
    }
  });
}
