// The golden cases of the server, `tests/golden/**/*.case`, played from JavaScript against the real server; the format stands in
// `tests/golden/main.rs`. What comes over the WebSocket also goes through what this client reads messages, values and events with.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync, readdirSync } from 'node:fs';
import { request } from 'node:http';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { WebSocket } from 'ws';

import { getFirestore, initializeApp } from '../hearth.js';
import { fold } from '../src/listen/view.js';
import { readMessage } from '../src/wire/message.js';
import { decodeFields, encodeFields } from '../src/wire/value.js';
import { Hearth } from './hearth.js';

/** @typedef {import('../src/wire/message.js').WireDocument} WireDocument */

const folder = fileURLToPath(new URL('../../../tests/golden', import.meta.url));
const shown = ['Allow', 'Content-Type', 'ETag', 'Link', 'Location', 'Preference-Applied', 'WWW-Authenticate'];
const db = getFirestore(initializeApp({ host: 'localhost:1' }));

/** Names for what differs from run to run. */
class Names {
  /** What has a name, in the order in which it is looked for: its kind, and where it stands. */
  static kinds = /** @type {const} */ ([
    ['v', /\b(1[0-9]{15})\b/g],
    ['e', /^ETag: W\/"([^"]+)"$/gm],
    ['t', /"token":"([\w-]+)"/g],
    ['t', /^id: ([\w-]{20,})$/gm],
    ['link', /"link":"([\w-]+)"/g],
    ['ticket', /"ticket":"([\w.-]+)"/g],
    ['id', /\/([A-Za-z0-9]{20})\b/g],
    ['seconds', /\b(1[0-9]{9})\b/g],
  ]);
  /** @type {Map<string, Map<string, string>>} by kind: what it is really, and its name */
  #given = new Map();

  /** @param {string} source what stands in the case itself needs no name */
  constructor(source) {
    this.source = source;
  }

  /** @param {string} text of an answer */
  give(text) {
    text = text.replaceAll(/"(request|micros)":("[^"]*"|[0-9]+)/g, '"$1":"…"');
    for (const [kind, pattern] of Names.kinds) {
      text = this.#replace(kind, pattern, text);
      for (const [value, name] of this.#of(kind)) if (value.length >= 16) text = text.replaceAll(value, name);
    }
    return this.#replace('time', /"\$timestamp":"([^"]+)"/g, text);
  }

  /** @param {string} text of a request */
  fill(text) {
    const named = [...this.#given.values()].flatMap(given => [...given]).sort(([, a], [, b]) => b.length - a.length);
    for (const [value, name] of named) text = text.replaceAll(`$${name}`, () => value);
    return text;
  }

  /** @param {string} kind */
  #of(kind) {
    const given = this.#given.get(kind) ?? new Map();
    this.#given.set(kind, given);
    return given;
  }

  /**
   * @param {string} kind
   * @param {RegExp} pattern
   * @param {string} text
   */
  #replace(kind, pattern, text) {
    const given = this.#of(kind);
    return text.replaceAll(pattern, (/** @type {string} */ whole, /** @type {string} */ value) => {
      if (this.source.includes(value)) return whole;
      if (!given.has(value)) given.set(value, `${kind}${given.size + 1}`);
      return whole.replaceAll(value, given.get(value));
    });
  }
}

/** The one WebSocket of a case. */
class Socket {
  /** @type {string[]} */
  #texts = [];
  /** @type {(() => void) | null} */
  #wake = null;
  /** @type {Map<number, readonly WireDocument[]>} what each listener knows */
  #known = new Map();

  /** @param {string} host */
  constructor(host) {
    this.inner = new WebSocket(`${host.replace('http', 'ws')}/db`, 'hearth.v1');
    this.inner.on('message', data => {
      this.#texts.push(String(data));
      this.#wake?.();
    });
  }

