// The shell of the session, with a socket and a network that are made up.

import assert from 'node:assert/strict';
import { afterEach, test } from 'node:test';

import { Connection } from '../src/connection.js';

/** @typedef {import('../src/errors.js').HearthError} HearthError */

/** A socket that does what the test says. */
class Socket {
  /** @type {Socket[]} */
  static made = [];
  readyState = 0;
  /** @type {string[]} */
  sent = [];
  /** @type {Map<string, ((event: any) => void)[]>} */
  #heard = new Map();

  /** @param {string} address */
  constructor(address) {
    this.address = address;
    Socket.made.push(this);
  }

  /**
   * @param {string} type
   * @param {(event: any) => void} heard
   */
  addEventListener(type, heard) {
    this.#heard.set(type, [...(this.#heard.get(type) ?? []), heard]);
  }

  /** @param {string} text */
  send(text) {
    this.sent.push(text);
  }

  close() {
    this.readyState = 3;
  }

  /**
   * @param {string} type
   * @param {object} [event]
   */
  happen(type, event = {}) {
    if (type === 'open') this.readyState = 1;
    for (const heard of this.#heard.get(type) ?? []) heard(event);
  }
}

/** @type {Connection | undefined} */
let connection;
/** @type {(() => void)[]} */
let undo = [];

afterEach(() => {
  connection?.terminate();
  undo.forEach(act => act());
  undo = [];
  Socket.made = [];
});

/** Until what was said in this turn has been heard. */
const turn = () => new Promise(resolve => setImmediate(resolve));

/** @param {Partial<import('../src/firestore.js').AppOptions>} [options] */
async function listening(options = {}) {
  connection = new Connection({ host: 'http://h.example', project: 'shop', webSocket: Socket, transport: 'websocket', ...options });
  /** @type {HearthError[]} */
  const errors = [];
  connection.listen('c', undefined, { next: () => {}, error: error => errors.push(error) });
  await turn();
  const socket = /** @type {Socket} */ (Socket.made[0]);
  return { socket, errors };
}

/** @param {string[]} sent */
const ops = sent => sent.map(text => JSON.parse(text).op);

test('a network that is said to be gone, and one that is back, are asked whether they are', async () => {
  /** @type {Map<string, () => void>} */
  const heard = new Map();
  const page = /** @type {any} */ (globalThis);
  const before = { add: page.addEventListener, remove: page.removeEventListener };
  page.addEventListener = (/** @type {string} */ type, /** @type {() => void} */ act) => heard.set(type, act);
  page.removeEventListener = (/** @type {string} */ type) => heard.delete(type);
  undo.push(() => Object.assign(page, { addEventListener: before.add, removeEventListener: before.remove }));
  const { socket, errors } = await listening();
  socket.happen('open');
  await turn();
  assert.deepEqual(ops(socket.sent), ['listen']);
  heard.get('offline')?.();
  assert.deepEqual(ops(socket.sent), ['listen', 'ping'], 'the link is probed');
  heard.get('offline')?.();
  assert.deepEqual(ops(socket.sent), ['listen', 'ping'], 'one probe at a time');
  socket.happen('message', { data: '{"id":0,"ev":"pong"}' });
  heard.get('online')?.();
  assert.deepEqual(ops(socket.sent), ['listen', 'ping', 'ping']);
  assert.deepEqual([Socket.made.length, errors.length], [1, 0], 'and is not given up');
  connection?.terminate();
  assert.equal(heard.size, 0);
});

/**
 * @param {number} status
 * @param {string} type
 * @param {unknown} body
 */
const answers = (status, type, body) => {
  /** @type {string[]} */
  const asked = [];
  /** @type {typeof fetch} */
  const send = async (address, init) => {
    asked.push(`${init?.method} ${String(address)} ${new Headers(init?.headers).get('Authorization')}`);
    return new Response(JSON.stringify(body), { status, headers: { 'Content-Type': type } });
  };
  return { asked, fetch: send };
};
const unknown = { code: 'not-found', detail: 'there is no project "shop" here', status: 404 };

test('a database that is not there ends the listeners with the reason, though a handshake tells none', async () => {
  const server = answers(404, 'application/problem+json', unknown);
  const { socket, errors } = await listening({ fetch: server.fetch, token: 't' });
  assert.equal(socket.address, 'ws://h.example/p/shop/db');
  socket.happen('close', { code: 1006, reason: '' });
  await turn();
  assert.deepEqual(server.asked, ['GET http://h.example/p/shop/db Bearer t']);
  assert.deepEqual(errors.map(({ code, message }) => [code, message]), [['not-found', 'there is no project "shop" here']]);
  await turn();
  assert.equal(Socket.made.length, 1, 'it is not tried again');
});

for (const transport of /** @type {const} */ (['sse', 'poll'])) {
  test(`the same over ${transport}`, async () => {
    const server = answers(404, 'application/problem+json', unknown);
    const { errors } = await listening({ fetch: server.fetch, transport });
    await turn();
    assert.deepEqual(server.asked, ['POST http://h.example/p/shop/links null']);
    assert.deepEqual(errors.map(error => error.code), ['not-found']);
  });
}

test('what somebody on the way cannot find, and a server that is gone, are tried again', async () => {
  for (const server of [answers(404, 'text/html', 'no'), answers(200, 'application/json', {}), answers(503, 'application/json', {})]) {
    const { socket, errors } = await listening({ fetch: server.fetch });
    socket.happen('close', { code: 1006, reason: '' });
    await turn();
    assert.deepEqual([server.asked.length, errors.length], [1, 0]);
    connection?.terminate();
    Socket.made = [];
  }
});

test('how JSON is read may be said', async () => {
  /** @type {string[]} */
  const read = [];
  const { socket } = await listening({ parse: text => (read.push(text), JSON.parse(text)) });
  socket.happen('open');
  await turn();
  socket.happen('message', { data: '{"id":0,"ev":"pong"}' });
  assert.deepEqual(read, ['{"id":0,"ev":"pong"}']);
});
