// Stories of requests (stories/), then random writes, queries and listeners, asked of Hearth and of Google's own emulator: what they answer must be the same.
//
//   node main.js [ROUNDS]    TEST_SEED is the first round's seed; TEST_STORY a pattern of the stories told; TEST_HEARTH_BIN the server
//
// Each round has a database of its own. Of a refusal the code is compared, of documents every field; times are not: each
// server has its own. After each write every listener must come to show what its query answers.

import assert from 'node:assert/strict';
import firestore from '@google-cloud/firestore';
import { credentials } from '@grpc/grpc-js';

import { Hearth } from '../../../client-sdk/js/test/hearth.js';
import { findEmulator, startEmulator } from './emulator.js';
import { compareStories } from './compare.js';
import { KNOWN } from './known.js';
import { drawing, query, writes } from './random.js';
import conflicts from './stories/conflicts.js';
import listens from './stories/listens.js';
import reads from './stories/reads.js';
import refused from './stories/refused.js';
import rest from './stories/rest.js';
import targets from './stories/targets.js';
import transactions from './stories/transactions.js';
import values from './stories/values.js';
import vectors from './stories/vectors.js';
import changes from './stories/writes.js';
import writing from './stories/writing.js';

const { AggregateField, Firestore, v1 } = firestore;

const STORIES = [values, changes, writing, reads, refused, vectors, transactions, conflicts, listens, targets, rest];
const WRITES_PER_ROUND = 12;
const QUERIES_PER_WRITE = 8;
const LISTENERS_PER_ROUND = 6;
const PATIENCE_MS = 10_000;
const SHOWN_MAX = 40;
const PROJECT = 'differential';

/** One of the two servers. */
function side(name, host) {
  const [address, port] = host.split(':');
  const settings = { projectId: PROJECT, host: address, port: Number(port), ssl: false };
  const open = [];
  return {
    name,
    raw: new v1.FirestoreClient({ servicePath: address, port: Number(port), sslCreds: credentials.createInsecure() }),
    /** A fresh database. */
    database: databaseId => {
      const db = new Firestore({ ...settings, databaseId });
      open.push(db);
      return db;
    },
    close: () => Promise.all(open.splice(0).map(db => db.terminate())),
  };
}

/** A value of the protocol as text that is equal where the value is. */
function text(value) {
  return JSON.stringify(value, (key, one) => {
    if (one instanceof Uint8Array || one?.type === 'Buffer') return `bytes ${Buffer.from(one).toString('base64')}`;
    if (typeof one === 'number' && !Number.isFinite(one)) return String(one);
    if (Object.is(one, -0)) return '-0';
    if (one && typeof one === 'object' && !Array.isArray(one)) return Object.fromEntries(Object.entries(one).sort(([a], [b]) => (a < b ? -1 : 1)));
    return one;
  });
}

const documents = snapshot => snapshot.docs.map(doc => `${doc.ref.path} ${text(doc._fieldsProto)}`);

class Refused {
  constructor({ code, details, message }) {
    Object.assign(this, { code, message: details ?? message });
  }
}

/** What a server answers to something, or how it refuses. */
async function outcome(ask) {
  try {
    return await ask();
  } catch (error) {
    return typeof error.code === 'number' ? new Refused(error) : `not sent: ${error.message}`;
  }
}

/** The answers to one request, asked once: the client itself asks again what was refused, for seven seconds. */
function once(raw, method, request) {
  return new Promise((done, fail) => {
    const all = [];
    const stream = raw[method](request, { retryRequestOptions: { retries: 0, noResponseRetries: 0 } });
    stream.on('data', one => all.push(one)).on('error', fail).on('end', () => done(all));
  });
}

/** The documents of a query. */
async function find(raw, made) {
  const answers = await once(raw, 'runQuery', made.toProto());
  const found = answers.filter(({ document }) => document).map(({ document: { name, fields } }) => `${name.split('/documents/')[1]} ${text(fields)}`);
  return made._queryOptions.limitType === 1 ? found.reverse() : found;
}

/** Of a refusal the code counts, not its words. */
const shown = value => {
  if (value instanceof Refused) return `refused ${value.code}`;
  return Array.isArray(value) ? value.join('\n    ') : String(value);
};
const said = value => (value instanceof Refused ? `${shown(value)}: ${value.message}` : shown(value));

