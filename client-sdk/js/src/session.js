// The client's side of the protocol: one connection that carries all listeners, reads and commits, and outlives its links.
// It opens no link, reads no clock, draws no chance and calls nobody back: it is told, and its outputs are values.

import { HearthError, errorOfProblem } from './errors.js';
import { Target } from './listen/target.js';

/** @typedef {import('./listen/target.js').Snapshot} Snapshot */
/** @typedef {import('./wire/message.js').ClientMessage} ClientMessage */
/** @typedef {import('./wire/message.js').JsonMap} JsonMap */
/** @typedef {import('./wire/message.js').ResultMessage} ResultMessage */
/** @typedef {import('./wire/message.js').ServerMessage} ServerMessage */
/** @typedef {import('./wire/message.js').WireDocument} WireDocument */
/** @typedef {import('./wire/message.js').WireWrite} WireWrite */

/** @typedef {'websocket' | 'sse' | 'poll'} Transport */

/**
 * How the connection stands, for people: `idle` nobody needs it, `connecting`, `open`, `waiting` until the next try, `closed` for good.
 *
 * @typedef {{ readonly state: 'idle' | 'connecting' | 'open' | 'waiting' | 'closed', readonly transport: Transport | null }} ConnectionState
 */

/**
 * What is asked for. `ask` is the shell's number for the one who asks, never used twice.
 *
 * @typedef {{ kind: 'get', path: string, query?: JsonMap, at?: string }
 *   | { kind: 'commit', writes: WireWrite[], reads?: { [path: string]: string | null }, key: string }} Request
 */

/**
 * @typedef {{ type: 'listen', ask: number, path: string, query?: JsonMap }
 *   | { type: 'unlisten', ask: number }
 *   | { type: 'request', ask: number, request: Request }
 *   | { type: 'token', token: string | null }
 *   | { type: 'token-failed' }
 *   | { type: 'opened', link: number }
 *   | { type: 'frame', link: number, message: ServerMessage | null }
 *   | { type: 'garbage', link: number }
 *   | { type: 'alive', link: number }
 *   | { type: 'closed', link: number, code: number, reason?: string, retryAfterMs?: number }
 *   | { type: 'online' }
 *   | { type: 'terminate' }
 *   | { type: 'tick' }} Input
 */

/**
 * @typedef {{ type: 'ask-token', refresh: boolean }
 *   | { type: 'open', link: number, transport: Transport, token: string | null }
 *   | { type: 'send', link: number, message: ClientMessage }
 *   | { type: 'close', link: number, code: number }
 *   | { type: 'snapshot', ask: number, snapshot: Snapshot }
 *   | { type: 'failed', ask: number, error: HearthError }
 *   | { type: 'result', ask: number, result: ResultMessage }
 *   | { type: 'committed', ask: number, version: string }
 *   | { type: 'state', state: ConnectionState }} Output
 */

/**
 * A link that is open or being opened.
 *
 * @typedef {{ number: number, transport: Transport, since: number, heard: boolean, heardAt: number, pingedAt: number | null }} Link
 */

/**
 * A read or commit that was not answered yet.
 *
 * @typedef {{ ask: number, request: Request, askedAt: number, putOff: number, retryAt: number | null, docs: WireDocument[] }} Pending
 */

/** @typedef {{ target: Target, asks: Set<number>, id: number | null, missed: number }} Listening */

export const BACKOFF_MS_MIN = 250;
export const BACKOFF_MS_MAX = 8_000;
/** Silence after which the connection is probed, and how long the answer may take. */
export const SILENCE_MS_MAX = 25_000;
export const PONG_MS_MAX = 10_000;
/** A link that is not open by then counts as failed; sooner while another transport is left to try. */
export const OPEN_MS_MAX = 10_000;
export const OPEN_MS_MAX_OF_FIRST = 5_000;
/** Without a listener or request for so long, the connection is closed. */
export const IDLE_MS_MAX = 30_000;
/** A read that waits for a connection for so long fails. Commits wait on. */
export const READ_WAIT_MS_MAX = 10_000;
/** Failed tries in a row after which a transport that has worked is no longer thought to. */
const TRUST_FAILURES_MAX = 3;
/** How often a request is repeated that the server put off. */
const REQUEST_TRIES_MAX = 5;
const TOO_LARGE = 'a message was larger than the server allows';
/** How often in a row a listener that missed something asks anew. */
const MISSED_MAX = 3;

