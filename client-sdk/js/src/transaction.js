// Transactions: reads and then writes, committed only if nothing that was read has changed meanwhile.

import { HearthError, invalid } from './errors.js';
import { DocumentSnapshot } from './snapshot.js';
import { wireDelete, wireSet, wireUpdate } from './write.js';

/** @typedef {import('./fieldpath.js').FieldPath} FieldPath */
/** @typedef {import('./firestore.js').Firestore} Firestore */
/** @typedef {import('./reference.js').DocumentData} DocumentData */
/** @typedef {import('./wire/message.js').WireWrite} WireWrite */
/** @typedef {import('./write.js').SetOptions} SetOptions */

/**
 * @template T
 * @typedef {import('./reference.js').DocumentReference<T>} DocumentReference
 */
/**
 * @template T
 * @typedef {import('./write.js').WithFieldValue<T>} WithFieldValue
 */

const ATTEMPTS_MAX = 5;
const BACKOFF_MS_MIN = 50;

/**
 * Runs `update` and commits its writes; when a document that it read has changed in the meantime, runs it again, up to five times.
 * It must not do anything besides that must not happen twice.
 *
 * @template R
 * @param {Firestore} firestore
 * @param {(transaction: Transaction) => Promise<R>} update
 * @param {{ maxAttempts?: number }} [options]
 * @returns {Promise<R>} what `update` returned, once it is committed
 */
export async function runTransaction(firestore, update, { maxAttempts = ATTEMPTS_MAX } = {}) {
  if (!Number.isInteger(maxAttempts) || maxAttempts < 1) throw invalid('maxAttempts is a whole number above 0');
  for (let attempt = 1; ; attempt++) {
    const transaction = new Transaction(firestore);
    try {
      const result = await update(transaction);
      await transaction.commit();
      return result;
    } catch (error) {
      if (!(error instanceof HearthError && error.code === 'aborted') || attempt >= maxAttempts) throw error;
    }
    // Spread out, so that contenders do not meet again.
    const ms = BACKOFF_MS_MIN * 2 ** (attempt - 1) * (0.5 + Math.random());
    await new Promise(rested => setTimeout(rested, ms));
  }
}

/** One attempt of {@link runTransaction}. */
export class Transaction {
  #firestore;
  /** @type {{ [path: string]: string | null }} versions by path, null where nothing was */
  #reads = {};
  /** @type {WireWrite[]} */
  #writes = [];
  /** @type {Promise<string> | null} the version at which all reads are made: that of the first */
  #at = null;

  /** @param {Firestore} firestore */
  constructor(firestore) {
    this.#firestore = firestore;
  }

  /**
   * Reads a document. All documents of a transaction are read as they were at one moment.
   *
   * @template T
   * @param {DocumentReference<T>} ref
   * @returns {Promise<DocumentSnapshot<T>>}
   */
  async get(ref) {
    if (this.#writes.length > 0) throw invalid('a transaction must make all its reads before its writes');
    this.#check(ref);
    const { connection } = this.#firestore;
    const first = this.#at === null;
    const reading = this.#at === null ? connection.get(ref.path) : this.#at.then(at => connection.get(ref.path, undefined, at));
    if (first) {
      this.#at = reading.then(({ version }) => version);
      this.#at.catch(() => {}); // whoever reads first hears of it
    }
    const { docs = [] } = await reading;
    const snapshot = new DocumentSnapshot(ref, docs[0] ?? null);
    this.#reads[ref.path] = snapshot.version;
    return snapshot;
  }

  /**
   * @template T
   * @param {DocumentReference<T>} ref
   * @param {WithFieldValue<T> | Partial<WithFieldValue<T>>} data
   * @param {SetOptions} [options]
   */
  set(ref, data, options) {
    return this.#add(ref, wireSet(ref, data, options));
  }

  /**
   * @param {DocumentReference<unknown>} ref
   * @param {DocumentData | string | FieldPath} data
   * @param {...unknown} more
   */
  update(ref, data, ...more) {
    return this.#add(ref, wireUpdate(ref, [data, ...more]));
  }

  /** @param {DocumentReference<unknown>} ref */
  delete(ref) {
    return this.#add(ref, wireDelete(ref));
  }

  /** @internal */
  async commit() {
    // Without writes nothing is left to check: all reads were made at one version.
    if (this.#writes.length > 0) await this.#firestore.connection.commit(this.#writes, this.#reads);
  }

  /**
   * @param {DocumentReference<unknown>} ref
   * @param {WireWrite} write
   */
  #add(ref, write) {
    this.#check(ref);
    this.#writes.push(write);
    return this;
  }

  /** @param {DocumentReference<unknown>} ref */
  #check(ref) {
    if (ref.firestore !== this.#firestore) throw invalid('the document is of another database than the transaction');
  }
}
