// The shell of the session: it owns the link, the clock, the timer, the token source and the callbacks, and decides nothing.

import { HearthError } from './errors.js';
import { openLink, transportsHere } from './link/open.js';
import { autoId } from './reference.js';
import { Session } from './session.js';

/** @typedef {import('./firestore.js').AppOptions} AppOptions */
/** @typedef {import('./listen/target.js').Snapshot} Snapshot */
/** @typedef {import('./link/open.js').Link} Link */
/** @typedef {import('./session.js').ConnectionState} ConnectionState */
/** @typedef {import('./session.js').Input} Input */
/** @typedef {import('./session.js').Output} Output */
/** @typedef {import('./session.js').Request} Request */
/** @typedef {import('./wire/message.js').JsonMap} JsonMap */
/** @typedef {import('./wire/message.js').ResultMessage} ResultMessage */
/** @typedef {import('./wire/message.js').WireWrite} WireWrite */

/** @typedef {{ next: (snapshot: Snapshot) => void, error: (error: HearthError) => void }} Hearing */
/** @typedef {{ resolve: (answer: Output) => void, reject: (error: HearthError) => void }} Waiting */

/** The one connection of a database. */
export class Connection {
  #options;
  #session;
  #askLast = 0;
  /** @type {Map<number, Hearing>} */
  #hearing = new Map();
  /** @type {Map<number, Waiting>} */
  #waiting = new Map();
  /** @type {Set<(state: ConnectionState) => void>} */
  #watchers = new Set();
  /** @type {ConnectionState} */
  #state = { state: 'idle', transport: null };
  /** @type {Link | null} */
  #link = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  #scheduled = false;
  #draining = false;
  #awake = () => {
    if (globalThis.document?.visibilityState !== 'hidden') this.#tell({ type: 'online' });
  };

  /** @param {AppOptions} options */
  constructor(options) {
    this.#options = options;
    const transports = options.transport ? [options.transport] : transportsHere(options);
    this.#session = new Session({ transports, random: Math.random });
    // A network that is said to be gone may still reach this machine: the link is probed, not given up.
    for (const change of ['online', 'offline']) globalThis.addEventListener?.(change, this.#awake);
    globalThis.document?.addEventListener('visibilitychange', this.#awake);
  }

  /**
   * @param {string} path
   * @param {JsonMap | undefined} query
   * @param {Hearing} hearing called with each snapshot, or once with the error that ends it; never before this returns
   * @returns {() => void} ends it; nothing is heard after it was called
   */
  listen(path, query, hearing) {
    const ask = ++this.#askLast;
    this.#hearing.set(ask, hearing);
    this.#ask({ type: 'listen', ask, path, query });
    return () => {
      if (this.#hearing.delete(ask)) this.#ask({ type: 'unlisten', ask });
    };
  }

  /**
   * @param {string} path
   * @param {JsonMap} [query]
   * @param {string} [at] a version
   * @returns {Promise<ResultMessage>}
   */
  async get(path, query, at) {
    const answer = await this.#request({ kind: 'get', path, ...(query && { query }), ...(at !== undefined && { at }) });
    if (answer.type !== 'result') throw new HearthError('internal', 'a read was answered by something else');
    if (answer.result.more && query?.['limit'] === 'all') {
      throw new HearthError('resource-exhausted', 'the result has more documents than the server sends at once; set a limit');
    }
    return answer.result;
  }

  /**
   * Carries out writes, all or none; done once, however often it has to be sent.
   *
   * @param {WireWrite[]} writes
   * @param {{ [path: string]: string | null }} [reads] versions on which it depends
   * @returns {Promise<void>}
   */
  async commit(writes, reads) {
    await this.#request({ kind: 'commit', writes, ...(reads && { reads }), key: autoId() });
  }

  /**
   * @param {(state: ConnectionState) => void} next
   * @returns {() => void}
   */
  onState(next) {
    // Each listening is its own, though the function may be the same.
    const watcher = (/** @type {ConnectionState} */ state) => next(state);
    this.#watchers.add(watcher);
    queueMicrotask(() => this.#watchers.has(watcher) && guard(() => watcher(this.#state)));
    return () => void this.#watchers.delete(watcher);
  }

  terminate() {
    for (const change of ['online', 'offline']) globalThis.removeEventListener?.(change, this.#awake);
    globalThis.document?.removeEventListener('visibilitychange', this.#awake);
    this.#hearing.clear();
    this.#tell({ type: 'terminate' });
  }

  /**
   * @param {Request} request
   * @returns {Promise<Output>}
   */
  #request(request) {
    return new Promise((resolve, reject) => {
      const ask = ++this.#askLast;
      this.#waiting.set(ask, { resolve, reject });
      this.#ask({ type: 'request', ask, request });
    });
  }

  /**
   * Tells the session what the program wants, but hears its outputs only after the program has finished its call.
   *
   * @param {Input} input
   */
  #ask(input) {
    this.#session.input(performance.now(), input);
    if (this.#scheduled) return;
    this.#scheduled = true;
    queueMicrotask(() => {
      this.#scheduled = false;
      this.#drain();
    });
  }

  /** @param {Input} input */
  #tell(input) {
    this.#session.input(performance.now(), input);
    this.#drain();
  }

  #drain() {
    if (this.#draining) return;
    this.#draining = true;
    for (let output = this.#session.output(); output; output = this.#session.output()) this.#carryOut(output);
    this.#draining = false;
    clearTimeout(this.#timer);
    const at = this.#session.wakeAt;
    if (at !== null) this.#timer = setTimeout(() => this.#tell({ type: 'tick' }), Math.max(0, Math.ceil(at - performance.now())));
  }

  /** @param {Output} output */
  #carryOut(output) {
    switch (output.type) {
      case 'ask-token': void this.#fetchToken(output.refresh); break;
      case 'open': this.#open(output); break;
      case 'send': this.#link?.send(output.message); break;
      case 'close': this.#close(output.code); break;
      case 'snapshot': guard(() => this.#hearing.get(output.ask)?.next(output.snapshot)); break;
      case 'failed': this.#fail(output.ask, output.error); break;
      case 'result':
      case 'committed':
        this.#waiting.get(output.ask)?.resolve(output);
        this.#waiting.delete(output.ask);
        break;
      case 'state':
        this.#state = output.state;
        for (const watcher of [...this.#watchers]) guard(() => this.#watchers.has(watcher) && watcher(output.state));
        break;
    }
  }

  /** @param {boolean} refresh */
  async #fetchToken(refresh) {
    const { token } = this.#options;
    /** @type {string | null | undefined} */
    let fetched;
    try {
      fetched = await (typeof token === 'function' ? token({ refresh }) : token);
    } catch {
      // Whoever could not fetch a token may be able to later, like whoever could not connect.
      return this.#tell({ type: 'token-failed' });
    }
    // An empty text is what an empty box or setting leaves: nobody, too.
    this.#tell({ type: 'token', token: fetched || null });
  }

  /** @param {Extract<Output, { type: 'open' }>} output */
  #open({ link, transport, token }) {
    this.#link = openLink(transport, { ...this.#options, token }, {
      opened: () => this.#tell({ type: 'opened', link }),
      frame: message => this.#tell({ type: 'frame', link, message }),
      garbage: () => this.#tell({ type: 'garbage', link }),
      alive: () => this.#tell({ type: 'alive', link }),
      closed: end => this.#tell({ type: 'closed', link, ...end }),
    });
  }

  /** @param {number} code */
  #close(code) {
    this.#link?.close(code);
    this.#link = null;
  }

  /**
   * @param {number} ask
   * @param {HearthError} error
   */
  #fail(ask, error) {
    const hearing = this.#hearing.get(ask);
    this.#hearing.delete(ask);
    guard(() => hearing?.error(error));
    this.#waiting.get(ask)?.reject(error);
    this.#waiting.delete(ask);
  }
}

/**
 * Calls the program back. What it throws is its own and is reported as such, while the connection goes on.
 *
 * @param {() => unknown} call
 */
function guard(call) {
  try {
    call();
  } catch (error) {
    queueMicrotask(() => {
      throw error;
    });
  }
}
