import assert from 'node:assert/strict';
import { test } from 'node:test';

import {
  BACKOFF_MS_MAX, IDLE_MS_MAX, OPEN_MS_MAX_OF_FIRST, PONG_MS_MAX, READ_WAIT_MS_MAX, SILENCE_MS_MAX, Session,
} from '../src/session.js';
import { randomOf, upTo } from './random.js';

/** @typedef {import('../src/session.js').Input} Input */
/** @typedef {import('../src/session.js').Output} Output */
/** @typedef {import('../src/session.js').Transport} Transport */
/** @typedef {import('../src/wire/message.js').ServerMessage} ServerMessage */
/** @typedef {import('../src/wire/message.js').ClientMessage} ClientMessage */

/** A session with a clock that the test moves, and its outputs as they came. */
class Bench {
  now = 1_000;
  link = 0;
  /** @type {string[]} outputs as text, taken by `took` */
  said = [];
  /** @type {ClientMessage[]} all that was sent on the present link */
  sent = [];

  /** @param {{ transports?: Transport[], random?: () => number, token?: string | null }} [options] */
  constructor({ transports = ['websocket', 'sse', 'poll'], random = () => 0.5, token = null } = {}) {
    this.session = new Session({ transports, random });
    /** @type {string | null | undefined} what a token source gives; undefined leaves the asking to the test */
    this.token = token;
  }

  /** @param {Input} input */
  tell(input) {
    this.session.input(this.now, input);
    for (let output = this.session.output(); output; output = this.session.output()) this.take(output);
    return this;
  }

  /** @param {Output} output */
  take(output) {
    switch (output.type) {
      case 'ask-token':
        if (output.refresh) this.said.push('refresh');
        if (this.token !== undefined) this.tell({ type: 'token', token: this.token });
        break;
      case 'open':
        this.link = output.link;
        this.sent = [];
        this.said.push(`open ${output.transport}${output.token === null ? '' : ` as ${output.token}`}`);
        break;
      case 'send': {
        const { id, op, ...rest } = output.message;
        this.sent.push(output.message);
        const words = Object.entries(rest).map(([key, value]) => `${key}=${typeof value === 'string' ? value : JSON.stringify(value)}`);
        this.said.push(`> ${[id, op, ...words].join(' ')}`);
        break;
      }
      case 'close': this.said.push(`close ${output.code}`); break;
      case 'snapshot': {
        const { docs, changes, version, aggregates } = output.snapshot;
        const list = aggregates ? JSON.stringify(aggregates) : docs.map(doc => doc.path).join(',');
        const news = changes.map(({ type, doc, from, to }) => ` ${type} ${doc.path} ${from} ${to}`).join('');
        this.said.push(`${output.ask} hears @${version} [${list}]${news}`);
        break;
      }
      case 'failed': this.said.push(`${output.ask} fails: ${output.error.code}`); break;
      case 'result': this.said.push(`${output.ask} reads [${output.result.docs?.map(doc => doc.path).join(',')}]`); break;
      case 'committed': this.said.push(`${output.ask} committed @${output.version}`); break;
      case 'state': break;
    }
  }

  /**
   * What came out since the last look.
   *
   * @param {...string} want
   */
  took(...want) {
    assert.deepEqual(this.said, want);
    this.said = [];
    return this;
  }

  skip() {
    this.said = [];
    return this;
  }

  /** @param {number} ms */
  pass(ms) {
    this.now += ms;
    return this.tell({ type: 'tick' });
  }

  /** Moves the clock to where the session wants to be woken. */
  wake() {
    assert.notEqual(this.session.wakeAt, null);
    return this.pass(Math.max(0, /** @type {number} */ (this.session.wakeAt) - this.now));
  }

  opened() {
    return this.tell({ type: 'opened', link: this.link });
  }

  /** @param {number} [code] */
  lost(code = 1006) {
    return this.tell({ type: 'closed', link: this.link, code });
  }

  /** @param {ServerMessage} message */
  frame(message) {
    return this.tell({ type: 'frame', link: this.link, message });
  }

  /**
   * @param {number} ask
   * @param {string} [path]
   */
  listen(ask, path = 'c') {
    return this.tell({ type: 'listen', ask, path, query: { limit: 'all' } });
  }
}

/** @param {string} path */
const docOf = path => ({ path, data: {}, created: '1', updated: '1' });

/**
 * @param {number} id
 * @param {string} version
 * @param {string[]} paths added at the end of `before`
 * @param {{ before?: number, reset?: boolean }} [more]
 * @returns {ServerMessage}
 */
