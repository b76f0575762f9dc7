// The WebSocket link.

import { readMessage } from '../wire/message.js';

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

/**
 * @param {string} address
 * @param {LinkOptions} options
 * @param {LinkEvents} events
 * @returns {Link}
 */
export function openWebsocket(address, options, events) {
  const Maker = options.webSocket ?? /** @type {SocketMaker} */ (/** @type {unknown} */ (globalThis.WebSocket));
  let over = false;
  /** @param {import('./open.js').End} end */
  const finish = end => {
    if (over) return;
    over = true;
    events.closed(end);
  };
  /** @type {Socket} */
  let socket;
  try {
    socket = new Maker(address, 'hearth.v1');
  } catch {
    // A page's policy, or the lack of any WebSocket: the next transport may do better.
    queueMicrotask(() => finish({ code: 1006 }));
    return { send() {}, close: () => void (over = true) };
  }
  socket.addEventListener('open', () => over || events.opened());
  socket.addEventListener('message', ({ data }) => {
    if (over) return;
    let message;
    try {
      message = readMessage(String(data));
    } catch {
      events.garbage();
      return;
    }
    events.frame(message);
  });
  socket.addEventListener('close', ({ code, reason }) => finish({ code, reason }));
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
