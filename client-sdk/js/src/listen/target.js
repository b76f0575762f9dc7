// One listened query: its result so far and where to take up again. Shared by all who listen to the same. Pure.

import { allAdded, difference, fold } from './view.js';

/** @typedef {import('../wire/message.js').Aggregates} Aggregates */
/** @typedef {import('../wire/message.js').JsonMap} JsonMap */
/** @typedef {import('../wire/message.js').SnapshotMessage} SnapshotMessage */
/** @typedef {import('../wire/message.js').WireDocument} WireDocument */
/** @typedef {import('./view.js').Change} Change */

/**
 * What a listener hears.
 *
 * @typedef {{ version: string, docs: readonly WireDocument[], changes: readonly Change[], aggregates: Aggregates | null }} Snapshot
 */

/**
 * What came of an event: news for the listeners, nothing new, or proof that something was missed.
 *
 * @typedef {{ kind: 'snapshot', snapshot: Snapshot } | { kind: 'nothing' } | { kind: 'missed' }} Outcome
 */

/** @type {Outcome} */
const NOTHING = { kind: 'nothing' };
/** @type {Outcome} */
const MISSED = { kind: 'missed' };

/** A listened query. */
export class Target {
  /** @type {Snapshot | null} the last whole result */
  #now = null;
  /** @type {string | undefined} */
  #token;
  /** True from asking until the first whole answer: only then may an event go back in version. */
  #asked = true;
  /** Whether it was asked for without a token, so that the first answer is the whole result. */
  #fresh = true;
  /** @type {{ part: number, reset: boolean, docs: readonly WireDocument[], changes: Change[] } | null} parts of an event that is not whole yet */
  #parts = null;

  /**
   * @param {string} path
   * @param {JsonMap | undefined} query
   */
  constructor(path, query) {
    /** @readonly */
    this.path = path;
    /** @readonly */
    this.query = query;
  }

  /** Queries with the same key have the same results. */
  static key(/** @type {string} */ path, /** @type {JsonMap | undefined} */ query) {
    return JSON.stringify([path, query ?? {}]);
  }

  /** The token to ask with, if there is one. */
  get since() {
    return this.#token;
  }

  /** The result as someone hears it who joins now: everything was added. Null before the first. */
  get current() {
    return this.#now && { ...this.#now, changes: allAdded(this.#now.docs) };
  }

  /** It is being asked for anew: what came in parts is void. */
  ask() {
    this.#asked = true;
    this.#fresh = this.#token === undefined;
    this.#parts = null;
  }

  /** Next time ask for everything. What is known stays, so that listeners hear only what differs. */
  forget() {
    this.#token = undefined;
  }

  /**
   * Takes one event of the server.
   *
   * @param {SnapshotMessage} event
   * @returns {Outcome}
   */
  event(event) {
    if (!this.#asked && !this.#parts && this.#now && !isLater(event.version, this.#now.version)) return NOTHING;
    if (event.aggregates) return this.#aggregate(event, event.aggregates);
    return this.#part(event);
  }

  /**
   * @param {SnapshotMessage} event
   * @param {Aggregates} aggregates
   * @returns {Outcome}
   */
  #aggregate(event, aggregates) {
    const same = this.#now && JSON.stringify(this.#now.aggregates) === JSON.stringify(aggregates);
    this.#settle(event, { version: event.version, docs: [], changes: [], aggregates });
    return same || !this.#now ? NOTHING : { kind: 'snapshot', snapshot: this.#now };
  }

  /**
   * @param {SnapshotMessage} event
   * @returns {Outcome}
   */
  #part(event) {
    const part = event.part ?? 1;
    const open = this.#parts;
    if (part !== (open ? open.part + 1 : 1)) return MISSED;
    const reset = open ? open.reset : event.reset === true || (this.#asked && this.#fresh);
    const base = open ? open.docs : reset ? [] : (this.#now?.docs ?? []);
    const view = fold(base, event.changes ?? []);
    if (!view) return MISSED;
    const changes = [...(open?.changes ?? []), ...view.changes];
    if (event.more && event.part !== undefined) {
      this.#parts = { part, reset, docs: view.docs, changes };
      return NOTHING;
    }
    if (event.size !== undefined && event.size !== view.docs.length) return MISSED;
    const first = this.#now === null;
    const told = reset ? difference(this.#now?.docs ?? [], view.docs) : changes;
    const snapshot = { version: event.version, docs: view.docs, changes: told, aggregates: null };
    this.#settle(event, snapshot);
    return first || told.length > 0 ? { kind: 'snapshot', snapshot } : NOTHING;
  }

  /**
   * @param {SnapshotMessage} event
   * @param {Snapshot} snapshot
   */
  #settle(event, snapshot) {
    this.#now = snapshot;
    this.#token = event.token ?? this.#token;
    this.#asked = false;
    this.#parts = null;
  }
}

/**
 * @param {string} left
 * @param {string} right
 * @returns {boolean} versions are whole numbers without leading zeros
 */
function isLater(left, right) {
  return left.length === right.length ? left > right : left.length > right.length;
}