const snapshot = (id, version, paths, { before = 0, reset = false } = {}) => ({
  id, ev: 'snapshot', version, token: `t${version}`, reset, size: before + paths.length,
  changes: paths.map((path, at) => ({ type: 'added', doc: docOf(path), from: -1, to: before + at })),
});

const problem = (/** @type {number} */ id, /** @type {string} */ code) =>
  /** @type {ServerMessage} */ ({ id, ev: 'problem', problem: { code, title: code } });

test('all listeners share one connection, and those of the same query one subscription', () => {
  const bench = new Bench().listen(1).listen(2).listen(3, 'd');
  bench.took('open websocket');
  bench.opened().took('> 1 listen path=c query={"limit":"all"}', '> 2 listen path=d query={"limit":"all"}');
  bench.frame(snapshot(1, '5', ['c/a'])).took('1 hears @5 [c/a] added c/a -1 0', '2 hears @5 [c/a] added c/a -1 0');
  bench.listen(4).took('4 hears @5 [c/a] added c/a -1 0');
  bench.tell({ type: 'unlisten', ask: 1 }).tell({ type: 'unlisten', ask: 2 }).took();
  bench.tell({ type: 'unlisten', ask: 4 }).took('> 1 unlisten');
});

test('a lost connection is resumed by tokens', () => {
  const bench = new Bench().listen(1).opened().frame(snapshot(1, '5', ['c/a'])).skip();
  bench.lost().took();
  bench.wake().took('open websocket');
  bench.opened().took('> 2 listen path=c query={"limit":"all"} since=t5');
  bench.frame(snapshot(2, '9', ['c/b'], { before: 1 })).took('1 hears @9 [c/a,c/b] added c/b -1 1');
});

test('after a reset listeners hear only what differs', () => {
  const bench = new Bench().listen(1).opened().frame(snapshot(1, '5', ['c/a', 'c/b'])).lost().wake().opened().skip();
  bench.frame(snapshot(2, '9', ['c/b', 'c/z'], { reset: true }));
  bench.took('1 hears @9 [c/b,c/z] removed c/a 0 -1 added c/z -1 1');
});

test('frames of an earlier link and of an ended listener are passed over', () => {
  const bench = new Bench().listen(1).opened().frame(snapshot(1, '5', ['c/a']));
  const old = bench.link;
  bench.lost().wake().opened().skip();
  bench.tell({ type: 'frame', link: old, message: snapshot(1, '6', ['c/x'], { before: 1 }) }).took();
  bench.tell({ type: 'closed', link: old, code: 4401 }).took();
  bench.frame(snapshot(1, '6', ['c/x'], { before: 1 })).took();
  bench.tell({ type: 'unlisten', ask: 1 }).took('> 2 unlisten');
  bench.frame(snapshot(2, '7', ['c/y'], { before: 1 })).took();
});

test('nothing is delivered after unlisten, even what was already on its way', () => {
  const bench = new Bench().listen(1).opened().skip();
  bench.session.input(bench.now, { type: 'frame', link: bench.link, message: snapshot(1, '5', ['c/a']) });
  bench.tell({ type: 'unlisten', ask: 1 }).took('> 1 unlisten');
});

test('a listener that missed something asks for the whole', () => {
  const bench = new Bench().listen(1).opened().frame(snapshot(1, '5', ['c/a'])).skip();
  bench.frame(snapshot(1, '7', ['c/c'], { before: 4 })).took('> 1 unlisten', '> 2 listen path=c query={"limit":"all"}');
  bench.frame(snapshot(2, '8', ['c/b', 'c/c'])).took('1 hears @8 [c/b,c/c] removed c/a 0 -1 added c/b -1 0 added c/c -1 1');
  for (let id = 2; id < 5; id++) bench.frame(snapshot(id, '9', ['c/c'], { before: 7 }));
  bench.skip().frame(snapshot(5, '9', ['c/c'], { before: 7 })).took('> 5 unlisten', '1 fails: data-loss');
});

test('a commit is sent again with its key until it is answered', () => {
  const bench = new Bench();
  const request = /** @type {const} */ ({ kind: 'commit', writes: [{ delete: 'c/a' }], key: 'k' });
  bench.tell({ type: 'request', ask: 1, request: { ...request, writes: [...request.writes] } }).opened();
  bench.took('open websocket', '> 1 commit writes=[{"delete":"c/a"}] key=k');
  bench.lost().opened().took('open sse', '> 2 commit writes=[{"delete":"c/a"}] key=k');
  bench.frame({ id: 1, ev: 'committed', version: '3' }).took();
  bench.frame({ id: 2, ev: 'committed', version: '7' }).took('1 committed @7');
  bench.frame({ id: 2, ev: 'committed', version: '7' }).took();
});

