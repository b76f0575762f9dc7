// The messages of one connection: `docs/links.md`. It checks their form and nothing else.

import { HearthError } from '../errors.js';
import { isMap } from './value.js';

/** @typedef {import('./value.js').Json} Json */
/** @typedef {import('../errors.js').Problem} Problem */
/** @typedef {{ [key: string]: Json }} JsonMap */

/** @typedef {{ path: string, data: JsonMap, created: string, updated: string }} WireDocument */

/**
 * @typedef {{ type: 'added' | 'modified', doc: WireDocument, from: number, to: number }
 *   | { type: 'removed', doc: { path: string }, from: number, to: number }} WireChange
 */

/** @typedef {{ [name: string]: number | null | JsonMap }} Aggregates */

/**
 * An event of a listener; of a large one, a part.
 *
 * @typedef {{ id: number, ev: 'snapshot', version: string, token?: string, reset?: boolean, size?: number,
 *   changes?: WireChange[], aggregates?: Aggregates, part?: number, more?: boolean }} SnapshotMessage
 */

/**
 * @typedef {{ id: number, ev: 'result', version: string, token?: string, docs?: WireDocument[], size?: number,
 *   aggregates?: Aggregates, part?: number, more?: boolean }} ResultMessage
 */

/**
 * @typedef {SnapshotMessage
 *   | ResultMessage
 *   | { id: number, ev: 'committed', version: string, results?: Json[] }
 *   | { id: number, ev: 'authed', uid?: string | null, expires?: number | string | null }
 *   | { id: number, ev: 'problem', problem: Problem }
 *   | { id: number, ev: 'expiring', expires?: number | string | null }
 *   | { id: number, ev: 'pong' }
 *   | { id: number, ev: 'link', link: string }} ServerMessage
 */

/** @typedef {JsonMap} WireWrite */

/**
 * @typedef {{ id: number, op: 'listen', path: string, query?: JsonMap, since?: string }
 *   | { id: number, op: 'unlisten' }
 *   | { id: number, op: 'get', path: string, query?: JsonMap, at?: string }
 *   | { id: number, op: 'commit', writes: WireWrite[], reads?: { [path: string]: string | null }, key: string }
 *   | { id: number, op: 'auth', token: string }
 *   | { id: number, op: 'ping' }} ClientMessage
 */

const KINDS = new Set(['snapshot', 'result', 'committed', 'authed', 'problem', 'expiring', 'pong', 'link']);

/**
 * Reads one message.
 *
 * @param {string} text
 * @param {(text: string) => unknown} [parse] reads JSON
 * @returns {ServerMessage | null} null for a kind that this version does not know
 * @throws {HearthError} `data-loss` where the text is not a message
 */
export function readMessage(text, parse = JSON.parse) {
  /** @type {unknown} */
  let json;
  try {
    json = parse(text);
  } catch {
    throw malformed('not JSON');
  }
  return checkMessage(json);
}

/**
 * @param {unknown} json
 * @returns {ServerMessage | null}
 */
export function checkMessage(json) {
  if (!isMap(json) || typeof json['id'] !== 'number' || typeof json['ev'] !== 'string') throw malformed('no id or ev');
  const message = json;
  if (!KINDS.has(String(message['ev']))) return null;
  switch (message['ev']) {
    case 'snapshot':
      check(typeof message['version'] === 'string', 'a snapshot without a version');
      check(Array.isArray(message['changes']) ? message['changes'].every(isChange) : isMap(message['aggregates']),
        'a snapshot without changes');
      break;
    case 'result':
      check(typeof message['version'] === 'string', 'a result without a version');
      check(Array.isArray(message['docs']) ? message['docs'].every(isDocument) : isMap(message['aggregates']),
        'a result without docs');
      break;
    case 'committed':
      check(typeof message['version'] === 'string', 'a commit without a version');
      break;
    case 'problem':
      check(isMap(message['problem']), 'a problem without words');
      break;
    case 'link':
      check(typeof message['link'] === 'string', 'a link without a name');
      break;
  }
  return /** @type {ServerMessage} */ (/** @type {unknown} */ (message));
}

/**
 * @param {unknown} json
 * @returns {json is WireDocument}
 */
function isDocument(json) {
  return isMap(json) && typeof json['path'] === 'string' && isMap(json['data'])
    && typeof json['created'] === 'string' && typeof json['updated'] === 'string';
}

/** @param {unknown} json */
function isChange(json) {
  if (!isMap(json) || !Number.isInteger(json['from']) || !Number.isInteger(json['to'])) return false;
  const { type, doc } = json;
  return type === 'removed' ? isMap(doc) && typeof doc['path'] === 'string'
    : (type === 'added' || type === 'modified') && isDocument(doc);
}

/**
 * @param {boolean} holds
 * @param {string} what
 */
function check(holds, what) {
  if (!holds) throw malformed(what);
}

/** @param {string} what */
function malformed(what) {
  return new HearthError('data-loss', `the server sent a malformed message: ${what}`);
}
