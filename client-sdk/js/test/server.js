// A small server that speaks `docs/links.md`, to try the links on real sockets. It keeps everything in memory, knows few
// operators and can be told to misbehave. It is no model of Hearth: that is for the tests against the real one.

import { randomUUID } from 'node:crypto';
import { createServer } from 'node:http';

import { WebSocketServer } from 'ws';

import { difference } from '../src/listen/view.js';

/** @typedef {import('../src/wire/message.js').ClientMessage} ClientMessage */
/** @typedef {import('../src/wire/message.js').WireDocument} WireDocument */
/** @typedef {import('../src/wire/message.js').JsonMap} JsonMap */
/** @typedef {import('node:http').IncomingMessage} Incoming */
/** @typedef {import('node:http').ServerResponse} Answer */
/** @typedef {{ version: number, docs: ReadonlyMap<string, WireDocument> }} State */
/** @typedef {{ send(message: object): void, end(code: number): void }} Way */

/** One connection of a client, whatever the link. */
class Peer {
  /** @type {Map<number, { path: string, query: JsonMap | undefined, docs: WireDocument[], count: number }>} */
  listens = new Map();
  /** @type {string | null} */
  token = null;

  /**
   * @param {Server} server
   * @param {Way} way
   */
  constructor(server, way) {
    this.server = server;
    this.way = way;
  }

  /** @param {ClientMessage} message */
  take(message) {
    const { server } = this;
    server.log.push(message);
    switch (message.op) {
      case 'ping': return this.way.send({ id: 0, ev: 'pong' });
      case 'unlisten': return void this.listens.delete(message.id);
      case 'auth':
        if (!server.tokens.has(message.token)) return this.way.end(4401);
        this.token = message.token;
        return this.way.send({ id: message.id, ev: 'authed', uid: message.token });
    }
    if (server.tokens.size > 0 && this.token === null) {
      return this.way.send({ id: message.id, ev: 'problem', problem: { code: 'permission-denied', detail: 'who are you' } });
    }
    switch (message.op) {
      case 'listen': return this.listen(message);
      case 'get': {
        const state = server.at(message.at) ?? server.now;
        const docs = run(state, message.path, message.query);
        const answer = message.query?.['aggregates'] ? { aggregates: { count: docs.length } } : { docs, size: docs.length };
        return this.way.send({ id: message.id, ev: 'result', version: String(state.version), token: `t${state.version}`, ...answer });
      }
      case 'commit': {
        const answer = server.commit(message.writes, message.reads, message.key);
        return this.way.send({ id: message.id, ...answer });
      }
    }
  }

  /** @param {Extract<ClientMessage, { op: 'listen' }>} message */
  listen({ id, path, query, since }) {
    const { now } = this.server;
    if (path.startsWith('secret')) {
      return this.way.send({ id, ev: 'problem', problem: { code: 'permission-denied', detail: 'a secret' } });
    }
    const docs = run(now, path, query);
    this.listens.set(id, { path, query, docs, count: docs.length });
    const base = { id, ev: 'snapshot', version: String(now.version), token: `t${now.version}` };
    if (query?.['aggregates']) return this.way.send({ ...base, aggregates: { count: docs.length } });
    const known = since === undefined ? undefined : this.server.at(since.slice(1));
    if (since !== undefined && !known) this.server.resets++;
    const changes = difference(known ? run(known, path, query) : [], docs);
    const reset = since !== undefined && !known;
    if (changes.length < 3) return this.way.send({ ...base, reset, size: docs.length, changes: changes.map(wireChange) });
    const [first, rest] = [changes.slice(0, 2), changes.slice(2)];
    this.way.send({ ...base, token: undefined, reset, changes: first.map(wireChange), part: 1, more: true });
    this.way.send({ ...base, reset, size: docs.length, changes: rest.map(wireChange), part: 2, more: false });
  }

  tell() {
    const { now } = this.server;
    for (const [id, listen] of this.listens) {
      const docs = run(now, listen.path, listen.query);
      const changes = difference(listen.docs, docs);
      const counted = docs.length !== listen.count;
      Object.assign(listen, { docs, count: docs.length });
      const base = { id, ev: 'snapshot', version: String(now.version), token: `t${now.version}` };
      if (listen.query?.['aggregates']) {
        if (counted) this.way.send({ ...base, aggregates: { count: docs.length } });
      } else if (changes.length > 0) {
        this.way.send({ ...base, reset: false, size: docs.length, changes: changes.map(wireChange) });
      }
    }
  }
}

/** The database and its port. */
export class Server {
  /** @type {State[]} */
  history = [{ version: 1_000_000, docs: new Map() }];
  /** @type {Set<Peer>} */
  peers = new Set();
  /** @type {Map<string, object>} answers by commit key */
  keys = new Map();
  /** Tokens that are accepted; with none, nobody is asked. */
  tokens = new Set();
  /** @type {ClientMessage[]} all that was received */
  log = [];
  resets = 0;
  /** Connections that were opened since the start. */
  opened = 0;
  /** @type {Set<string>} transports that do not get through */
  blocked = new Set();
  /** How many of the next answers to requests into a link are lost after they were carried out. */
  loseAnswers = 0;
  /** How many of the next commits are carried out, whereupon the connection is lost. */
  loseCommits = 0;
  port = 0;
  /** @type {Map<string, Link>} */
  links = new Map();

