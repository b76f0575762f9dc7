// One load through Google's Node client, as long as it is told to: benches/src/compare.rs starts it.
//
//   node compare.js LOAD WARM_MS MEASURED_MS    FIRESTORE_EMULATOR_HOST is the server
//
// Prints how many operations there were while it was measured, in how many seconds, how many were refused, and
// the client's own CPU in seconds. The loads are those of loads.rs.

import { createRequire } from 'node:module';
import { performance } from 'node:perf_hooks';

// The client stands where the tests have it.
const { FieldValue, Firestore } = createRequire(new URL('../tests/package.json', import.meta.url))('@google-cloud/firestore');

const DOCUMENTS = 10_000;
const LISTENERS = 100;
const CLIENTS = { 'write-1': 1, 'write-64': 64, get: 64, query: 8, listen: 1, increment: 64 };

const [load, ...times] = process.argv.slice(2);
const [warm, measured] = times.map(Number);
const db = new Firestore({ projectId: 'bench' });
const text = (length, n) => (n.toString(36) + 'abcdefghijklmnopqrstuvwxyz234567'.repeat(13)).slice(0, length);
const data = n => ({ body: text(400, n), n, room: `room-${n % 100}`, title: text(24, n) });

let number = 2_000_000;
let operations = 0;
let refused = 0;
let isOver = false;

/** Listeners of one document: told the number that all must have heard, resolves when they have. */
async function ears() {
  const heard = new Array(LISTENERS).fill(-1);
  let wanted = { n: -1, left: 0, done: () => {} };
  const ready = heard.map((_, index) => new Promise((opened, fail) => {
    db.doc('heard/node').onSnapshot(snapshot => {
      opened();
      if (snapshot.get('n') === wanted.n && heard[index] !== wanted.n) {
        heard[index] = wanted.n;
        if (--wanted.left === 0) wanted.done();
      }
    }, fail);
  }));
  await Promise.all(ready);
  return n => new Promise(done => (wanted = { n, left: LISTENERS, done }));
}

const names = load === 'get' ? (await db.collection('bench').select().limit(DOCUMENTS).get()).docs.map(doc => doc.ref) : [];
const all = load === 'listen' ? await ears() : null;

const ask = {
  'write-1': n => db.doc(`node-1/${n}`).set(data(n)),
  'write-64': n => db.doc(`node-64/${n}`).set(data(n)),
  get: n => names[(n * 7_919) % names.length].get(),
  query: async () => {
    const { size } = await db.collection('hundred').get();
    if (size !== 100) throw new Error(`a query found ${size} documents`);
  },
  increment: () => db.doc('hot/it').update({ n: FieldValue.increment(1) }),
  listen: async n => {
    const heard = all(n);
    await db.doc('heard/node').set(data(n));
    await heard;
  },
}[load];

async function client() {
  while (!isOver) {
    try {
      await ask(number++);
      operations += load === 'listen' ? LISTENERS : 1;
    } catch (error) {
      if (load !== 'increment' || typeof error.code !== 'number') throw error;
      refused += 1;
    }
  }
}

const clients = Array.from({ length: CLIENTS[load] }, client);
const pause = ms => new Promise(done => setTimeout(done, ms));
await Promise.race([pause(warm), Promise.all(clients)]);
const [before, start, cpuBefore] = [operations, performance.now(), process.cpuUsage()];
await Promise.race([pause(measured), Promise.all(clients)]);
const [after, seconds, used] = [operations, (performance.now() - start) / 1_000, process.cpuUsage(cpuBefore)];
isOver = true;
await Promise.all(clients);
console.log(JSON.stringify({ operations: after - before, seconds, refused, cpu: (used.user + used.system) / 1e6 }));
process.exit(0);
