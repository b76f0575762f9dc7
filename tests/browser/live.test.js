// What a person sees who opens an address of the database.

import assert from 'node:assert/strict';

import { scene, until } from './browser.js';

/** @typedef {import('./browser.js').Page} Page */

/**
 * @param {Page} page
 * @param {string} json
 */
async function fillIn(page, json) {
  await page.fill('dialog textarea', json);
  await page.click('dialog button[type=submit]');
  await page.waitForSelector('dialog', { state: 'detached' });
}

/**
 * Waits until the lines of a collection are these.
 *
 * @param {Page} page
 * @param {string[]} want
 */
const lines = (page, want) => until(page, want => {
  const lines = [...document.querySelectorAll('.documents li')].map(line => `${line.querySelector('a')?.textContent} ${line.querySelector('code')?.textContent}`);
  return lines.join('\n') === want;
}, want.join('\n'));

scene('a collection is shown and kept current, whoever changes it', async ({ hearth, person }) => {
  const page = await person();
  await page.goto(`${hearth.host}/db/cities`);
  await page.waitForSelector('text=No documents.');
  await hearth.ask('PUT', '/db/cities/oslo', { people: 717710 });
  await lines(page, ['oslo {"people":717710}']);

  await page.click('text=Add a document');
  await page.getByLabel('Id').fill('bern');
  await fillIn(page, '{"people": 137995, "area": 51.5, "rain": 1000.0}');
  await lines(page, ['bern {"area":51.5,"people":137995,"rain":1000.0}', 'oslo {"people":717710}']);
  assert.deepEqual((await hearth.ask('GET', '/db/cities/bern')).data, { people: 137995, area: 51.5, rain: 1000 });

  await page.click('[aria-label="Edit oslo"]');
  await fillIn(page, '{"people": 717711}');
  await lines(page, ['bern {"area":51.5,"people":137995,"rain":1000.0}', 'oslo {"people":717711}']);
  assert.deepEqual((await hearth.ask('GET', '/db/cities/oslo')).data, { people: 717711 });

  page.once('dialog', dialog => void dialog.accept());
  await page.click('[aria-label="Delete bern"]');
  await lines(page, ['oslo {"people":717711}']);
  await hearth.ask('DELETE', '/db/cities/oslo');
  await page.waitForSelector('text=No documents.');
});

scene('a document is shown and kept current, and nobody overwrites unseen', async ({ hearth, person }) => {
  await hearth.ask('PUT', '/db/cities/oslo', { people: 1 });
  await hearth.ask('PUT', '/db/cities/oslo/streets/x', {});
  const page = await person();
  await page.goto(`${hearth.host}/db`);
  await page.click('.collections a:text-is("cities")');
  await page.click('.documents a:text-is("oslo")');
  await page.waitForSelector('.collections a:text-is("streets")');
  const shows = (/** @type {string} */ text) => until(page, text => document.querySelector('pre')?.textContent?.includes(text), text);
  await shows('"people": 1');
  await hearth.ask('PATCH', '/db/cities/oslo', { people: 2, note: '<b>bold</b>' });
  await shows('"people": 2');
  await shows('<b>bold</b>');

  await page.click('text=Edit');
  assert.match(await page.inputValue('dialog textarea'), /"people": 2/);
  await hearth.ask('PATCH', '/db/cities/oslo', { people: 3 });
  await page.fill('dialog textarea', '{"people": 99}');
  await page.click('dialog button[type=submit]');
  await page.waitForSelector('dialog [role=alert]:text("has changed meanwhile")');
  await page.fill('dialog textarea', '{"people": ');
  await page.click('dialog button[type=submit]');
  await page.waitForSelector('dialog [role=alert]:text("JSON")');
  await page.click('dialog >> text=Cancel');
  assert.equal((await hearth.ask('GET', '/db/cities/oslo')).data.people, 3);

  page.once('dialog', dialog => void dialog.accept());
  await page.click('section button:text-is("Delete")');
  await page.waitForSelector('text=There is no document here.');
  await page.click('text=Create');
  await fillIn(page, '{"people": 4}');
  await shows('"people": 4');
});

scene('what the policy of a page forbids is noticed here', async ({ hearth, person, faults }) => {
  const page = await person();
  const violated = page.waitForEvent('console', message => message.text().includes('Content Security Policy'));
  await page.goto(`${hearth.host}/db`);
  await page.evaluate(() => void document.body.append(Object.assign(document.createElement('script'), { textContent: 'globalThis.ran = true' })));
  await violated;
  await until(page, () => document.readyState === 'complete', null);
  assert.equal(await page.evaluate(() => 'ran' in globalThis), false);
  assert.equal(faults.splice(0).length, 1);
});