test('on a new link listeners come before commits, so that answers follow snapshots', () => {
  const bench = new Bench().tell({ type: 'request', ask: 1, request: { kind: 'commit', writes: [], key: 'k' } }).listen(2);
  bench.opened().took('open websocket', '> 1 listen path=c query={"limit":"all"}', '> 2 commit writes=[] key=k');
});

test('what the server puts off is tried again, what it refuses is not', () => {
  const bench = new Bench().tell({ type: 'request', ask: 1, request: { kind: 'commit', writes: [], key: 'k' } }).opened().skip();
  bench.frame(problem(1, 'unavailable')).took();
  bench.wake().took('> 2 commit writes=[] key=k');
  bench.frame(problem(2, 'permission-denied')).took('1 fails: permission-denied');
});

test('a problem ends the listener and leaves the others', () => {
  const bench = new Bench().listen(1).listen(2).listen(3, 'd').opened().skip();
  bench.frame(problem(1, 'permission-denied')).took('1 fails: permission-denied', '2 fails: permission-denied');
  bench.frame(snapshot(2, '5', ['d/a'])).took('3 hears @5 [d/a] added d/a -1 0');
  bench.listen(4).took('> 3 listen path=c query={"limit":"all"}');
});

test('a result in parts is put together, and begins anew on a new link', () => {
  const bench = new Bench().tell({ type: 'request', ask: 1, request: { kind: 'get', path: 'c' } }).opened().skip();
  bench.frame({ id: 1, ev: 'result', version: '5', docs: [docOf('c/a')], part: 1, more: true }).took();
  bench.lost().wake().opened().skip();
  bench.frame({ id: 2, ev: 'result', version: '6', docs: [docOf('c/b')], part: 1, more: true });
  bench.frame({ id: 2, ev: 'result', version: '6', docs: [docOf('c/c')], part: 2, more: false }).took('1 reads [c/b,c/c]');
});

test('the ladder goes down when a transport never says a word', () => {
  const bench = new Bench().listen(1).took('open websocket');
  bench.lost().took('open sse');
  bench.lost().took('open poll');
  bench.lost().took();
  bench.wake().took('open websocket');
  bench.pass(OPEN_MS_MAX_OF_FIRST).took('close 1000', 'open sse');
  bench.opened().frame(snapshot(1, '5', [])).skip();
  // What has worked is tried first, and given up only after failing again and again.
  bench.lost().wake().took('open sse').lost().wake().took('open sse').lost().wake().took('open sse').lost();
  bench.wake().took('open websocket');
});

test('a pinned transport is the only one', () => {
  const bench = new Bench({ transports: ['poll'] }).listen(1).took('open poll');
  bench.lost().took().wake().took('open poll');
});

test('a socket that opens but lets nothing through is no connection', () => {
  const bench = new Bench().listen(1).opened().skip();
  bench.lost().took('open sse');
});

test('waiting grows from a quarter of a second to eight and starts again once the server spoke', () => {
  const bench = new Bench({ transports: ['websocket'] }).listen(1);
  const waits = Array.from({ length: 8 }, () => {
    bench.lost();
    const ms = Number(bench.session.wakeAt) - bench.now;
    bench.wake();
    return ms;
  });
  assert.deepEqual(waits, [250, 500, 1_000, 2_000, 4_000, 8_000, 8_000, 8_000]);
  bench.opened().frame(snapshot(1, '5', [])).lost();
  assert.equal(Number(bench.session.wakeAt) - bench.now, 250);
  for (const random of [() => 0, () => 1]) {
    const other = new Bench({ transports: ['websocket'], random }).listen(1).lost();
    const ms = Number(other.session.wakeAt) - other.now;
    assert.ok(ms >= 200 && ms <= 300);
  }
  assert.ok(BACKOFF_MS_MAX * 1.2 < 10_000);
});

test('a restart of the server is met within a second, spread out', () => {
  const bench = new Bench({ random: () => 0.9 }).listen(1).opened().frame(snapshot(1, '5', [])).skip();
  bench.lost(1012);
  assert.equal(Number(bench.session.wakeAt) - bench.now, 900);
});

test('coming online or into view ends the waiting', () => {
  const bench = new Bench({ transports: ['websocket'] }).listen(1).lost().skip();
  bench.tell({ type: 'online' }).took('open websocket');
  bench.opened().frame(snapshot(1, '5', [])).skip();
  bench.tell({ type: 'online' }).took('> 0 ping');
});