  get now() {
    return /** @type {State} */ (this.history.at(-1));
  }

  get host() {
    return `http://127.0.0.1:${this.port}`;
  }

  /** @param {string | undefined} version */
  at(version) {
    return this.history.find(state => String(state.version) === version);
  }

  async start() {
    this.http = createServer((request, answer) => void this.serve(request, answer));
    const sockets = new WebSocketServer({ noServer: true });
    this.http.on('upgrade', (request, socket, head) => {
      if (this.blocked.has('websocket') || request.url !== '/db') return socket.destroy();
      sockets.handleUpgrade(request, socket, head, ws => this.greet(ws));
    });
    await new Promise(done => this.http?.listen(this.port, '127.0.0.1', () => done(null)));
    this.port = /** @type {import('node:net').AddressInfo} */ (this.http.address()).port;
    return this;
  }

  /** Cuts every connection and takes no more until `start`. */
  async stop() {
    this.drop();
    const closed = new Promise(done => this.http?.close(done));
    this.http?.closeAllConnections();
    await closed;
  }

  /** @param {number} [code] without it the network is cut */
  drop(code) {
    for (const peer of [...this.peers]) peer.way.end(code ?? 0);
  }

  /** @param {import('ws').WebSocket} ws */
  greet(ws) {
    const peer = this.join({
      send: message => ws.send(JSON.stringify(message)),
      end: code => {
        this.peers.delete(peer);
        if (code === 0) ws.terminate();
        else ws.close(code);
      },
    });
    ws.on('message', data => peer.take(JSON.parse(String(data))));
    ws.on('close', () => this.peers.delete(peer));
  }

  /** @param {Way} way */
  join(way) {
    const peer = new Peer(this, way);
    this.peers.add(peer);
    this.opened++;
    return peer;
  }

  /**
   * @param {JsonMap[]} writes
   * @param {{ [path: string]: string | null }} [reads]
   * @param {string} [key]
   * @returns {object} `committed` or `problem`, without an id
   */
  commit(writes, reads = {}, key) {
    const known = key === undefined ? undefined : this.keys.get(key);
    if (known) return known;
    const { docs: before } = this.now;
    for (const [path, version] of Object.entries(reads)) {
      if ((before.get(path)?.updated ?? null) !== version) return { ev: 'problem', problem: { code: 'aborted', detail: `${path} has changed` } };
    }
    const version = this.now.version + 1;
    const docs = new Map(before);
    for (const write of writes) {
      const path = String(write['set'] ?? write['create'] ?? write['update'] ?? write['delete']);
      const old = docs.get(path);
      if (write['delete']) {
        docs.delete(path);
        continue;
      }
      if (write['update'] && !old) return { ev: 'problem', problem: { code: 'not-found', detail: `no document at ${path}` } };
      const keeps = write['update'] || write['merge'];
      const data = Object.fromEntries(Object.entries(/** @type {JsonMap} */ (write['data'])).map(([name, value]) => [name, settle(value, old?.data[name], version)]));
      docs.set(path, {
        path, data: keeps ? { ...old?.data, ...data } : data, created: old?.created ?? String(version), updated: String(version),
      });
    }
    this.history.push({ version, docs });
    const answer = { ev: 'committed', version: String(version), results: [] };
    if (key !== undefined) this.keys.set(key, answer);
    if (this.loseCommits > 0) {
      this.loseCommits--;
      this.drop();
    }
    for (const peer of this.peers) peer.tell();
    return answer;
  }

  /**
   * @param {Incoming} request
   * @param {Answer} answer
   */
  async serve(request, answer) {
    let text = '';
    for await (const piece of request) text += piece;
    const [, place, id = ''] = (request.url ?? '').split('/');
    if (place !== 'links') return refuse(answer, 404);
    const token = request.headers.authorization?.replace('Bearer ', '') ?? null;
    if (this.tokens.size > 0 && !this.tokens.has(token)) return refuse(answer, 401);
    if (id === '') return this.openLink(request, answer, token);
    const link = this.links.get(id);
    if (!link) return refuse(answer, 404);
    if (request.method === 'DELETE') {
      link.end(1000);
      return refuse(answer, 204);
    }
    link.take(JSON.parse(text));
    if (this.loseAnswers > 0) {
      this.loseAnswers--;
      answer.destroy();
    } else if (request.headers.prefer === undefined) {
      answer.writeHead(202).end();
    } else {
      link.poll(JSON.parse(text).ack, answer);
    }
  }