/**
 * One client's session. After each {@link Session.input}, call {@link Session.output} until it returns undefined, then
 * see to it that a `tick` comes at {@link Session.wakeAt}.
 */
export class Session {
  /** @type {readonly Transport[]} */
  #transports;
  #random;
  /** @type {Output[]} */
  #outbox = [];
  /** @type {Map<string, Listening>} by target key */
  #targets = new Map();
  /** @type {Map<number, Listening>} */
  #listeningOfAsk = new Map();
  /** @type {Map<number, Pending>} by ask, in the order of asking */
  #pending = new Map();
  /** @type {Map<number, Listening | Pending | 'auth'>} by id on the present link */
  #ofId = new Map();
  #idLast = 0;
  #linkLast = 0;

  /** @type {'idle' | 'asking' | 'opening' | 'proving' | 'open' | 'waiting' | 'ended'} */
  #phase = 'idle';
  /** @type {Link | null} */
  #link = null;
  /** The rung of the ladder that is tried next, and the one that has worked. */
  #rung = 0;
  /** @type {number | null} */
  #trusted = null;
  #failures = 0;
  #attempts = 0;
  /** @type {string | null} */
  #token = null;
  #refresh = false;
  /** Whether a token was already fetched anew because the last one was refused. */
  #refreshed = false;
  /** Whether a fresh token is on its way for a link that is open. */
  #renewing = false;
  #retryAt = 0;
  #idleSince = 0;
  /** When the present want of a connection began. */
  #downSince = 0;
  /** @type {ConnectionState} */
  #told = { state: 'idle', transport: null };

  /**
   * @param {{ transports: readonly Transport[], random: () => number }} options transports in the order of trying, at least one; a source of numbers from 0 to 1
   */
  constructor({ transports, random }) {
    this.#transports = transports;
    this.#random = random;
  }

  /** @returns {Output | undefined} */
  output() {
    return this.#outbox.shift();
  }

  /** When the next `tick` is due, in the same milliseconds as `now`; null when none is. */
  get wakeAt() {
    const times = [...this.#deadlines()];
    return times.length > 0 ? Math.min(...times) : null;
  }

  /**
   * @param {number} now milliseconds of a clock that never goes back
   * @param {Input} input
   */
  input(now, input) {
    if (this.#phase === 'ended') return this.#refuse(input);
    if ('link' in input && input.link !== this.#link?.number) return;
    switch (input.type) {
      case 'listen': this.#listen(now, input); break;
      case 'unlisten': this.#unlisten(now, input.ask); break;
      case 'request': this.#request(now, input.ask, input.request); break;
      case 'token': this.#tokenCame(now, input.token); break;
      case 'token-failed': this.#tokenFailed(now); break;
      case 'opened': this.#opened(now); break;
      case 'frame': this.#frame(now, input.message); break;
      case 'garbage': this.#drop(now, 1002); break;
      case 'alive': this.#hear(now); break;
      case 'closed': this.#closed(now, input.code, input.reason, input.retryAfterMs); break;
      case 'online': this.#online(now); break;
      case 'terminate': this.#terminate(); break;
      case 'tick': this.#tick(now); break;
    }
    this.#tellState();
  }

  // What the program asks for.

  /**
   * @param {number} now
   * @param {{ ask: number, path: string, query?: JsonMap }} input
   */
  #listen(now, { ask, path, query }) {
    const key = Target.key(path, query);
    const known = this.#targets.get(key);
    const listening = known ?? { target: new Target(path, query), asks: new Set(), id: null, missed: 0 };
    listening.asks.add(ask);
    this.#listeningOfAsk.set(ask, listening);
    if (known) {
      const snapshot = known.target.current;
      if (snapshot) this.#outbox.push({ type: 'snapshot', ask, snapshot });
      return;
    }
    this.#targets.set(key, listening);
    if (this.#phase === 'open') this.#sendListen(listening);
    this.#need(now);
  }

  /**
   * @param {number} now
   * @param {number} ask
   */
  #unlisten(now, ask) {
    const listening = this.#listeningOfAsk.get(ask);
    if (!listening) return;
    this.#listeningOfAsk.delete(ask);
    listening.asks.delete(ask);
    this.#outbox = this.#outbox.filter(output => !(output.type === 'snapshot' && output.ask === ask));
    if (listening.asks.size > 0) return;
    this.#targets.delete(Target.key(listening.target.path, listening.target.query));
    this.#sendUnlisten(listening);
    this.#rest(now);
  }

  /**
   * @param {number} now
   * @param {number} ask
   * @param {Request} request
   */
  #request(now, ask, request) {
    /** @type {Pending} */
    const pending = { ask, request, askedAt: now, putOff: 0, retryAt: null, docs: [] };
    this.#pending.set(ask, pending);
    if (this.#phase === 'open') this.#sendRequest(pending);
    this.#need(now);
  }

  #terminate() {
    this.#closeLink(1000);
    this.#failAll(new HearthError('cancelled', 'the client was terminated'), { listeners: false });
    this.#phase = 'ended';
  }

  /** @param {Input} input */
  #refuse(input) {
    if (input.type !== 'listen' && input.type !== 'request') return;
    const error = new HearthError('failed-precondition', 'the client has been terminated');
    this.#outbox.push({ type: 'failed', ask: input.ask, error });
  }

