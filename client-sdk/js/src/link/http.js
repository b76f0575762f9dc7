// What the two links over HTTP have in common: their requests, and the queue of messages on their way to the server.

import { HearthError } from '../errors.js';

/** @typedef {import('../wire/message.js').ClientMessage} ClientMessage */
/** @typedef {import('./open.js').End} End */
/** @typedef {import('./open.js').LinkOptions} LinkOptions */

/** A request that is not held may take so long. */
export const REQUEST_MS_MAX = 15_000;
/** How often a request is repeated after the network failed, and how long it rests before. */
const TRIES_MAX = 5;
const REST_MS = 500;

/** What ends a link. */
export class LinkEnd extends Error {
  /** @param {End} end */
  constructor(end) {
    super(end.reason ?? `the link ended (${end.code})`);
    /** @readonly */
    this.end = end;
  }
}

/**
 * @param {unknown} error whatever was thrown
 * @returns {End}
 */
export function endOf(error) {
  return error instanceof LinkEnd ? error.end : { code: 1006 };
}

/**
 * The same for a request to a link that was open: one that is not found is opened anew, like one that was lost.
 *
 * @param {unknown} error
 * @returns {End}
 */
export function endOfOpen(error) {
  const end = endOf(error);
  return end.code === NO_DATABASE ? { code: 1006 } : end;
}

/**
 * One request. `token` is that of the moment: it may have been renewed since the link was opened.
 *
 * @param {LinkOptions} options
 * @param {string} address
 * @param {{ method: string, token: string | null, body?: unknown, headers?: { [name: string]: string }, signal?: AbortSignal, keepalive?: boolean }} request
 * @returns {Promise<Response>} its status is 2xx
 * @throws {LinkEnd} where the server refused
 */
export async function request(options, address, { method, token, body, headers, signal, keepalive }) {
  const send = options.fetch ?? fetch;
  const response = await send(address, {
    method,
    headers: {
      ...headers,
      ...(body !== undefined && { 'Content-Type': 'application/json' }),
      ...(token !== null && { Authorization: `Bearer ${token}` }),
    },
    ...(body !== undefined && { body: JSON.stringify(body) }),
    ...(signal && { signal }),
    ...(keepalive && { keepalive }),
    cache: 'no-store',
    credentials: 'omit',
  });
  if (response.ok) return response;
  if (response.status === 404) throw new LinkEnd(await notFound(response));
  await response.body?.cancel();
  const seconds = Number(response.headers.get('Retry-After') ?? 0);
  throw new LinkEnd({ code: CODES[response.status] ?? 1006, retryAfterMs: Number.isFinite(seconds) ? seconds * 1000 : 0 });
}

/**
 * What is not there: a database, which no trying brings about, or anything that a stranger on the way answers for.
 *
 * @param {Response} response
 * @returns {Promise<End>}
 */
async function notFound(response) {
  const isProblem = response.headers.get('Content-Type')?.startsWith('application/problem+json');
  /** @type {import('../errors.js').Problem} */
  const problem = isProblem ? await response.json().catch(() => ({})) : {};
  if (!isProblem) await response.body?.cancel();
  return problem.code === 'not-found' ? { code: NO_DATABASE, reason: problem.detail ?? '' } : { code: 1006 };
}

/** There is no such project or database. Of our own making: it stands for a problem, not for a close frame. */
export const NO_DATABASE = 4404;

/** The close codes that statuses stand for. */
const CODES = /** @type {{ readonly [status: number]: number }} */ ({ 401: 4401, 403: 1008, 413: 1009, 429: 1013, 503: 1013 });

/**
 * Repeats a request whose answer was lost. Only for what the server recognizes when it comes twice.
 *
 * @template T
 * @param {() => Promise<T>} attempt
 * @param {AbortSignal} signal ends the trying
 * @returns {Promise<T>}
 */
export async function insist(attempt, signal) {
  for (let tries = 1; ; tries++) {
    try {
      return await attempt();
    } catch (error) {
      if (error instanceof LinkEnd || error instanceof HearthError || signal.aborted || tries >= TRIES_MAX) throw error;
      await new Promise(rested => setTimeout(rested, REST_MS));
      if (signal.aborted) throw error;
    }
  }
}

/**
 * Gives an attempt so much time.
 *
 * @template T
 * @param {AbortSignal} signal ends it sooner
 * @param {number} ms
 * @param {(signal: AbortSignal) => Promise<T>} attempt
 * @returns {Promise<T>}
 */
export async function within(signal, ms, attempt) {
  const both = new AbortController();
  const abort = () => both.abort();
  const timer = setTimeout(abort, ms);
  signal.addEventListener('abort', abort);
  try {
    return await attempt(both.signal);
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', abort);
  }
}

/**
 * Sends messages into a link in their order, one request at a time; what is given meanwhile goes with the next.
 *
 * @param {LinkOptions} options
 * @param {AbortSignal} signal
 * @param {(error: unknown) => void} failed
 */
export function sender(options, signal, failed) {
  /** @type {{ n: number, m: ClientMessage }[]} */
  let queue = [];
  let numberLast = 0;
  let busy = false;
  /** @type {string | null} */
  let link = null;
  let token = options.token;

  return {
    /** The token of the moment. */
    get token() {
      return token;
    },
    /** @param {string} address of the link, once it is known */
    start(address) {
      link = address;
      void flush();
    },
    /** @param {ClientMessage} message */
    send(message) {
      queue.push({ n: ++numberLast, m: message });
      if (message.op === 'auth') token = message.token;
      // After the present turn, so that what is said in one go travels in one request.
      queueMicrotask(() => void flush());
    },
  };

  async function flush() {
    if (busy || link === null || queue.length === 0 || signal.aborted) return;
    busy = true;
    const send = queue;
    const address = link;
    queue = [];
    try {
      await insist(() => within(signal, REQUEST_MS_MAX, async signal => {
        const answer = await request(options, address, { method: 'POST', token, body: { send }, signal });
        await answer.text();
      }), signal);
      busy = false;
      await flush();
    } catch (error) {
      if (!signal.aborted) failed(error);
    }
  }
}

/**
 * Tells the server that a link is over. If that gets lost, the server finds out by itself.
 *
 * @param {LinkOptions} options
 * @param {string} address
 * @param {string | null} token
 */
export function hangUp(options, address, token) {
  request(options, address, { method: 'DELETE', token, keepalive: true }).catch(() => {});
}
