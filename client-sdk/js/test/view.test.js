import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Target } from '../src/listen/target.js';
import { difference, fold } from '../src/listen/view.js';
import { pick, randomOf, upTo } from './random.js';

/** @typedef {import('../src/wire/message.js').WireDocument} WireDocument */
/** @typedef {import('../src/wire/message.js').WireChange} WireChange */

/**
 * @param {string} path
 * @param {number} [updated]
 * @returns {WireDocument}
 */
const docOf = (path, updated = 1) => ({ path, data: { n: updated }, created: '1', updated: String(updated) });

/**
 * @param {readonly WireDocument[]} docs
 */
const show = docs => docs.map(doc => `${doc.path}@${doc.updated}`).join(' ');

test('changes are applied in sequence', () => {
  const view = fold([docOf('a'), docOf('b'), docOf('c')], [
    { type: 'removed', doc: { path: 'a' }, from: 0, to: -1 },
    { type: 'added', doc: docOf('d'), from: -1, to: 2 },
    { type: 'modified', doc: docOf('b', 2), from: 0, to: 2 },
  ]);
  assert.equal(show(view?.docs ?? []), 'c@1 d@1 b@2');
  assert.deepEqual(view?.changes.map(({ type, doc, from, to }) => [type, doc.path, from, to]), [
    ['removed', 'a', 0, -1], ['added', 'd', -1, 2], ['modified', 'b', 0, 2],
  ]);
  assert.deepEqual(view?.changes[0]?.doc.data, { n: 1 }, 'who is removed is still known');
});

test('changes that do not fit are seen', () => {
  const before = [docOf('a')];
  /** @type {WireChange[]} */
  const bad = [
    { type: 'removed', doc: { path: 'b' }, from: 0, to: -1 },
    { type: 'removed', doc: { path: 'a' }, from: 1, to: -1 },
    { type: 'modified', doc: docOf('a', 2), from: 0, to: 1 },
    { type: 'added', doc: docOf('c'), from: -1, to: 3 },
    { type: 'added', doc: docOf('c'), from: -1, to: -1 },
  ];
  for (const change of bad) assert.equal(fold(before, [change]), null);
});

test('the difference of two lists leads from one to the other', () => {
  for (let seed = 0; seed < 2_000; seed++) {
    const random = randomOf(seed);
    const before = randomDocs(random);
    const after = randomDocs(random);
    const changes = difference(before, after);
    const wire = /** @type {WireChange[]} */ (changes);
    assert.equal(show(fold(before, wire)?.docs ?? [docOf('misfit')]), show(after), `seed ${seed}`);
    assert.equal(difference(after, after).length, 0);
    for (const { type, doc } of changes) {
      const [had, has] = [before, after].map(list => list.some(({ path }) => path === doc.path));
      assert.equal(type, had && has ? 'modified' : had ? 'removed' : 'added', `seed ${seed}`);
    }
  }
});

test('a target follows a server that sends diffs, parts and resets', () => {
  for (let seed = 0; seed < 1_000; seed++) {
    const random = randomOf(seed);
    const target = new Target('c', {});
    /** @type {readonly WireDocument[]} what the listener made of the changes that it heard */
    let heard = [];
    /** @type {readonly WireDocument[]} */
    let server = [];
    for (let version = 10; version < 20; version++) {
      const next = randomDocs(random);
      if (random() < 0.3) target.ask();
      const reset = version === 10 || random() < 0.2;
      const changes = /** @type {WireChange[]} */ (difference(reset ? [] : server, next));
      server = next;
      const cut = random() < 0.5 ? upTo(random, changes.length + 1) : null;
      const whole = { id: 1, ev: /** @type {const} */ ('snapshot'), version: String(version), token: `t${version}`, size: next.length, reset };
      if (cut !== null) {
        assert.equal(target.event({ ...whole, token: undefined, size: undefined, changes: changes.slice(0, cut), part: 1, more: true }).kind, 'nothing');
      }
      const last = cut === null ? { ...whole, changes } : { ...whole, changes: changes.slice(cut), part: 2, more: false };
      const outcome = target.event(last);
      assert.notEqual(outcome.kind, 'missed', `seed ${seed}`);
      if (outcome.kind === 'snapshot') {
        heard = fold(heard, /** @type {WireChange[]} */ (outcome.snapshot.changes))?.docs ?? [docOf('misfit')];
        assert.equal(show(outcome.snapshot.docs), show(server), `seed ${seed}`);
      }
      assert.equal(show(heard), show(server), `seed ${seed}`);
      assert.equal(target.since, `t${version}`);
      // The same event once more changes nothing.
      if (cut === null) assert.equal(target.event(last).kind, 'nothing', `seed ${seed}`);
    }
  }
});

