// Exports between Hearth and Google's own emulator, in both directions, with every type of value, compared through the official
// client. TEST_HEARTH_BIN is the server; where the emulator is not installed, that is said, and only Hearth is asked.

import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import firestore from '@google-cloud/firestore';

import { Hearth } from '../../client-sdk/js/test/hearth.js';
import { findEmulator, startEmulator } from './differential/emulator.js';

const { FieldValue, Firestore, GeoPoint, Timestamp } = firestore;

const PROJECT = 'demo';
const NAME = 'firestore_export';
const OVERALL = `${NAME}/${NAME}.overall_export_metadata`;

const found = findEmulator();
const skip = found.missing ? `${found.missing} is not installed` : false;
if (skip) console.log(`skipped: ${skip}`);

let folder;
const undo = [];
before(async () => (folder = await mkdtemp(join(tmpdir(), 'hearth-export-'))));
after(async () => {
  for (const stop of undo.reverse()) await stop();
  await rm(folder, { recursive: true });
});

/** A client of a server, ended with the test. */
function client(host) {
  const [address, port] = host.split(':');
  const db = new Firestore({ projectId: PROJECT, host: address, port: Number(port), ssl: false, useBigInt: true });
  undo.push(() => db.terminate());
  return db;
}

async function hearth(...args) {
  const server = await Hearth.start(...args);
  undo.push(() => server.stop());
  return server.host.replace('http://', '');
}

async function emulator(...args) {
  const server = await startEmulator(found.jar, ...args);
  undo.push(() => server.stop());
  return server.host;
}

/** Documents with every type of value, at every kind of place. */
const documents = db => ({
  'types/plain': {
    null: null, yes: true, no: false, int: 7n, most: 2n ** 63n - 1n, least: -(2n ** 63n), double: 1.5, tiny: 5e-324, nan: NaN,
    above: Infinity, below: -Infinity, text: 'ä€𝄞 "q"\n\u0000', empty: '', bytes: Buffer.from([0, 255, 16]), noBytes: Buffer.from([]),
    time: new Timestamp(1_700_000_000, 123_456_000), first: new Timestamp(-62_135_596_800, 0),
    last: new Timestamp(253_402_300_799, 999_999_000), ref: db.doc('other/place/deep/__id-5__'), point: new GeoPoint(-12.5, 179),
    vector: FieldValue.vector([1, 2.5, -3]), one: FieldValue.vector([1]),
  },
  'types/arrays': {
    all: [1n, 'a', null, true, NaN, 2.5, new GeoPoint(1, 2), new Timestamp(1, 0), Buffer.from([1]), db.doc('a/b'), { in: [], x: [true] }],
    lone: ['only'], null: [null], map: [{}], none: [],
  },
  'types/maps': {
    deep: { a: { b: { c: { d: [{ e: { f: 1n } }] } } } }, empty: {}, 'a.b': { '`c`': 1n, 'é ä': 2.5 }, v: { v: FieldValue.vector([2]) },
  },
  'types/none': {},
  'types/__id7__': { n: 1n },
  'types/missing/below/ü': { n: 1n },
  'types/long': { text: 'x'.repeat(100_000), bytes: Buffer.alloc(40_000, 7) },
});

/** What a server holds, as the protocol has it. */
async function held(db) {
  const all = {};
  for (const group of ['types', 'below']) {
    for (const doc of (await db.collectionGroup(group).get()).docs) all[doc.ref.path] = doc._fieldsProto;
  }
  return all;
}

async function fill(host) {
  const db = client(host);
  const batch = db.batch();
  for (const [path, data] of Object.entries(documents(db))) batch.set(db.doc(path), data);
  await batch.commit();
  return held(db);
}

async function exported(host, name) {
  const directory = join(folder, name);
  await mkdir(directory);
  // As Firebase's tools ask it.
  const body = JSON.stringify({ database: `projects/${PROJECT}/databases/(default)`, export_directory: directory, export_name: NAME });
  const answer = await fetch(`http://${host}/emulator/v1/projects/${PROJECT}:export`, {
    method: 'POST', headers: { 'content-type': 'application/json', authorization: 'Bearer owner' }, body,
  });
  assert.equal(answer.status, 200, await answer.text());
  return directory;
}

test('what Hearth exports it begins with again, value for value', async () => {
  const ours = await hearth();
  const wanted = await fill(ours);
  assert.deepEqual(Object.keys(wanted).sort(), Object.keys(documents(client(ours))).sort());
  const again = await hearth('--import', join(await exported(ours, 'own'), NAME));
  assert.deepEqual(await held(client(again)), wanted);
});

test('Hearth begins with what Google’s emulator has exported, value for value', { skip }, async () => {
  const theirs = await emulator();
  const wanted = await fill(theirs);
  const ours = await hearth('--import', join(await exported(theirs, 'theirs'), NAME));
  assert.deepEqual(await held(client(ours)), wanted);
});

test('Google’s emulator begins with what Hearth has exported, value for value', { skip }, async () => {
  const ours = await hearth();
  const wanted = await fill(ours);
  const theirs = await emulator('--seed_from_export', join(await exported(ours, 'ours'), OVERALL));
  assert.deepEqual(await held(client(theirs)), wanted);
});