test('silence is probed, and a probe without answer ends the link', () => {
  const bench = new Bench().listen(1).opened().frame(snapshot(1, '5', [])).skip();
  bench.pass(SILENCE_MS_MAX - 1).took();
  bench.pass(1).took('> 0 ping');
  bench.frame({ id: 0, ev: 'pong' }).pass(PONG_MS_MAX).took();
  bench.pass(SILENCE_MS_MAX - PONG_MS_MAX).took('> 0 ping');
  bench.pass(PONG_MS_MAX).took('close 1000');
  bench.wake().took('open websocket');
});

test('a sign of life that is no message puts off the probe', () => {
  const bench = new Bench().listen(1).opened().frame(snapshot(1, '5', [])).skip();
  bench.pass(SILENCE_MS_MAX - 1).tell({ type: 'alive', link: bench.link }).pass(SILENCE_MS_MAX - 1).took();
});

test('garbage ends the link, and it is opened again', () => {
  const bench = new Bench().listen(1).opened().frame(snapshot(1, '5', ['c/a'])).skip();
  bench.tell({ type: 'garbage', link: bench.link }).took('close 1002');
  bench.wake().opened().took('open websocket', '> 2 listen path=c query={"limit":"all"} since=t5');
});

test('a connection that nobody needs is closed, and opened when somebody does', () => {
  const bench = new Bench().listen(1).opened().frame(snapshot(1, '5', [])).tell({ type: 'unlisten', ask: 1 }).skip();
  bench.pass(IDLE_MS_MAX).took('close 1000');
  assert.equal(bench.session.wakeAt, null);
  bench.listen(2).took('open websocket');
});

test('a read without connection fails in time, a commit waits', () => {
  const bench = new Bench({ transports: ['websocket'] });
  bench.tell({ type: 'request', ask: 1, request: { kind: 'get', path: 'c/a' } });
  bench.tell({ type: 'request', ask: 2, request: { kind: 'commit', writes: [], key: 'k' } }).lost().skip();
  bench.pass(READ_WAIT_MS_MAX).took('1 fails: unavailable', 'open websocket');
  bench.opened().took('> 1 commit writes=[] key=k');
});

test('on a WebSocket the token is the first message and the rest waits for it', () => {
  const bench = new Bench({ token: 'T' }).listen(1).opened().took('open websocket as T', '> 1 auth token=T');
  bench.frame({ id: 1, ev: 'authed', uid: 'ada' }).took('> 2 listen path=c query={"limit":"all"}');
});

test('links over HTTP carry the token in their requests', () => {
  const bench = new Bench({ transports: ['sse'], token: 'T' }).listen(1).opened();
  bench.took('open sse as T', '> 1 listen path=c query={"limit":"all"}');
});

test('a refused token is renewed once, then everyone hears of it', () => {
  const bench = new Bench({ token: 'T' }).listen(1).tell({ type: 'request', ask: 2, request: { kind: 'commit', writes: [], key: 'k' } });
  bench.opened().frame({ id: 1, ev: 'authed' }).skip();
  bench.token = 'U';
  bench.lost(4401).took('refresh', 'open websocket as U');
  bench.opened().took('> 4 auth token=U');
  bench.frame(problem(4, 'unauthenticated')).took('close 1000', '2 fails: unauthenticated', '1 fails: unauthenticated');
  bench.listen(3).took('open websocket as U');
});

test('when there is no other token a refusal is final', () => {
  const bench = new Bench({ token: 'T' }).listen(1).opened().frame({ id: 1, ev: 'authed' }).skip();
  bench.lost(4401).took('refresh', '1 fails: unauthenticated');
  const nobody = new Bench().listen(1).opened().skip();
  nobody.lost(4401).took('1 fails: unauthenticated');
});

test('a token that is about to expire is replaced on the open connection', () => {
  const bench = new Bench({ token: 'T' }).listen(1).opened().frame({ id: 1, ev: 'authed' }).frame(snapshot(2, '5', [])).skip();
  bench.token = 'U';
  bench.frame({ id: 0, ev: 'expiring', expires: 1 }).took('refresh', '> 3 auth token=U');
  bench.frame({ id: 3, ev: 'authed' }).took();
});

test('a token that cannot be fetched is tried again', () => {
  const bench = new Bench();
  bench.token = undefined;
  bench.listen(1).tell({ type: 'token-failed' }).took();
  bench.token = 'T';
  bench.wake().took('open websocket as T');
});

