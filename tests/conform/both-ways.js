// One document, two doors: what an SDK writes is told by `/db/…` at the same version, and the other way round, with every
// type of value. FIRESTORE_EMULATOR_HOST says where the server is.

import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import firestore from '@google-cloud/firestore';

const { FieldValue, Firestore, GeoPoint, Timestamp } = firestore;

const PROJECT = 'both-ways';
const HOST = `http://${process.env.FIRESTORE_EMULATOR_HOST}`;
const ROOT = `${HOST}/p/${PROJECT}/db`;

const sdk = new Firestore({ projectId: PROJECT, useBigInt: true });
const undo = [];
after(async () => {
  undo.forEach(stop => stop());
  await sdk.terminate();
});

/** Every type of value, as the SDK has it, beside the text of the native API. Numbers are text: JSON.parse knows one type of them. */
const VALUES = {
  null: [null, 'null'],
  no: [false, 'false'],
  yes: [true, 'true'],
  int: [7n, '7'],
  least: [-(2n ** 63n), '{"$int":"-9223372036854775808"}'],
  double: [1.5, '1.5'],
  wholeDouble: [Symbol.for('3.0'), '3.0'],
  large: [1e300, '1e+300'],
  nan: [NaN, '{"$double":"NaN"}'],
  infinite: [Infinity, '{"$double":"Infinity"}'],
  below: [-Infinity, '{"$double":"-Infinity"}'],
  zero: [Symbol.for('-0.0'), '-0.0'],
  text: ['ä€𝄞 "quoted"\n', '"ä€𝄞 \\"quoted\\"\\n"'],
  empty: ['', '""'],
  bytes: [Buffer.from([0, 255, 16]), '{"$bytes":"AP8Q"}'],
  time: [new Timestamp(1_700_000_000, 123_456_000), '{"$timestamp":"2023-11-14T22:13:20.123456Z"}'],
  first: [new Timestamp(-62_135_596_800, 0), '{"$timestamp":"0001-01-01T00:00:00Z"}'],
  ref: [sdk.doc('other/place'), '{"$ref":"other/place"}'],
  point: [new GeoPoint(-12.5, 179), '{"$geo":[-12.5,179.0]}'],
  vector: [FieldValue.vector([1, 2.5, -3]), '{"$vector":[1.0,2.5,-3.0]}'],
  list: [[1n, 'a', null, { in: [] }], '[1,"a",null,{"in":[]}]'],
  map: [{ 'a.b': { '`c`': 1n }, empty: {} }, '{"a.b":{"`c`":1},"empty":{}}'],
  dollar: [{ $int: '5' }, '{"$map":{"$int":"5"}}'],
};
// A double without a fraction is an integer to this SDK's writer, whatever one does: only the native API can write these two.
const ONLY_NATIVE = ['wholeDouble', 'zero'];

/** The events of an address, one after another. */
async function listen(path) {
  const hangUp = new AbortController();
  undo.push(() => hangUp.abort());
  const response = await fetch(`${ROOT}/${path}`, { headers: { accept: 'text/event-stream' }, signal: hangUp.signal });
  assert.equal(response.status, 200);
  const pieces = response.body.pipeThrough(new TextDecoderStream())[Symbol.asyncIterator]();
  let text = '';
  return async function next() {
    for (;;) {
      const end = text.indexOf('\n\n');
      if (end < 0) {
        const { done, value } = await pieces.next();
        assert.ok(!done, 'the stream ended');
        text += value;
        continue;
      }
      const block = text.slice(0, end);
      text = text.slice(end + 2);
      const data = block.split('\n').filter(line => line.startsWith('data:')).map(line => line.slice(5).trim()).join('\n');
      if (data) return { text: data, event: JSON.parse(data) };
    }
  };
}

/** The SDK's snapshots of a document or query, one after another. */
function hear(what) {
  const seen = [];
  let wake = () => {};
  undo.push(what.onSnapshot(snapshot => {
    seen.push(snapshot);
    wake();
  }));
  return async function next() {
    while (!seen.length) await new Promise(done => (wake = done));
    return seen.shift();
  };
}

/** A time of Firestore as a version of Hearth. */
const version = time => String(BigInt(time.seconds) * 1_000_000n + BigInt(time.nanoseconds / 1_000));

/** The text of each value in the object that follows `"data":` in an event. */
function shown(text) {
  return name => {
    const key = `${JSON.stringify(name)}:`;
    const at = text.indexOf(key, text.indexOf('"data":')) + key.length;
    assert.ok(at >= key.length, `${name} is not in ${text}`);
    return text.slice(at);
  };
}

