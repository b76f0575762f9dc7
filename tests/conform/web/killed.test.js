// The server is killed, again and again, while Firebase's web SDK and Google's client for Node listen and write. Each write
// that was acknowledged is there; each listener comes to the same end without being opened anew; none is shown a step back.

import assert from 'node:assert/strict';
import firestore from '@google-cloud/firestore';

import { scene, until } from '../../browser/browser.js';
import { run, withSdk } from './page.js';

/** @typedef {import('playwright-core').Page} Page */
/** @typedef {{ acked: number[], wrote: (n: number) => Promise<unknown> }} Writer */

const { app } = withSdk();

/** After each, the web SDK's channel waits for 5 to 15 seconds before it tries again: that is how it is made. */
const KILLS = 2;
/** Writes that each client sees acknowledged between two kills. */
const WRITES_BETWEEN = 5;
/** How far each goes on meanwhile: a kill comes while it writes, and while one waits the others do not write thousands. */
const WRITES_AHEAD = 30;

/**
 * A listener's memory, that notes each step back: a counter that falls, or an entry of the log that is gone. It runs here
 * and, as text, in pages.
 */
function watcher() {
  const shown = { counters: /** @type {Record<string, number>} */ ({}), log: /** @type {string[]} */ ([]), back: /** @type {string[]} */ ([]), count: 0 };
  return {
    shown,
    counters: (/** @type {any[]} */ docs) => {
      shown.count++;
      const now = Object.fromEntries(docs.map(doc => [doc.id, doc.data().n]));
      for (const [id, n] of Object.entries(shown.counters)) if (!(now[id] >= n)) shown.back.push(`${id}: ${n}, then ${now[id]}`);
      shown.counters = now;
    },
    log: (/** @type {any[]} */ docs) => {
      shown.count++;
      const now = docs.map(doc => doc.id);
      const known = new Set(now);
      for (const id of shown.log) if (!known.has(id)) shown.back.push(`${id} is gone`);
      shown.log = now;
    },
  };
}

/**
 * Lets a page listen, and write when it is to.
 *
 * @param {Page} page
 * @param {string} name
 * @param {boolean} writes
 */
async function begin(page, name, writes) {
  await run(page, `
    const { shown, counters, log } = (${watcher})();
    globalThis.shown = shown;
    const server = tell => snapshot => void (snapshot.metadata.hasPendingWrites || snapshot.metadata.fromCache || tell(snapshot.docs));
    const options = { includeMetadataChanges: true };
    const fail = error => void shown.back.push(String(error));
    sdk.onSnapshot(sdk.collection(db, 'counters'), options, server(counters), fail);
    sdk.onSnapshot(sdk.collection(db, 'log'), options, server(log), fail);
    globalThis.acked = [];
    globalThis.goal = 0;
    globalThis.more = () => {};
    globalThis.writing = ${writes};
    globalThis.ended = (async () => {
      for (let n = 1; globalThis.writing; n++) {
        while (globalThis.writing && n > globalThis.goal) await new Promise(done => void (globalThis.more = done));
        if (!globalThis.writing) break;
        // Two at a time, so that a kill comes between writes that are on their way together.
        await Promise.all([sdk.setDoc(sdk.doc(db, 'counters/${name}'), { n }), sdk.setDoc(sdk.doc(db, 'log/${name}-' + n), { n })]);
        globalThis.acked.push(n);
      }
    })();
  `);
}