  /** @returns {Promise<string>} */
  async #next() {
    while (this.#texts.length === 0) await new Promise(resolve => (this.#wake = () => resolve(null)));
    return /** @type {string} */ (this.#texts.shift());
  }

  /**
   * Sends a message and takes what comes up to its answer.
   *
   * @param {string} text
   */
  async ask(text) {
    if (this.inner.readyState === WebSocket.CONNECTING) await once(this.inner, 'open');
    const sent = JSON.parse(text);
    this.inner.send(text);
    const isSilent = sent.op === 'unlisten';
    if (isSilent) this.inner.send('{"id":0,"op":"ping"}');
    const lines = [];
    for (;;) {
      const line = await this.#next();
      const told = JSON.parse(line);
      this.#check(line);
      if (isSilent && told.ev === 'pong') break;
      lines.push(line);
      if (!isSilent && told.id === sent.id && told.more !== true) break;
    }
    return lines.join('\n');
  }

  /** @param {string} line */
  #check(line) {
    const message = readMessage(line);
    assert.ok(message, line);
    if (message.ev === 'result') message.docs?.forEach(checkDocument);
    if (message.ev !== 'snapshot' || !message.changes) return;
    const begins = message.reset && (message.part ?? 1) === 1;
    const before = begins ? [] : this.#known.get(message.id) ?? [];
    const view = fold(before, message.changes);
    // A listener that resumes in a case of its own begins in the middle: what it knew stands in no event of this connection.
    if (view) this.#known.set(message.id, view.docs);
    for (const change of message.changes) if (change.type !== 'removed') checkDocument(change.doc);
  }
}

/**
 * A document that is read and written again is the same.
 *
 * @param {WireDocument} doc
 */
function checkDocument(doc) {
  const data = decodeFields(doc.data, db);
  assert.deepEqual(decodeFields(encodeFields(data, db, 'set'), db), data);
}

/**
 * @param {string} host
 * @param {string} text of the step
 * @param {(text: string) => string} fill
 */
async function ask(host, text, fill) {
  const lines = text.split('\n').filter(line => !line.startsWith('#'));
  const [method = '', target = ''] = (lines.shift() ?? '').split(' ');
  /** @type {Record<string, string>} */
  const headers = {};
  while (/^[A-Z]/.test(lines[0] ?? '')) {
    const [name = '', value = ''] = fill(lines.shift() ?? '').split(/: (.*)/s);
    headers[name] = value;
  }
  const asking = request(host + fill(target), { method, headers, agent: false });
  asking.end(lines.length > 0 ? fill(lines.join('\n')) : undefined);
  const [answer] = /** @type {[import('node:http').IncomingMessage]} */ (await once(asking, 'response'));
  let out = `${answer.statusCode}\n`;
  for (const name of shown) {
    const value = answer.headers[name.toLowerCase()];
    if (value !== undefined && !(name === 'Content-Type' && value === 'application/json')) out += `${name}: ${value}\n`;
  }
  let body = '';
  answer.setEncoding('utf8');
  for await (const piece of answer) {
    body += piece;
    // Of a stream only up to its first event.
    const [event] = answer.headers['content-type']?.startsWith('text/event-stream') ? /^[^]*?\ndata:[^]*?\n\n/.exec(body) ?? [] : [];
    if (event !== undefined) {
      body = event;
      break;
    }
  }
  asking.destroy();
  return (out + body.split('\n').filter(line => line !== '').join('\n')).trimEnd();
}

const cases = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter(file => file.endsWith('.case')).sort();

test('there are cases', () => assert.ok(cases.length >= 10, String(cases)));

for (const file of cases) {
  test(`golden ${file.replace('.case', '')}`, { timeout: 60_000 }, async () => {
    const source = readFileSync(join(folder, file), 'utf8');
    const names = new Names(source);
    const settings = [...source.matchAll(/^# with (HEARTH_\w+)=(\S+)$/gm)].map(([, name = '', value = '']) => [name, value]);
    const hearth = await Hearth.startWith(Object.fromEntries(settings));
    /** @type {Socket | null} */
    let socket = null;
    try {
      const blocks = [];
      for (const block of source.trimEnd().split('\n\n')) {
        if (block.split('\n').every(line => line.startsWith('#'))) {
          blocks.push(block);
          continue;
        }
        const [step = ''] = block.split('\n----');
        const [, message] = /^ws (.*)$/m.exec(step) ?? [];
        socket ??= message === undefined ? null : new Socket(hearth.host);
        const answer = message === undefined ? await ask(hearth.host, step, text => names.fill(text)) : await socket?.ask(names.fill(message)) ?? '';
        blocks.push(`${step}\n----\n${names.give(answer)}`.trimEnd());
      }
      assert.deepEqual(`${blocks.join('\n\n')}\n`.split('\n'), source.split('\n'));
    } finally {
      socket?.inner.terminate();
      await hearth.stop();
    }
  });
}
