// The WebSocket link.

import { readMessage } from '../wire/message.js';
import { NO_DATABASE, endOf, request } from './http.js';

/** @typedef {import('./open.js').Link} Link */
/** @typedef {import('./open.js').LinkEvents} LinkEvents */
/** @typedef {import('./open.js').LinkOptions} LinkOptions */

/**
 * The part of a WebSocket that is used, so that a library may stand in where there is no global one.
 *
 * @typedef {{
 *   readyState: number,
 *   send(text: string): void,
 *   close(code?: number): void,
 *   addEventListener(type: 'open' | 'error', heard: () => void): void,
 *   addEventListener(type: 'message', heard: (event: { data: unknown }) => void): void,
 *   addEventListener(type: 'close', heard: (event: { code: number, reason: string }) => void): void,
 * }} Socket
 */
/** @typedef {new (address: string, protocol: string) => Socket} SocketMaker */

const OPEN = 1;
/** How long it may take to find out why a handshake was refused. */
const ASK_MS_MAX = 5_000;

/**
 * @param {string} address of the database, over HTTP
 * @param {LinkOptions} options
 * @param {LinkEvents} events
 * @returns {Link}
 */
export function openWebsocket(address, options, events) {
  const Maker = options.webSocket ?? /** @type {SocketMaker} */ (/** @type {unknown} */ (globalThis.WebSocket));
  let over = false;
  let wasOpen = false;
  /** @param {import('./open.js').End} end */
  const finish = end => {
    if (over) return;
    over = true;
    events.closed(end);
  };
  /**
   * Of a refused handshake a page is told nothing, so the server is asked in another way whether there is such a database.
   *
   * @param {import('./open.js').End} end
   */
  const refused = async end => {
    const { token } = options;
    const why = await request(options, address, { method: 'GET', token, signal: AbortSignal.timeout(ASK_MS_MAX) }).then(
      async answer => void (await answer.body?.cancel()),
      endOf,
    );
    finish(why?.code === NO_DATABASE ? why : end);
  };
  /** @type {Socket} */
  let socket;
  try {
    socket = new Maker(address.replace(/^http/, 'ws'), 'hearth.v1');
  } catch {
    // A page's policy, or the lack of any WebSocket: the next transport may do better.
    queueMicrotask(() => finish({ code: 1006 }));
    return { send() {}, close: () => void (over = true) };
  }
  socket.addEventListener('open', () => {
    wasOpen = true;
    if (!over) events.opened();
  });
  socket.addEventListener('message', ({ data }) => {
    if (over) return;
    let message;
    try {
      message = readMessage(String(data), options.parse);
    } catch {
      events.garbage();
      return;
    }
    events.frame(message);
  });
  socket.addEventListener('close', ({ code, reason }) => {
    if (wasOpen || over) finish({ code, reason });
    else void refused({ code, reason });
  });
  // `close` follows and says the same; without a listener some libraries throw.
  socket.addEventListener('error', () => {});
  return {
    send: message => {
      if (socket.readyState === OPEN) socket.send(JSON.stringify(message));
    },
    close: code => {
      over = true;
      // A page may give 1000 and codes from 3000 only.
      socket.close(code >= 3000 ? code : 1000);
    },
  };
}
