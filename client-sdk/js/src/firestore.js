// The database as the program sees it, and the app that it belongs to. It wires the parts together and decides nothing else.

import { Connection } from './connection.js';
import { HearthError, invalid } from './errors.js';

/** @typedef {import('./session.js').ConnectionState} ConnectionState */
/** @typedef {import('./session.js').Transport} Transport */

/**
 * Tells who the user is: a token, or null for nobody. Called for each connection; with `refresh`, the last token was refused or is
 * about to expire, and another one is wanted.
 *
 * @typedef {(want: { refresh: boolean }) => Promise<string | null> | string | null} TokenSource
 */

/**
 * @typedef {{
 *   host?: string,
 *   project?: string,
 *   database?: string,
 *   token?: string | TokenSource,
 *   transport?: Transport,
 *   webSocket?: import('./link/websocket.js').SocketMaker,
 *   fetch?: typeof fetch,
 *   parse?: (text: string) => unknown,
 * }} AppOptions
 * `host`: address of the server, the page's own origin when absent. `project` and `database`: the server's defaults when absent.
 * `transport`: this one and no other. `webSocket`, `fetch` and `parse` (of JSON): stand-ins for the globals.
 */

/** An app: a server, a project and a user. */
export class App {
  /** @type {Firestore | null} */
  #firestore = null;

  /** @param {AppOptions} options */
  constructor(options) {
    /** @readonly */
    this.options = Object.freeze({ ...options });
  }

  /** @internal */
  get firestore() {
    if (!this.#firestore || this.#firestore.isTerminated) this.#firestore = new Firestore(this);
    return this.#firestore;
  }
}

/** A database. It connects when it is first needed. */
export class Firestore {
  /** @type {Connection | null} */
  #connection = null;
  #terminated = false;

  /** @param {App} app */
  constructor(app) {
    /** @readonly @type {'firestore'} */
    this.type = 'firestore';
    /** @readonly */
    this.app = app;
  }

  /** @internal */
  get connection() {
    return (this.#connection ??= new Connection(this.app.options));
  }

  /** @internal */
  get isTerminated() {
    return this.#terminated;
  }

  /** @internal */
  terminate() {
    this.#terminated = true;
    this.connection.terminate();
  }
}

/** @type {App | null} */
let defaultApp = null;

/**
 * Names the server, and who the user is. The first app is the default of {@link getFirestore}. Nothing is connected yet.
 *
 * @param {AppOptions} [options]
 * @returns {App}
 */
export function initializeApp(options = {}) {
  const { transport } = options;
  if (transport !== undefined && !['websocket', 'sse', 'poll'].includes(transport)) {
    throw invalid(`unknown transport ${JSON.stringify(transport)}`);
  }
  const app = new App(options);
  defaultApp ??= app;
  return app;
}

/**
 * The database of an app; of the default app when none is given, and of the page's own origin when there is none either.
 *
 * @param {App} [app]
 * @returns {Firestore}
 */
export function getFirestore(app) {
  return (app ?? defaultApp ?? initializeApp()).firestore;
}

/**
 * Ends the connection. Listeners fall silent, what waits fails with `cancelled`, and this database is of no more use; `getFirestore` gives a fresh one.
 *
 * @param {Firestore} firestore
 * @returns {Promise<void>}
 */
export async function terminate(firestore) {
  firestore.terminate();
}

/**
 * Calls `next` with the state of the connection, now and whenever it changes.
 *
 * @param {Firestore} firestore
 * @param {(state: ConnectionState) => void} next
 * @returns {() => void} ends it
 */
export function onConnectionState(firestore, next) {
  if (firestore.isTerminated) throw new HearthError('failed-precondition', 'the client has been terminated');
  return firestore.connection.onState(next);
}