test('parts of an event are forgotten when the connection is lost between them', () => {
  const target = new Target('c', {});
  /** @type {WireChange} */
  const added = { type: 'added', doc: docOf('a'), from: -1, to: 0 };
  const event = { id: 1, ev: /** @type {const} */ ('snapshot'), version: '5', changes: [added] };
  assert.equal(target.event({ ...event, part: 1, more: true }).kind, 'nothing');
  assert.equal(target.since, undefined);
  target.ask();
  const outcome = target.event({ ...event, token: 't', size: 1 });
  assert.equal(outcome.kind === 'snapshot' && show(outcome.snapshot.docs), 'a@1');
});

test('a difference in parts is one snapshot, and one that is cut off leaves what was known', () => {
  const target = new Target('c', {});
  const base = { id: 1, ev: /** @type {const} */ ('snapshot'), reset: false };
  const add = (/** @type {string} */ path, /** @type {number} */ to) => ({ type: /** @type {const} */ ('added'), doc: docOf(path), from: -1, to });
  assert.equal(target.event({ ...base, version: '5', token: 't5', size: 2, changes: [add('a', 0), add('b', 1)] }).kind, 'snapshot');
  target.ask();
  /** @type {WireChange} */
  const removed = { type: 'removed', doc: { path: 'a' }, from: 0, to: -1 };
  const first = { ...base, version: '9', size: 1, part: 1, more: true, changes: [removed] };
  const second = { ...base, version: '9', size: 2, part: 2, more: true, changes: [add('c', 1)] };
  const third = { ...base, version: '9', token: 't9', size: 3, part: 3, more: false, changes: [add('d', 2)] };
  assert.equal(target.event(first).kind, 'nothing');
  assert.equal(target.event(second).kind, 'nothing');
  assert.equal(target.current && show(target.current.docs), 'a@1 b@1', 'who joins now hears the last whole result');
  assert.equal(target.since, 't5');
  // The connection is lost: all of it comes again.
  target.ask();
  assert.equal(target.event(first).kind, 'nothing');
  assert.equal(target.event(second).kind, 'nothing');
  const outcome = target.event(third);
  assert.equal(outcome.kind === 'snapshot' && show(outcome.snapshot.docs), 'b@1 c@1 d@1');
  assert.deepEqual(outcome.kind === 'snapshot' && outcome.snapshot.changes.map(change => `${change.type} ${change.doc.path}`), ['removed a', 'added c', 'added d']);
  assert.equal(target.since, 't9');
  // A part that is missing is seen.
  target.ask();
  assert.equal(target.event({ ...first, version: '10', size: 2, changes: [{ ...removed, doc: { path: 'b' } }] }).kind, 'nothing');
  assert.equal(target.event({ ...third, version: '10' }).kind, 'missed');
});

test('an empty result is told once, and a resume without changes is not told', () => {
  const target = new Target('c', {});
  const empty = { id: 1, ev: /** @type {const} */ ('snapshot'), version: '5', token: 't', size: 0, changes: [] };
  assert.equal(target.event(empty).kind, 'snapshot');
  target.ask();
  assert.equal(target.event({ ...empty, version: '9' }).kind, 'nothing');
  assert.equal(target.event({ ...empty, version: '8' }).kind, 'nothing');
});

test('an older event is passed over, unless the listener had just asked and is reset', () => {
  const target = new Target('c', {});
  const at = (/** @type {string} */ version) => ({
    id: 1, ev: /** @type {const} */ ('snapshot'), version, token: version, reset: true, size: 1,
    changes: [{ type: /** @type {const} */ ('added'), doc: docOf('a', Number(version)), from: -1, to: 0 }],
  });
  assert.equal(target.event(at('50')).kind, 'snapshot');
  assert.equal(target.event(at('9')).kind, 'nothing');
  assert.equal(target.event(at('100')).kind, 'snapshot');
  target.ask();
  assert.equal(target.event(at('7')).kind, 'snapshot', 'a restored database is older');
});

test('a wrong size or a missing part is seen', () => {
  const target = new Target('c', {});
  const event = { id: 1, ev: /** @type {const} */ ('snapshot'), version: '5', token: 't', size: 1, changes: [] };
  assert.equal(target.event(event).kind, 'missed');
  assert.equal(target.event({ ...event, part: 2, more: true }).kind, 'missed');
});

/**
 * @param {() => number} random
 * @returns {WireDocument[]}
 */
function randomDocs(random) {
  /** @type {WireDocument[]} */
  const docs = [];
  for (const path of ['a', 'b', 'c', 'd', 'e', 'f']) {
    if (random() < 0.6) docs.splice(upTo(random, docs.length + 1), 0, docOf(path, pick(random, [1, 2, 3])));
  }
  return docs;
}
