// EventSource, which can send no header, with a ticket.

import assert from 'node:assert/strict';

import { scene, until } from './browser.js';
import { Wire } from './wire.js';

/** @typedef {import('./browser.js').Page} Page */

/** @param {Page} page @returns {Promise<any[]>} */
const heard = page => page.evaluate(() => /** @type {any} */ (globalThis).heard);

/**
 * @param {Page} page
 * @param {number} count
 */
const hears = (page, count) => until(page, count => /** @type {any} */ (globalThis).heard.length >= count, count);

scene('an EventSource with a ticket outlives two restarts, one of them before its first event', async ({ hearth, person }) => {
  const wire = await Wire.to(hearth.host);
  try {
    await hearth.ask('PUT', '/db/things/a', { n: 1 });
    const page = await person();
    await page.goto(`${wire.host}/`);
    // The stream opens, and what it would say first is lost with the server.
    const lost = wire.swallow('data: ');
    await page.evaluate(async () => {
      const address = '/db/things?orderBy=n';
      const response = await fetch('/tickets', { method: 'POST', body: JSON.stringify({ for: address }) });
      const { ticket } = await response.json();
      const source = new EventSource(`${address}&ticket=${ticket}`);
      /** @type {unknown[]} */
      const heard = [];
      let opened = 0;
      source.onopen = () => opened++;
      source.onmessage = ({ data, lastEventId }) => heard.push({ opened, lastEventId, ...JSON.parse(data) });
      /** @type {unknown[]} */
      const problems = [];
      source.addEventListener('problem', ({ data }) => problems.push(JSON.parse(data).code));
      Object.assign(globalThis, { heard, problems, source });
      // What stands on the wire before the first event: the stream is open.
      await new Promise(resolve => source.addEventListener('open', resolve));
    });
    await lost;
    await hearth.restart();
    wire.mend();
    await hears(page, 1);
    const [first] = await heard(page);
    assert.equal(first.opened, 2, 'the stream was open once before');
    assert.deepEqual(first.changes.map((/** @type {any} */ { type, doc }) => [type, doc.data.n]), [['added', 1]]);

    await hearth.pause();
    await hearth.resume();
    await hearth.ask('PUT', '/db/things/b', { n: 2 });
    await hears(page, 2);
    assert.deepEqual(await page.evaluate(() => /** @type {any} */ (globalThis).problems), ['unavailable'], 'a server that stops says so');
    const [, second] = await heard(page);
    assert.equal(second.opened, 3);
    assert.equal(second.reset, false, 'taken up behind the last event');
    assert.deepEqual(second.changes.map((/** @type {any} */ { type, doc, to }) => [type, doc.data.n, to]), [['added', 2, 1]]);
    assert.equal(await page.evaluate(() => /** @type {any} */ (globalThis).source.readyState), 1);

    await hearth.ask('DELETE', '/db/things/a');
    await hears(page, 3);
    assert.equal((await heard(page)).length, 3);
  } finally {
    await wire.close();
  }
});
