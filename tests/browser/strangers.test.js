// Pages from elsewhere: whatever a developer has open in another tab must not reach the database on this machine.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { after } from 'node:test';

import { scene } from './browser.js';
import { Wire } from './wire.js';

/** @typedef {import('./browser.js').Page} Page */
/** @typedef {import('../../client-sdk/js/test/hearth.js').Hearth} Hearth */

const STRANGER = 'stranger.example';
/** What this browser forbids such pages by itself is allowed here, so that it is the server that refuses: others are less careful. */
const flags = [`--host-resolver-rules=MAP ${STRANGER} 127.0.0.1`, '--disable-features=LocalNetworkAccessChecks'];

const server = createServer((_, answer) => answer.setHeader('Content-Type', 'text/html').end('<!doctype html><title>Stranger</title><body>'));
await once(server.listen(0, '127.0.0.1'), 'listening');
const { port } = /** @type {import('node:net').AddressInfo} */ (server.address());
const stranger = `http://${STRANGER}:${port}`;
after(() => {
  server.closeAllConnections();
  server.close();
});

/**
 * Tries all that a page can do to reach a server.
 *
 * @param {Page} page
 * @param {string} host
 * @returns {Promise<{ [way: string]: string }>} what came of each
 */
async function attempts(page, host) {
  const beaconed = page.waitForResponse(response => response.request().resourceType() === 'ping');
  const results = await page.evaluate(tryAll, host);
  await beaconed;
  // A form is sent into a frame; the answer may be nothing that a browser shows.
  const answered = page.waitForResponse(response => response.frame() !== page.mainFrame());
  await page.evaluate(sendForm, host);
  return { ...results, form: String((await answered).status()) };
}

/** @param {string} host */
function sendForm(host) {
  document.body.appendChild(Object.assign(document.createElement('iframe'), { name: 'frame' }));
  const form = document.body.appendChild(document.createElement('form'));
  Object.assign(form, { action: `${host}/db/things`, method: 'post', enctype: 'text/plain', target: 'frame' });
  const field = form.appendChild(document.createElement('input'));
  Object.assign(field, { name: '{"by":"form","x":"', value: '"}' });
  form.submit();
}

/**
 * @param {string} host
 * @returns {Promise<{ [way: string]: string }>}
 */
async function tryAll(host) {
  const text = (/** @type {string} */ path, /** @type {RequestInit} */ init = {}) => fetch(host + path, init).then(
    async response => (response.type === 'opaque' ? 'opaque' : `${response.status} ${(await response.text()).includes('secret') ? 'secret' : ''}`.trim()),
    () => 'refused',
  );
  const first = (/** @type {EventTarget} */ source, /** @type {string} */ good) => new Promise(resolve => {
    source.addEventListener(good, () => resolve(good));
    source.addEventListener('error', () => resolve('refused'));
  });
  const results = {
    read: text('/db/things'),
    readBlind: text('/db/things', { mode: 'no-cors' }),
    create: text('/db/things', { method: 'POST', body: '{"by":"create"}', headers: { 'Content-Type': 'application/json' } }),
    createSimple: text('/db/things', { method: 'POST', body: '{"by":"simple"}' }),
    createBlind: text('/db/things', { method: 'POST', body: '{"by":"blind"}', mode: 'no-cors' }),
    replace: text('/db/things/a', { method: 'PUT', body: '{"by":"replace"}' }),
    delete: text('/db/things/a', { method: 'DELETE' }),
    commit: text('/db', { method: 'POST', body: '{"writes":[{"delete":"things/a"}]}', mode: 'no-cors' }),
    link: text('/links', { method: 'POST', body: '[]' }),
    linkBlind: text('/links', { method: 'POST', body: '[{"id":1,"op":"commit","writes":[{"delete":"things/a"}]}]', mode: 'no-cors', headers: { Prefer: 'wait=0' } }),
    ticket: text('/tickets', { method: 'POST', body: '{"for":"/db/things"}' }),
    beacon: String(navigator.sendBeacon(`${host}/db/things`, '{"by":"beacon"}')),
    events: first(new EventSource(`${host}/db/things`), 'message'),
    socket: first(new WebSocket(`${host.replace('http', 'ws')}/db`, 'hearth.v1'), 'open'),
  };
  return Object.fromEntries(await Promise.all(Object.entries(results).map(async ([way, result]) => [way, await result])));
}

/**
 * @param {Hearth} hearth
 * @returns {Promise<string[]>} what the database holds, as a program sees it
 */
const held = async hearth => (await hearth.ask('GET', '/db/things')).docs.map((/** @type {any} */ { data }) => data.by).sort();

scene('a page of a stranger can neither read, nor write, nor open a socket', async ({ hearth, person }) => {
  await hearth.ask('PUT', '/db/things/a', { by: 'secret' });
  const page = await person();
  await page.goto(stranger);
  const { readBlind, createBlind, commit, linkBlind, beacon, form, ...others } = await attempts(page, hearth.host);
  for (const [way, result] of Object.entries(others)) assert.equal(result, 'refused', way);
  // What a page sends without looking at the answer is sent, and must have no effect; the answer tells it nothing.
  assert.deepEqual([readBlind, createBlind, commit, linkBlind, beacon, form], ['opaque', 'opaque', 'opaque', 'opaque', 'true', '403']);
  assert.deepEqual(await held(hearth), ['secret']);
}, { flags });

scene('a stranger who turns the own name to this machine gets nothing either', async ({ hearth, person }) => {
  await hearth.ask('PUT', '/db/things/a', { by: 'secret' });
  const wire = await Wire.to(stranger);
  try {
    const page = await person();
    const address = wire.host.replace('127.0.0.1', STRANGER);
    await page.goto(address);
    // From here on the page's own origin leads to the database.
    wire.turn(hearth.host);
    const { beacon, events, socket, ...others } = await attempts(page, address);
    for (const [way, result] of Object.entries(others)) assert.equal(result, '403', way);
    assert.deepEqual([beacon, events, socket], ['true', 'refused', 'refused']);
    assert.equal((await page.goto(`${address}/db/things`))?.status(), 403);
    assert.deepEqual(await held(hearth), ['secret']);
  } finally {
    await wire.close();
  }
}, { flags });

// Else the two above might be refused for another reason.
scene('a stranger who is let in by name can do all of it', async ({ hearth, person }) => {
  await hearth.ask('PUT', '/db/others/a', { by: 'secret' });
  const page = await person();
  await page.goto(stranger);
  const { read, create, createSimple, ticket, events, socket, form } = await attempts(page, hearth.host);
  assert.deepEqual([read, create, createSimple, ticket, events, socket, form], ['200', '201', '201', '201', 'message', 'open', '201']);
  // Replaced and deleted at the same time: whichever came last decides.
  const rest = (await held(hearth)).filter((/** @type {string} */ by) => by !== 'replace');
  assert.deepEqual(rest, ['beacon', 'blind', 'create', 'form', 'simple']);
}, { flags, server: ['--allow-origin', stranger] });
