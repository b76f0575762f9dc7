// A scene for a test: the real server, and Chromium with people before it. What a page throws, and what its policy forbids, fails the test.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { chromium } from 'playwright-core';

import { Hearth } from '../../client-sdk/js/test/hearth.js';

/** @typedef {import('playwright-core').Page} Page */
/** @typedef {{ hearth: Hearth, person: () => Promise<Page>, faults: string[] }} Scene */

const executablePath = process.env['TEST_CHROMIUM'] ?? '/usr/bin/chromium';
/** Without these, Chromium calls its maker's hosts, or needs what a machine for tests has not. */
const QUIET = [
  '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update',
  '--disable-sync',
];

/**
 * @param {string} name
 * @param {(scene: Scene) => Promise<void>} story `person` opens a page of its own profile, at no address yet
 * @param {{ server?: string[], flags?: string[], start?: () => Promise<Hearth>, timeout?: number, skip?: string | false }} [options]
 *   arguments of `hearth dev`, flags of Chromium, what to start instead, milliseconds that it may take at most, why it is left out
 */
export function scene(name, story, { server = [], flags = [], start = () => Hearth.start(...server), timeout = 60_000, skip = false } = {}) {
  test(name, { timeout, skip }, async ({ signal }) => {
    const hearth = await start();
    const browser = await chromium.launch({ executablePath, args: [...QUIET, ...flags] });
    // Whatever still waits for a page then fails, and says where.
    signal.addEventListener('abort', () => void browser.close());
    /** @type {string[]} */
    const faults = [];
    const person = async () => {
      const context = await browser.newContext({ viewport: { width: 900, height: 640 } });
      context.setDefaultTimeout(timeout / 3);
      await context.exposeBinding('violated', (_, what) => void faults.push(what));
      await context.addInitScript(() => {
        addEventListener('securitypolicyviolation', event => {
          /** @type {any} */ (globalThis).violated(`${event.violatedDirective} forbids ${event.blockedURI} (${event.sourceFile}:${event.lineNumber})`);
        });
      });
      const page = await context.newPage();
      page.on('pageerror', error => void faults.push(`${page.url()} threw ${error.stack ?? error.message}`));
      return page;
    };
    try {
      await story({ hearth, person, faults });
      assert.deepEqual(faults, []);
    } finally {
      await browser.close();
      await hearth.stop();
    }
  });
}

/**
 * Waits until something about a page is as it should be.
 *
 * @template A
 * @param {Page} page
 * @param {(argument: A) => unknown} holds runs in the page
 * @param {A} argument
 */
export async function until(page, holds, argument) {
  // In the page's own time, at each frame: nothing here counts seconds.
  await page.waitForFunction(/** @type {any} */ (holds), argument, { polling: 'raf' });
}
