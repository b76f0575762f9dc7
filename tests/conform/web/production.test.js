// The server as it stands in production: `hearth serve` with TLS, closed to strangers; every client as an app would set it up.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { rmSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { scene, until } from '../../browser/browser.js';
import { Hearth } from '../../../client-sdk/js/test/hearth.js';
import { ADMIN_KEY, makeProduction, PROJECT, userToken } from './authority.js';
import { run } from './page.js';
import { signIn } from './signed-in.js';
import { serveSdk } from './site.js';

const production = makeProduction();
const token = userToken('ada');
/** @type {{ url: string, close: () => void }} */
let site;
before(async () => void (site = await serveSdk()));
after(() => {
  site.close();
  rmSync(production.folder, { recursive: true });
});

const start = () => Hearth.serve({ HEARTH_ADMIN_KEY: ADMIN_KEY }, '--config', production.config);

/**
 * What a client is told about the server: its name, since the certificate has that.
 *
 * @param {Hearth} hearth
 */
const address = hearth => new URL(hearth.host.replace('127.0.0.1', 'localhost')).host;

/**
 * Runs a client that has its own tests.
 *
 * @param {string} program
 * @param {string[]} args
 */
async function client(program, ...args) {
  const hearth = await start();
  try {
    const child = spawn(program, args, {
      env: {
        ...process.env, GRPC_DEFAULT_SSL_ROOTS_FILE_PATH: production.authority, TEST_ADDRESS: address(hearth),
        TEST_PROJECT: PROJECT, TEST_KEY: ADMIN_KEY, TEST_TOKEN: token, NODE_TEST_CONTEXT: undefined,
      },
    });
    let said = '';
    for (const stream of [child.stdout, child.stderr]) stream.on('data', piece => (said += piece));
    const [code] = await once(child, 'close');
    assert.equal(code, 0, said);
  } finally {
    await hearth.stop();
  }
}

const here = (/** @type {string} */ path) => fileURLToPath(new URL(path, import.meta.url));

test('Node’s clients, over TLS', { timeout: 60_000 }, () => client(process.execPath, '--test', here('production-clients.js')));

test('Python’s client, over TLS', { timeout: 60_000 }, () => {
  const python = process.env['TEST_PYTHON'] ?? here('../../../target/python/bin/python');
  return client(python, '-B', here('../production.py'));
});

/**
 * Opens the SDK in a page as an app does: the host, TLS, and who is signed in.
 *
 * @param {import('playwright-core').Page} page
 * @param {Hearth} hearth
 * @param {string} [token]
 */
async function open(page, hearth, token) {
  await page.goto(site.url);
  if (token) {
    const register = `const { _registerComponent } = await import('${site.url}/firebase-app.js');`;
    await run(page, `${register} (${signIn})(_registerComponent, 'ada', ${JSON.stringify(token)})`);
  }
  await page.evaluate(async ({ host, projectId }) => {
    const { initializeApp } = await import(`${location.origin}/firebase-app.js`);
    const sdk = await import(`${location.origin}/firebase-firestore.js`);
    const db = sdk.initializeFirestore(initializeApp({ projectId, apiKey: 'k' }), { host, ssl: true });
    Object.assign(globalThis, { sdk, db });
  }, { host: address(hearth), projectId: PROJECT });
}

scene('Chromium, over TLS: two users see each other’s writes, a stranger sees nothing', async ({ hearth, person }) => {
  const [one, two, stranger] = [await person(), await person(), await person()];
  for (const page of [one, two]) {
    await open(page, hearth, token);
    await run(page, `globalThis.shown = [];
      sdk.onSnapshot(sdk.collection(db, 'rooms'), ({ docs }) => { globalThis.shown = docs.map(doc => doc.id + doc.data().n) })`);
  }
  await open(stranger, hearth);
  await run(one, `await sdk.setDoc(sdk.doc(db, 'rooms/a'), { n: 1 }); await sdk.updateDoc(sdk.doc(db, 'rooms/a'), { n: sdk.increment(1) })`);
  for (const page of [one, two]) await until(page, () => String(/** @type {any} */ (globalThis).shown) === 'a2', null);
  await run(two, `await sdk.runTransaction(db, async t => t.update(sdk.doc(db, 'rooms/a'), { n: (await t.get(sdk.doc(db, 'rooms/a'))).data().n + 5 }))`);
  for (const page of [one, two]) await until(page, () => String(/** @type {any} */ (globalThis).shown) === 'a7', null);
  for (const code of [`sdk.getDocFromServer(sdk.doc(db, 'rooms/a'))`, `sdk.setDoc(sdk.doc(db, 'rooms/b'), {})`]) {
    assert.equal(await run(stranger, `return ${code}.then(() => 'let in', error => error.code)`), 'permission-denied');
  }
}, { flags: production.flags, start });