test('what the SDK writes is told by a native listener at the same version, value for value', async () => {
  const [collection, document] = [await listen('sdk'), await listen('sdk/all')];
  assert.equal((await collection()).event.size, 0);
  await document();
  const names = Object.keys(VALUES).filter(name => !ONLY_NATIVE.includes(name));
  const data = Object.fromEntries(names.map(name => [name, VALUES[name][0]]));
  const made = version((await sdk.doc('sdk/all').create(data)).writeTime);

  for (const next of [collection, document]) {
    const { text, event } = await next();
    assert.equal(event.version, made);
    const [{ type, doc }] = event.changes;
    assert.deepEqual([type, doc.path, doc.created, doc.updated], ['added', 'sdk/all', made, made]);
    for (const name of names) assert.ok(shown(text)(name).startsWith(VALUES[name][1]), `${name}: ${shown(text)(name).slice(0, 60)}`);
    assert.equal(Object.keys(doc.data).length, names.length);
  }
  const read = await (await fetch(`${ROOT}/sdk/all`)).text();
  for (const name of names) assert.ok(shown(read)(name).startsWith(VALUES[name][1]), name);

  // Transforms too, and deletion.
  const changed = version((await sdk.doc('sdk/all').update({ int: FieldValue.increment(1), at: FieldValue.serverTimestamp() })).writeTime);
  for (const next of [collection, document]) {
    const { event } = await next();
    const [{ type, doc }] = event.changes;
    assert.deepEqual([event.version, type, doc.created, doc.updated, doc.data.int], [changed, 'modified', made, changed, 8]);
    assert.equal(BigInt(Date.parse(doc.data.at.$timestamp)), BigInt(changed) / 1_000n);
  }
  const gone = version((await sdk.doc('sdk/all').delete()).writeTime);
  for (const next of [collection, document]) {
    const { event } = await next();
    assert.deepEqual([event.version, event.size, event.changes[0].type], [gone, 0, 'removed']);
  }
});

test('what the native API writes is told to the SDK’s listeners at the same version, value for value', async () => {
  const [collection, document] = [hear(sdk.collection('native')), hear(sdk.doc('native/all'))];
  assert.equal((await collection()).size, 0);
  assert.equal((await document()).exists, false);
  const body = `{${Object.entries(VALUES).map(([name, [, text]]) => `${JSON.stringify(name)}:${text}`).join()}}`;
  const put = await fetch(`${ROOT}/native/all`, { method: 'PUT', body });
  assert.ok(put.ok, await put.clone().text());
  const made = (await put.json()).updated;

  const first = await collection();
  assert.equal(version(first.readTime), made);
  assert.deepEqual(first.docChanges().map(({ type, doc }) => [type, doc.id]), [['added', 'all']]);
  for (const doc of [first.docs[0], await document(), await sdk.doc('native/all').get()]) {
    assert.deepEqual([version(doc.createTime), version(doc.updateTime)], [made, made]);
    const got = doc.data();
    for (const name of ['first', 'point', 'ref', 'time', 'vector']) {
      assert.ok(got[name].isEqual(VALUES[name][0]), name);
      delete got[name];
    }
    assert.deepEqual([got.wholeDouble, Object.is(got.zero, -0)], [3, true]);
    for (const name of ONLY_NATIVE) delete got[name];
    const want = Object.entries(VALUES).filter(([name]) => name in got).map(([name, [value]]) => [name, value]);
    assert.deepEqual(got, Object.fromEntries(want));
  }

  const two = { writes: [{ update: 'native/all', data: { int: { $increment: 1 } } }, { set: 'native/b', data: { n: 1 } }] };
  const post = await fetch(ROOT, { method: 'POST', body: JSON.stringify(two) });
  assert.ok(post.ok, await post.clone().text());
  const changed = (await post.json()).version;
  const both = await collection();
  assert.deepEqual(both.docChanges().map(({ type, doc }) => [type, doc.id, version(doc.updateTime)]).sort(), [
    ['added', 'b', changed], ['modified', 'all', changed],
  ]);
  assert.deepEqual([version(both.readTime), (await document()).get('int')], [changed, 8n]);
  await fetch(`${ROOT}/native/all`, { method: 'DELETE' });
  assert.deepEqual((await collection()).docs.map(doc => doc.id), ['b']);
  assert.equal((await document()).exists, false);
});
