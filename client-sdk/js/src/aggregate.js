// Numbers about a result: counts, sums, averages, read once or kept current.

import { HearthError, invalid } from './errors.js';
import { fieldPath, printPath } from './fieldpath.js';
import { wireQuery } from './query.js';
import { observer } from './read.js';
import { decodeValue } from './wire/value.js';

/** @typedef {import('./fieldpath.js').FieldPath} FieldPath */
/** @typedef {import('./read.js').ErrorHeard} ErrorHeard */
/** @typedef {import('./read.js').Unsubscribe} Unsubscribe */
/** @typedef {import('./wire/message.js').Aggregates} Aggregates */

/**
 * @template T
 * @typedef {import('./reference.js').Query<T>} Query
 */

/**
 * One number to work out. `R` is what it comes to: an average of nothing is null.
 *
 * @template [R=number | null]
 * @typedef {{ readonly wire: { readonly [kind: string]: string | true }, readonly name: string, readonly result?: R }} AggregateField
 */

/** @typedef {{ readonly [name: string]: AggregateField<number> | AggregateField<number | null> }} AggregateSpec */

/**
 * @template {AggregateSpec} S
 * @typedef {{ [K in keyof S]: S[K] extends AggregateField<infer R> ? R : never }} AggregateResult
 */

/**
 * @template {AggregateSpec} S
 * @typedef {{ readonly query: Query<unknown>, readonly version: string, data(): AggregateResult<S> }} AggregateQuerySnapshot
 */

/**
 * How many documents.
 *
 * @returns {AggregateField<number>}
 */
export function count() {
  return { wire: { count: true }, name: 'count' };
}

/**
 * The sum of the numbers in a field; what is not a number does not count. Of integers beyond what JavaScript holds exactly, the nearest number.
 *
 * @param {string | FieldPath} field
 * @returns {AggregateField<number>}
 */
export function sum(field) {
  const name = printPath(fieldPath(field));
  return { wire: { sum: name }, name: `sum(${name})` };
}

/**
 * The average of the numbers in a field, or null when there are none.
 *
 * @param {string | FieldPath} field
 * @returns {AggregateField<number | null>}
 */
export function average(field) {
  const name = printPath(fieldPath(field));
  return { wire: { avg: name }, name: `avg(${name})` };
}

/**
 * @param {Query<unknown>} query
 * @returns {Promise<AggregateQuerySnapshot<{ count: AggregateField<number> }>>}
 */
export function getCountFromServer(query) {
  return getAggregateFromServer(query, { count: count() });
}

/**
 * Works out numbers at the server without fetching the documents.
 *
 * @template {AggregateSpec} S
 * @param {Query<unknown>} query
 * @param {S} spec a name of your choice for each number
 * @returns {Promise<AggregateQuerySnapshot<S>>}
 */
export async function getAggregateFromServer(query, spec) {
  const { version, aggregates } = await query.firestore.connection.get(query.spec.path, wireAggregates(query, spec));
  return snapshot(query, spec, version, aggregates ?? {});
}

/**
 * Calls `next` with the numbers, now and whenever they change. An error ends it.
 *
 * @template {AggregateSpec} S
 * @param {Query<unknown>} query
 * @param {S} spec
 * @param {(snapshot: AggregateQuerySnapshot<S>) => void} next
 * @param {ErrorHeard} [error]
 * @returns {Unsubscribe} nothing is heard after it was called
 */
export function onAggregate(query, spec, next, error) {
  return query.firestore.connection.listen(query.spec.path, wireAggregates(query, spec), {
    next: ({ version, aggregates }) => next(snapshot(query, spec, version, aggregates ?? {})),
    error: observer([next, error]).error,
  });
}

/**
 * @param {Query<unknown>} query
 * @param {AggregateSpec} spec
 */
function wireAggregates(query, spec) {
  // The same number under two names is asked for once.
  const fields = new Map(Object.values(spec).map(field => [field.name, field.wire]));
  if (fields.size === 0) throw invalid('an aggregation names at least one number');
  const { limit, ...rest } = wireQuery(query.spec);
  return { ...rest, ...(limit !== 'all' && limit !== undefined && { limit }), aggregates: [...fields.values()] };
}

/**
 * @template {AggregateSpec} S
 * @param {Query<unknown>} query
 * @param {S} spec
 * @param {string} version
 * @param {Aggregates} aggregates
 * @returns {AggregateQuerySnapshot<S>}
 */
function snapshot(query, spec, version, aggregates) {
  const data = Object.fromEntries(
    Object.entries(spec).map(([name, field]) => {
      if (!Object.hasOwn(aggregates, field.name)) throw new HearthError('data-loss', `the server did not answer ${field.name}`);
      const value = decodeValue(aggregates[field.name], query.firestore);
      return [name, value === null ? null : Number(value)];
    }),
  );
  return { query, version, data: () => /** @type {AggregateResult<S>} */ ({ ...data }) };
}