  // How a connection comes about.

  /** @param {number} now */
  #need(now) {
    if (this.#phase !== 'idle') return;
    this.#downSince = now;
    this.#connect();
  }

  #connect() {
    this.#phase = 'asking';
    this.#outbox.push({ type: 'ask-token', refresh: this.#refresh });
  }

  /**
   * @param {number} now
   * @param {string | null} token
   */
  #tokenCame(now, token) {
    if (this.#renewing && this.#phase === 'open') {
      this.#renewing = false;
      this.#token = token;
      if (token !== null) this.#sendAuth(token);
      return;
    }
    if (this.#phase !== 'asking') return;
    if (this.#refresh && (token === null || token === this.#token)) {
      this.#giveUp(new HearthError('unauthenticated', 'the server refused the token, and there is no other'));
      return;
    }
    this.#refresh = false;
    this.#token = token;
    this.#open(now);
  }

  /** @param {number} now */
  #tokenFailed(now) {
    // An open link lives on: if no token comes in time, the server closes it and a token is asked for again.
    this.#renewing = false;
    if (this.#phase === 'asking') this.#wait(now, this.#backoff());
  }

  /** @param {number} now */
  #open(now) {
    const transport = /** @type {Transport} */ (this.#transports[this.#rung]);
    this.#phase = 'opening';
    this.#link = {
      number: ++this.#linkLast, transport, since: now, heard: false, heardAt: now, pingedAt: null,
    };
    this.#outbox.push({ type: 'open', link: this.#linkLast, transport, token: this.#token });
  }

  /** @param {number} now */
  #opened(now) {
    if (this.#phase !== 'opening' || !this.#link) return;
    this.#link.heardAt = now;
    // These open by a message of the server; a socket may open at a proxy that lets nothing else through.
    if (this.#link.transport !== 'websocket') this.#trust();
    // A browser cannot set a header on a WebSocket: there the token is the first message.
    if (this.#link.transport === 'websocket' && this.#token !== null) {
      this.#phase = 'proving';
      this.#sendAuth(this.#token);
      return;
    }
    this.#begin(now);
  }

  /** The transport gets through. */
  #trust() {
    if (this.#link) this.#link.heard = true;
    this.#trusted = this.#rung;
    this.#failures = 0;
  }

  /** @param {number} now */
  #begin(now) {
    this.#phase = 'open';
    // Listeners first: the answer to a commit then comes after the snapshots that contain it.
    for (const listening of this.#targets.values()) this.#sendListen(listening);
    for (const pending of this.#pending.values()) this.#sendRequest(pending);
    this.#rest(now);
  }

  // How it ends.

  /**
   * @param {number} now
   * @param {number} code
   * @param {string} [reason]
   * @param {number} [retryAfterMs]
   */
  #closed(now, code, reason, retryAfterMs = 0) {
    const link = this.#link;
    const working = link !== null && link.heard;
    this.#forgetLink(now);
    switch (code) {
      case 4401:
        return this.#renewOrGiveUp(now, reason);
      case 1008:
        return this.#giveUp(new HearthError('permission-denied', reason || 'the server refused the connection'));
      case 4404:
        return this.#giveUp(new HearthError('not-found', reason || 'there is no such database'));
      case 1009:
        if (!this.#failLargest(reason)) return this.#giveUp(new HearthError('invalid-argument', reason || TOO_LARGE));
        break;
      case 1001:
      case 1012:
        if (working) return this.#wait(now, Math.max(retryAfterMs, this.#random() * 1_000));
    }
    if (working) return this.#wait(now, Math.max(retryAfterMs, this.#backoff()));
    this.#nextRung(now, retryAfterMs);
  }

  /**
   * The link never said a word: perhaps this transport does not get through, perhaps nothing does.
   *
   * @param {number} now
   * @param {number} retryAfterMs
   */
  #nextRung(now, retryAfterMs) {
    this.#failures++;
    if (this.#trusted !== null && this.#failures < TRUST_FAILURES_MAX) return this.#wait(now, Math.max(retryAfterMs, this.#backoff()));
    if (this.#trusted !== null) this.#rung = 0;
    else this.#rung++;
    this.#trusted = null;
    if (this.#rung < this.#transports.length && retryAfterMs === 0 && this.#rung > 0) return this.#connect();
    if (this.#rung >= this.#transports.length) this.#rung = 0;
    this.#wait(now, Math.max(retryAfterMs, this.#backoff()));
  }

  /**
   * @param {number} now
   * @param {string} [reason]
   */
  #renewOrGiveUp(now, reason) {
    if (this.#refreshed || this.#token === null) {
      this.#giveUp(new HearthError('unauthenticated', reason || 'the server refused the token'));
      return;
    }
    this.#refreshed = true;
    this.#refresh = true;
    this.#wait(now, 0);
    this.#tick(now);
  }

  /** @param {HearthError} error for everyone who waits */
  #giveUp(error) {
    this.#phase = 'idle';
    this.#refresh = false;
    this.#refreshed = false;
    this.#attempts = 0;
    this.#failAll(error, { listeners: true });
  }

  /**
   * A message was larger than the server allows. Nobody says which, but the largest is.
   *
   * @param {string} [reason]
   * @returns {boolean} whether there was one
   */
  #failLargest(reason) {
    const bytes = (/** @type {Pending} */ pending) => JSON.stringify(pending.request).length;
    const [largest] = [...this.#pending.values()].sort((a, b) => bytes(b) - bytes(a));
    if (!largest) return false;
    this.#pending.delete(largest.ask);
    this.#outbox.push({ type: 'failed', ask: largest.ask, error: new HearthError('invalid-argument', reason || TOO_LARGE) });
    return true;
  }

  /**
   * @param {HearthError} error
   * @param {{ listeners: boolean }} who
   */
  #failAll(error, { listeners }) {
    const asks = [...this.#pending.keys(), ...(listeners ? this.#listeningOfAsk.keys() : [])];
    this.#pending.clear();
    this.#targets.clear();
    this.#listeningOfAsk.clear();
    if (!listeners) this.#outbox = this.#outbox.filter(output => output.type !== 'snapshot');
    for (const ask of asks) this.#outbox.push({ type: 'failed', ask, error });
  }

  /**
   * Ends the link from this side and goes on as if it had been lost.
   *
   * @param {number} now
   * @param {number} code
   */
  #drop(now, code) {
    this.#closeLink(code);
    this.#closed(now, 1006);
  }

  /** @param {number} code */
  #closeLink(code) {
    if (this.#link) this.#outbox.push({ type: 'close', link: this.#link.number, code });
  }

  /** @param {number} now */
  #forgetLink(now) {
    if (this.#phase === 'open') this.#downSince = now;
    this.#link = null;
    this.#renewing = false;
    this.#ofId.clear();
    for (const listening of this.#targets.values()) listening.id = null;
    for (const pending of this.#pending.values()) pending.docs = [];
  }

  /**
   * @param {number} now
   * @param {number} delayMs
   */
  #wait(now, delayMs) {
    this.#phase = this.#targets.size + this.#pending.size > 0 ? 'waiting' : 'idle';
    this.#retryAt = now + delayMs;
  }

  #backoff() {
    const ms = Math.min(BACKOFF_MS_MIN * 2 ** this.#attempts, BACKOFF_MS_MAX);
    this.#attempts++;
    return ms * (0.8 + 0.4 * this.#random());
  }

  /** @param {number} now */
  #online(now) {
    if (this.#phase === 'waiting') {
      this.#attempts = 0;
      this.#connect();
    }
    // A link from before may be dead without anybody having said so.
    if (this.#phase === 'open' && this.#link && this.#link.pingedAt === null) this.#ping(now, this.#link);
  }

  // What the server says.

  /** @param {number} now */
  #hear(now) {
    if (!this.#link) return;
    this.#link.heardAt = now;
    this.#link.pingedAt = null;
  }

  /**
   * @param {number} now
   * @param {ServerMessage | null} message
   */
  #frame(now, message) {
    this.#hear(now);
    this.#trust();
    this.#attempts = 0;
    if (!message) return;
    if (message.ev === 'expiring') return this.#expiring();
    const what = this.#ofId.get(message.id);
    if (!what) return;
    if (what === 'auth') return this.#authAnswered(now, message);
    if ('target' in what) return this.#listenerHeard(now, what, message);
    this.#requestAnswered(now, what, message);
  }

  #expiring() {
    if (this.#renewing) return;
    this.#renewing = true;
    this.#outbox.push({ type: 'ask-token', refresh: true });
  }

  /**
   * @param {number} now
   * @param {ServerMessage} message
   */
  #authAnswered(now, message) {
    this.#ofId.delete(message.id);
    if (message.ev === 'authed') {
      this.#refreshed = false;
      if (this.#phase === 'proving') this.#begin(now);
      return;
    }
    if (message.ev !== 'problem') return this.#drop(now, 1002);
    this.#closeLink(1000);
    this.#closed(now, 4401, errorOfProblem(message.problem).message);
  }

  /**
   * @param {number} now
   * @param {Listening} listening
   * @param {ServerMessage} message
   */
  #listenerHeard(now, listening, message) {
    if (message.ev === 'problem') return this.#listenerFailed(now, listening, errorOfProblem(message.problem));
    if (message.ev !== 'snapshot') return;
    const outcome = listening.target.event(message);
    if (outcome.kind === 'missed') return this.#missed(now, listening);
    if (!message.more) listening.missed = 0;
    if (outcome.kind === 'nothing') return;
    for (const ask of listening.asks) this.#outbox.push({ type: 'snapshot', ask, snapshot: outcome.snapshot });
  }

  /**
   * The event did not fit what is known: ask for the whole.
   *
   * @param {number} now
   * @param {Listening} listening
   */
  #missed(now, listening) {
    this.#sendUnlisten(listening);
    if (++listening.missed > MISSED_MAX) {
      this.#listenerFailed(now, listening, new HearthError('data-loss', 'the server sent changes that do not fit the result'));
      return;
    }
    listening.target.forget();
    this.#sendListen(listening);
  }

  /**
   * @param {number} now
   * @param {Listening} listening
   * @param {HearthError} error
   */
  #listenerFailed(now, listening, error) {
    if (listening.id !== null) this.#ofId.delete(listening.id);
    this.#targets.delete(Target.key(listening.target.path, listening.target.query));
    for (const ask of listening.asks) {
      this.#listeningOfAsk.delete(ask);
      this.#outbox.push({ type: 'failed', ask, error });
    }
    this.#rest(now);
  }

  /**
   * @param {number} now
   * @param {Pending} pending
   * @param {ServerMessage} message
   */
  #requestAnswered(now, pending, message) {
    const { ask, request } = pending;
    if (message.ev === 'result' && message.part !== undefined && message.more) {
      pending.docs.push(...(message.docs ?? []));
      return;
    }
    this.#ofId.delete(message.id);
    if (message.ev === 'problem' && message.problem.code === 'unavailable' && pending.putOff < REQUEST_TRIES_MAX) {
      pending.retryAt = now + Math.min(BACKOFF_MS_MIN * 2 ** pending.putOff++, BACKOFF_MS_MAX) * (0.8 + 0.4 * this.#random());
      return;
    }
    this.#pending.delete(ask);
    if (message.ev === 'problem') {
      this.#outbox.push({ type: 'failed', ask, error: errorOfProblem(message.problem) });
    } else if (message.ev === 'result' && request.kind === 'get') {
      const docs = message.docs && [...pending.docs, ...message.docs];
      this.#outbox.push({ type: 'result', ask, result: { ...message, docs } });
    } else if (message.ev === 'committed' && request.kind === 'commit') {
      this.#outbox.push({ type: 'committed', ask, version: message.version });
    } else {
      this.#outbox.push({ type: 'failed', ask, error: new HearthError('internal', `unexpected answer ${message.ev}`) });
    }
    this.#rest(now);
  }

  // What is sent.

  /** @param {ClientMessage} message */
  #send(message) {
    if (this.#link) this.#outbox.push({ type: 'send', link: this.#link.number, message });
  }

  /** @param {string} token */
  #sendAuth(token) {
    const id = ++this.#idLast;
    this.#ofId.set(id, 'auth');
    this.#send({ id, op: 'auth', token });
  }

  /** @param {Listening} listening */
  #sendListen(listening) {
    const { target } = listening;
    const id = ++this.#idLast;
    listening.id = id;
    this.#ofId.set(id, listening);
    target.ask();
    this.#send({
      id, op: 'listen', path: target.path,
      ...(target.query && { query: target.query }), ...(target.since !== undefined && { since: target.since }),
    });
  }

  /** @param {Listening} listening */
  #sendUnlisten(listening) {
    if (listening.id === null) return;
    this.#ofId.delete(listening.id);
    this.#send({ id: listening.id, op: 'unlisten' });
    listening.id = null;
  }

  /** @param {Pending} pending */
  #sendRequest(pending) {
    const { kind, ...body } = pending.request;
    const id = ++this.#idLast;
    pending.retryAt = null;
    this.#ofId.set(id, pending);
    this.#send(/** @type {ClientMessage} */ ({ id, op: kind, ...body }));
  }

  /**
   * @param {number} now
   * @param {Link} link
   */
  #ping(now, link) {
    link.pingedAt = now;
    this.#send({ id: 0, op: 'ping' });
  }

  // Time.

  /** @param {number} now */
  #rest(now) {
    if (this.#targets.size + this.#pending.size === 0) this.#idleSince = now;
  }

  get #isIdle() {
    return this.#targets.size + this.#pending.size === 0;
  }

  get #openMsMax() {
    return this.#trusted === null && this.#rung < this.#transports.length - 1 ? OPEN_MS_MAX_OF_FIRST : OPEN_MS_MAX;
  }

  /** @returns {Generator<number>} */
  *#deadlines() {
    const link = this.#link;
    if (this.#phase === 'waiting') yield this.#retryAt;
    if (link && (this.#phase === 'opening' || this.#phase === 'proving')) yield link.since + this.#openMsMax;
    if (link && this.#phase === 'open') {
      yield link.pingedAt === null ? link.heardAt + SILENCE_MS_MAX : link.pingedAt + PONG_MS_MAX;
      if (this.#isIdle) yield this.#idleSince + IDLE_MS_MAX;
    }
    for (const pending of this.#pending.values()) {
      if (pending.retryAt !== null && this.#phase === 'open') yield pending.retryAt;
      if (pending.request.kind === 'get' && this.#phase !== 'open') yield this.#readEndsAt(pending);
    }
  }

  /** @param {Pending} pending */
  #readEndsAt(pending) {
    return Math.max(pending.askedAt, this.#downSince) + READ_WAIT_MS_MAX;
  }

  /** @param {number} now */
  #tick(now) {
    this.#failReads(now);
    const link = this.#link;
    switch (this.#phase) {
      case 'waiting':
        if (this.#isIdle) this.#phase = 'idle';
        else if (now >= this.#retryAt) this.#connect();
        break;
      case 'opening':
      case 'proving':
        if (link && now >= link.since + this.#openMsMax) this.#drop(now, 1000);
        break;
      case 'open':
        if (link) this.#tend(now, link);
        break;
    }
  }

  /**
   * @param {number} now
   * @param {Link} link
   */
  #tend(now, link) {
    if (this.#isIdle && now >= this.#idleSince + IDLE_MS_MAX) {
      this.#closeLink(1000);
      this.#forgetLink(now);
      this.#phase = 'idle';
      return;
    }
    if (link.pingedAt !== null && now >= link.pingedAt + PONG_MS_MAX) return this.#drop(now, 1000);
    if (link.pingedAt === null && now >= link.heardAt + SILENCE_MS_MAX) this.#ping(now, link);
    for (const pending of this.#pending.values()) {
      if (pending.retryAt !== null && now >= pending.retryAt) this.#sendRequest(pending);
    }
  }

  /** @param {number} now */
  #failReads(now) {
    if (this.#phase === 'open') return;
    for (const pending of this.#pending.values()) {
      if (pending.request.kind !== 'get' || now < this.#readEndsAt(pending)) continue;
      this.#pending.delete(pending.ask);
      const error = new HearthError('unavailable', 'the document could not be read: there is no connection to the server');
      this.#outbox.push({ type: 'failed', ask: pending.ask, error });
    }
  }

  #tellState() {
    const state = STATES[this.#phase];
    const transport = state === 'open' && this.#link ? this.#link.transport : null;
    if (state === this.#told.state && transport === this.#told.transport) return;
    this.#told = { state, transport };
    this.#outbox.push({ type: 'state', state: this.#told });
  }
}

/** @satisfies {{ readonly [phase: string]: ConnectionState['state'] }} */
const STATES = /** @type {const} */ ({
  idle: 'idle', asking: 'connecting', opening: 'connecting', proving: 'connecting', open: 'open', waiting: 'waiting', ended: 'closed',
});
