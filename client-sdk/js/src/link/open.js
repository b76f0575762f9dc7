// Chooses the link for a transport, and the addresses of the server.

import { openPoll } from './poll.js';
import { openSse } from './sse.js';
import { openWebsocket } from './websocket.js';

/** @typedef {import('../firestore.js').AppOptions} AppOptions */
/** @typedef {import('../session.js').Transport} Transport */
/** @typedef {import('../wire/message.js').ClientMessage} ClientMessage */
/** @typedef {import('../wire/message.js').ServerMessage} ServerMessage */

/**
 * An open connection. After {@link Link.close} it calls nobody back.
 *
 * @typedef {{ send(message: ClientMessage): void, close(code: number): void }} Link
 */

/** @typedef {{ code: number, reason?: string, retryAfterMs?: number }} End */

/**
 * What a link tells. Never called before the function that opens the link has returned.
 *
 * @typedef {{
 *   opened(): void,
 *   frame(message: ServerMessage | null): void,
 *   garbage(): void,
 *   alive(): void,
 *   closed(end: End): void,
 * }} LinkEvents
 */

/** @typedef {Omit<AppOptions, 'token'> & { token: string | null }} LinkOptions */

/**
 * @param {AppOptions} options
 * @returns {Transport[]} those that can work here, the best first
 */
export function transportsHere(options) {
  return options.webSocket || globalThis.WebSocket ? ['websocket', 'sse', 'poll'] : ['sse', 'poll'];
}

/**
 * @param {Transport} transport
 * @param {LinkOptions} options
 * @param {LinkEvents} events
 * @returns {Link}
 */
export function openLink(transport, options, events) {
  switch (transport) {
    case 'websocket': return openWebsocket(address(options, 'db'), options, events);
    case 'sse': return openSse(address(options, 'links'), options, events);
    case 'poll': return openPoll(address(options, 'links'), options, events);
  }
}

/**
 * @param {Pick<AppOptions, 'host' | 'project' | 'database'>} options
 * @param {'db' | 'links'} what
 * @returns {string}
 */
export function address({ host, project, database }, what) {
  const within = project === undefined ? '' : `/p/${encodeURIComponent(project)}`;
  const named = database === undefined ? '' : `@${encodeURIComponent(database)}`;
  return `${origin(host)}${within}/${what}${named}`;
}

/**
 * @param {string | undefined} host
 * @returns {string} without a slash at the end
 */
export function origin(host) {
  if (host === undefined) return globalThis.location?.origin ?? 'http://127.0.0.1:8080';
  if (host.includes('://')) return host.replace(/\/+$/, '');
  // Without a scheme: plain on this machine, where nobody has a certificate, and encrypted anywhere else.
  const local = /^(localhost|127(\.\d+){3}|\[::1\])(:\d+)?$/.test(host);
  return `${local ? 'http' : 'https'}://${host}`;
}