async function round(seed, sides, told) {
  const draw = drawing(seed);
  const databases = sides.map(one => one.database(`round-${seed}`));
  const same = (what, [ours, theirs], detail) => {
    if (shown(ours) === shown(theirs)) return true;
    const known = KNOWN.find(one => one.applies({ what, ours, theirs, detail }));
    if (known) {
      told.known.set(known.why, (told.known.get(known.why) ?? 0) + 1);
      return false;
    }
    told.differences.push(`TEST_SEED=${seed} ${what}: ${detail}\n  hearth:\n    ${said(ours)}\n  emulator:\n    ${said(theirs)}`);
    return false;
  };
  const both = ask => Promise.all(databases.map((db, at) => outcome(() => ask(db, sides[at].raw))));
  const explain = made => text(made.toProto().structuredQuery);
  const listeners = [];
  try {
    for (let n = 0; n < WRITES_PER_ROUND; n++) {
      const batch = writes(draw.below(2 ** 32), n === 0 ? 30 : 4);
      const wrote = await both(async db => (await batch(db).commit()).length);
      told.writes++;
      if (!same('write', wrote, text(batch(databases[0])._ops.map(({ op, docPath }) => op().update ?? docPath)))) return;

      for (let q = 0; q < QUERIES_PER_WRITE; q++) {
        const make = query(draw.below(2 ** 32));
        const [made] = await both(async db => explain(make(db)));
        // What the SDK refuses itself reaches no server.
        if (made.startsWith('not sent')) continue;
        told.queries++;
        const answers = await both(async (db, raw) => find(raw, make(db)));
        const agreed = same('query', answers, made);
        if (agreed && !shown(answers[0]).startsWith('refused') && draw.chance(0.3)) {
          const numbers = { count: AggregateField.count(), sum: AggregateField.sum('n'), mean: AggregateField.average('m') };
          const name = draw.pick(Object.keys(numbers));
          same('aggregate', await both(async (db, raw) => {
            const [{ result }] = await once(raw, 'runAggregationQuery', make(db).aggregate({ [name]: numbers[name] }).toProto());
            return text(Object.values(result.aggregateFields));
          }), `${name} ${made}`);
        }
        // The client orders by what it is told, and cannot where a mask hides it.
        if (agreed && Array.isArray(answers[0]) && listeners.length < LISTENERS_PER_ROUND && !made.includes('"select"')) {
          listeners.push({ made, make, heard: databases.map(db => hear(make(db))) });
        }
      }
      for (const { made, make, heard } of [...listeners]) {
        for (const [at, one] of heard.entries()) {
          const want = await find(sides[at].raw, make(databases[at]));
          told.snapshots++;
          const error = await one.until(want);
          if (!error) continue;
          told.differences.push(`TEST_SEED=${seed} listener of ${sides[at].name}: ${made}\n  ${error}`);
          listeners.splice(listeners.findIndex(one => one.made === made), 1)[0].heard.forEach(({ stop }) => stop());
          break;
        }
      }
    }
  } finally {
    for (const { heard } of listeners) heard.forEach(({ stop }) => stop());
    await Promise.all(sides.map(one => one.close()));
  }
}

/** A listener. `until` resolves when it shows these documents, or with what went wrong. */
function hear(made) {
  let now;
  let failed;
  let wake = () => {};
  const stop = made.onSnapshot(snapshot => {
    now = documents(snapshot);
    wake();
  }, error => {
    failed = `it ended: ${error.message}`;
    wake();
  });
  return {
    stop,
    until: async want => {
      const patience = AbortSignal.timeout(PATIENCE_MS);
      patience.addEventListener('abort', () => wake());
      for (;;) {
        if (failed) return failed;
        // The order is the client's own doing, and another where it differs from the server's.
        if (now && shown(now.toSorted()) === shown(want.toSorted())) return undefined;
        if (patience.aborted) return `it shows\n    ${shown(now)}\n  and its query finds\n    ${shown(want)}`;
        await new Promise(done => (wake = () => done()));
      }
    },
  };
}

const found = findEmulator();
if (found.missing) {
  console.log(`skipped: ${found.missing} is not installed`);
  process.exit(0);
}
const rounds = Number(process.argv[2] ?? 20);
const first = Number(process.env.TEST_SEED ?? Math.floor(Math.random() * 2 ** 31));
console.log(`TEST_SEED=${first}, ${rounds} rounds`);
const hearth = await Hearth.start();
const emulator = await startEmulator(found.jar);
const told = { steps: 0, writes: 0, queries: 0, snapshots: 0, differences: [], known: new Map() };
const sides = [side('hearth', new URL(hearth.host).host), side('emulator', emulator.host)];
const hosts = [new URL(hearth.host).host, emulator.host];
for (const stories of STORIES) {
  const { differences, known, steps } = await compareStories(stories, hosts, first);
  told.steps += steps;
  told.differences.push(...differences);
  for (const [why, times] of known) told.known.set(why, (told.known.get(why) ?? 0) + times);
}
for (let n = 0; n < rounds; n++) await round(first + n, sides, told);
await Promise.all([hearth.stop(), emulator.stop()]);
for (const [why, times] of [...told.known].sort()) console.log(`differs on purpose, ${times} times: ${why}`);
console.log(`${told.steps} steps of stories, ${told.writes} writes, ${told.queries} queries, ${told.snapshots} snapshots compared`);
for (const one of told.differences.slice(0, SHOWN_MAX)) console.log(one);
assert.ok(told.queries > 0 && told.writes > 0);
console.log(`${told.differences.length} differences`);
process.exit(told.differences.length ? 1 : 0);