test('a refusal of the server ends all and is told', () => {
  const bench = new Bench().listen(1).listen(2, 'd').opened().skip();
  bench.lost(1008).took('1 fails: permission-denied', '2 fails: permission-denied');
  assert.equal(bench.session.wakeAt, null);
});

test('a database that is not there ends all and is told, on whatever link', () => {
  for (const transport of /** @type {Transport[]} */ (['websocket', 'sse', 'poll'])) {
    const bench = new Bench({ transports: [transport] }).listen(1).tell({ type: 'request', ask: 2, request: { kind: 'get', path: 'c/a' } });
    bench.skip().lost(4404).took('2 fails: not-found', '1 fails: not-found');
    assert.equal(bench.session.wakeAt, null);
    bench.listen(3).took(`open ${transport}`);
  }
});

test('a write that is too large fails alone', () => {
  const commit = (/** @type {string} */ text) => /** @type {const} */ ({ kind: 'commit', writes: [{ set: 'c/a', data: { text } }], key: 'k' });
  const bench = new Bench().listen(1).opened().frame(snapshot(1, '5', [])).skip();
  for (const [ask, text] of /** @type {[number, string][]} */ ([[2, 'x'], [3, 'x'.repeat(99)], [4, 'x']])) {
    const { kind, writes, key } = commit(text);
    bench.tell({ type: 'request', ask, request: { kind, writes: [...writes], key } });
  }
  bench.skip().lost(1009).took('3 fails: invalid-argument');
  bench.wake().opened();
  assert.deepEqual(bench.sent.map(({ op }) => op), ['listen', 'commit', 'commit']);
});

test('a terminated client is silent and takes nothing more', () => {
  const bench = new Bench().listen(1).tell({ type: 'request', ask: 2, request: { kind: 'get', path: 'c/a' } }).opened().skip();
  bench.tell({ type: 'terminate' }).took('close 1000', '2 fails: cancelled');
  bench.frame(snapshot(1, '5', ['c/a'])).took();
  bench.listen(3).took('3 fails: failed-precondition');
  assert.equal(bench.session.wakeAt, null);
});

test('aggregates are told when they change and not when they are the same after a resume', () => {
  const numbers = (/** @type {number} */ id, /** @type {string} */ version, /** @type {number} */ count) =>
    /** @type {ServerMessage} */ ({ id, ev: 'snapshot', version, token: `t${version}`, aggregates: { count } });
  const bench = new Bench().listen(1).opened().skip();
  bench.frame(numbers(1, '5', 3)).took('1 hears @5 [{"count":3}]');
  bench.lost().wake().opened().skip().frame(numbers(2, '5', 3)).took();
  bench.frame(numbers(2, '6', 4)).took('1 hears @6 [{"count":4}]');
});

test('whenever the connection drops, a listener hears every commit once and in order', () => {
  for (let seed = 0; seed < 500; seed++) {
    const random = randomOf(seed);
    const bench = new Bench({ random }).listen(1);
    /** @type {string[]} */
    const heard = [];
    // The server: commit n adds the document n at the end; the version of commit n is 100 + n.
    let commits = 0;
    let told = 0;
    let id = 0;
    bench.take = (take => (/** @type {Output} */ output) => {
      if (output.type === 'snapshot') for (const change of output.snapshot.changes) heard.push(`${change.type} ${change.doc.path}`);
      if (output.type === 'open') id = 0;
      if (output.type === 'send' && output.message.op === 'listen') {
        id = output.message.id;
        told = output.message.since === undefined ? -1 : Number(output.message.since.slice(1)) - 100;
      }
      take.call(bench, output);
    })(bench.take);
    for (let step = 0; step < 40 || heard.length < commits; step++) {
      switch (upTo(random, 6)) {
        case 0:
          if (step < 40) commits++;
          break;
        case 1:
          if (step < 40) bench.lost();
          break;
        case 2:
          if (step < 40) bench.tell({ type: 'garbage', link: bench.link });
          break;
        case 3: bench.wake(); break;
        case 4: bench.opened(); break;
        default: {
          if (id === 0 || (told === commits && told >= 0)) break;
          const paths = Array.from({ length: commits - Math.max(told, 0) }, (_, at) => `c/${Math.max(told, 0) + at}`);
          const event = snapshot(id, String(100 + commits), paths, { before: Math.max(told, 0) });
          told = commits;
          const cut = upTo(random, 4);
          if (cut === 0) bench.lost(); // it was sent, and never came
          else bench.frame(event);
          if (cut === 1) bench.frame(event); // it came twice
        }
      }
    }
    assert.deepEqual(heard, Array.from({ length: commits }, (_, at) => `added c/${at}`), `seed ${seed}`);
  }
});