  /**
   * @param {Incoming} request
   * @param {Answer} answer
   * @param {string | null} token
   */
  openLink(request, answer, token) {
    const kind = request.headers.prefer ? 'poll' : 'sse';
    if (this.blocked.has(kind)) return void answer.destroy();
    const link = new Link(this, kind === 'sse' ? answer : null);
    link.peer.token = token;
    this.links.set(link.id, link);
    if (kind === 'poll') {
      answer.writeHead(201, { 'Content-Type': 'application/json' }).end(JSON.stringify({ link: link.id, frames: [] }));
      return;
    }
    answer.writeHead(200, { 'Content-Type': 'text/event-stream' });
    answer.write(`: hearth\n\nid: 0\ndata: ${JSON.stringify({ id: 0, ev: 'link', link: link.id })}\n\n`);
    answer.on('close', () => link.end(0));
  }
}

class Link {
  id = randomUUID();
  numberLast = 0;
  acked = 0;
  /** @type {object[]} frames that were not acknowledged */
  frames = [];
  /** @type {Answer | null} */
  held = null;
  /** @type {number | null} */
  code = null;

  /**
   * @param {Server} server
   * @param {Answer | null} stream
   */
  constructor(server, stream) {
    this.server = server;
    this.stream = stream;
    this.peer = server.join({ send: message => this.send(message), end: code => this.end(code) });
  }

  /** @param {{ send?: { n: number, m: ClientMessage }[] }} body */
  take({ send = [] }) {
    for (const { n, m } of send) {
      if (n <= this.numberLast) continue;
      if (n !== this.numberLast + 1) throw new Error(`message ${n} after ${this.numberLast}`);
      this.numberLast = n;
      this.peer.take(m);
    }
  }

  /** @param {object} message */
  send(message) {
    this.frames.push(message);
    if (this.stream) this.stream.write(`id: ${this.frames.length}\ndata: ${JSON.stringify(message)}\n\n`);
    // What is said in one go is answered in one go.
    else setImmediate(() => this.release());
  }

  /**
   * @param {number} ack
   * @param {Answer} answer
   */
  poll(ack, answer) {
    if (ack < this.acked || ack > this.acked + this.frames.length) throw new Error(`ack ${ack}`);
    this.frames.splice(0, ack - this.acked);
    this.acked = ack;
    this.held?.end(JSON.stringify({ from: ack + 1, frames: [] }));
    this.held = answer;
    this.release();
  }

  release() {
    if (!this.held || (this.frames.length === 0 && this.code === null)) return;
    const close = this.code === null ? {} : { close: { code: this.code } };
    const { held } = this;
    this.held = null;
    if (this.server.loseAnswers > 0) {
      this.server.loseAnswers--;
      held.destroy();
      return;
    }
    held.end(JSON.stringify({ from: this.acked + 1, frames: this.frames, ...close }));
  }

  /** @param {number} code */
  end(code) {
    this.server.peers.delete(this.peer);
    if (this.code !== null) return;
    this.code = code;
    if (code === 0) {
      this.server.links.delete(this.id);
      this.held?.destroy();
      this.stream?.destroy();
      return;
    }
    this.stream?.end(`event: close\ndata: ${JSON.stringify({ code })}\n\n`);
    this.release();
  }
}

/**
 * @param {Answer} answer
 * @param {number} status
 */
function refuse(answer, status) {
  answer.writeHead(status).end();
}

/** @param {import('../src/listen/view.js').Change} change */
function wireChange({ type, doc, from, to }) {
  return { type, doc: type === 'removed' ? { path: doc.path } : doc, from, to };
}

/**
 * @param {unknown} value
 * @param {unknown} old
 * @param {number} version
 */
function settle(value, old, version) {
  if (typeof value !== 'object' || value === null) return value;
  if ('$serverTimestamp' in value) return { $timestamp: new Date(version / 1000).toISOString() };
  if ('$increment' in value) return Number(old ?? 0) + Number(value.$increment);
  return value;
}

/**
 * @param {State} state
 * @param {string} path
 * @param {JsonMap} [query] one equality, one order, a limit
 * @returns {WireDocument[]}
 */
function run({ docs }, path, query = {}) {
  if (path.split('/').length % 2 === 0) return [...docs.values()].filter(doc => doc.path === path);
  const [field, , value] = /** @type {string[]} */ (query['where'] ?? []);
  const [order = '', direction = 'asc'] = /** @type {string[][]} */ (query['orderBy'] ?? [])[0] ?? [];
  const key = (/** @type {WireDocument} */ doc) => JSON.stringify([doc.data[order] ?? null, doc.path]);
  const found = [...docs.values()]
    .filter(doc => doc.path.slice(0, doc.path.lastIndexOf('/')) === path && (field === undefined || doc.data[field] === value))
    .sort((a, b) => (key(a) < key(b) ? -1 : 1));
  if (direction === 'desc') found.reverse();
  if (query['limitToLast']) return found.slice(-Number(query['limitToLast']));
  return typeof query['limit'] === 'number' ? found.slice(0, query['limit']) : found;
}