/** @param {string} host */
function beginNode(host) {
  const address = new URL(host);
  const db = new firestore.Firestore({
    projectId: 'demo', host: address.hostname, port: Number(address.port), ssl: false, customHeaders: { authorization: 'Bearer owner' },
  });
  const { shown, counters, log } = watcher();
  /** @type {Set<() => void>} */
  const waiting = new Set();
  const wake = () => {
    for (const one of waiting) one();
    waiting.clear();
  };
  const until = async (/** @type {() => boolean} */ holds) => {
    while (!holds()) await new Promise(done => void waiting.add(() => done(undefined)));
  };
  const tell = (/** @type {(docs: any[]) => void} */ one) => (/** @type {any} */ snapshot) => {
    one(snapshot.docs);
    wake();
  };
  const fail = (/** @type {unknown} */ error) => void shown.back.push(String(error));
  const stops = [db.collection('counters').onSnapshot(tell(counters), fail), db.collection('log').onSnapshot(tell(log), fail)];
  const acked = /** @type {number[]} */ ([]);
  let writing = true;
  let goal = 0;
  const ended = (async () => {
    for (let n = 1; ; n++) {
      await until(() => n <= goal || !writing);
      if (!writing) break;
      // A write whose answer the kill took is neither done nor undone, as far as this client can know: it goes on.
      const outcome = await db.batch().set(db.doc('counters/node'), { n }).set(db.doc(`log/node-${n}`), { n }).commit().catch(() => null);
      if (!outcome) continue;
      acked.push(n);
      wake();
      // In step with its own listener: it would write thousands while the pages wait.
      await until(() => (shown.counters.node ?? 0) >= n);
    }
  })();
  return {
    shown, acked, until,
    writeUpTo: (/** @type {number} */ n) => {
      goal = n;
      wake();
    },
    stop: async () => {
      writing = false;
      wake();
      await ended;
    },
    close: async () => {
      stops.forEach(stop => stop());
      await db.terminate();
    },
  };
}

scene('clients of every kind listen and write while the server is killed', async ({ hearth, person }) => {
  const polling = { experimentalForceLongPolling: true };
  const one = await app(await person(), hearth.host, {});
  const two = await app(await person(), hearth.host, polling);
  const third = await app(await person(), hearth.host, {});
  const pages = [one.page, two.page, third.page];
  await begin(one.page, 'one', true);
  await begin(two.page, 'two', true);
  await begin(third.page, 'third', false);
  const node = beginNode(hearth.host);

  try {
    for (let kills = 0; kills <= KILLS; kills++) {
      if (kills) await hearth.restart();
      // Numbers and not acknowledgements: where the kill took an answer, the Node client goes on to the next.
      node.writeUpTo((node.acked.at(-1) ?? 0) + WRITES_BETWEEN + WRITES_AHEAD);
      const writers = [];
      for (const { page } of [one, two]) {
        const from = await run(page, `
          globalThis.goal = acked.length + ${WRITES_BETWEEN + WRITES_AHEAD};
          globalThis.more();
          return acked.length + ${WRITES_BETWEEN};
        `);
        writers.push({ page, from });
      }
      const from = node.acked.length + WRITES_BETWEEN;
      await node.until(() => node.acked.length >= from);
      for (const { page, from } of writers) await until(page, from => /** @type {any} */ (globalThis).acked.length >= from, from);
    }
    await node.stop();
    for (const page of pages) await run(page, `globalThis.writing = false; globalThis.more(); await globalThis.ended`);

    // What is really there.
    const counters = Object.fromEntries((await hearth.ask('GET', '/p/demo/db/counters')).docs.map((/** @type {any} */ doc) => [doc.path.split('/')[1], doc.data.n]));
    const log = (await hearth.ask('GET', '/p/demo/db/log?limit=100000')).docs.map((/** @type {any} */ doc) => doc.path.split('/')[1]);
    const acked = { one: await run(one.page, `return acked`), two: await run(two.page, `return acked`), node: node.acked };
    for (const [name, numbers] of Object.entries(acked)) {
      assert.ok(numbers.length >= WRITES_BETWEEN * (KILLS + 1), `${name}: ${numbers.length}`);
      assert.deepEqual(numbers.filter((/** @type {number} */ n) => !log.includes(`${name}-${n}`)), [], `acknowledged to ${name}, and gone`);
      assert.ok(counters[name] >= numbers.at(-1), name);
    }

    // All come to it, without being opened again, and none has seen a step back.
    const want = JSON.stringify([Object.entries(counters).sort(), [...log].sort()]);
    const same = (/** @type {any} */ shown) => JSON.stringify([Object.entries(shown.counters).sort(), [...shown.log].sort()]) === want;
    await node.until(() => same(node.shown));
    assert.deepEqual(node.shown.back, []);
    for (const page of pages) {
      await until(page, want => {
        const { shown } = /** @type {any} */ (globalThis);
        return JSON.stringify([Object.entries(shown.counters).sort(), [...shown.log].sort()]) === want;
      }, want);
      const { back, count } = await run(page, `return shown`);
      assert.deepEqual(back, []);
      assert.ok(count > 2, String(count));
    }
  } finally {
    await node.close();
  }
}, { timeout: 150_000 });
