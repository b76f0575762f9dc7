// Builds queries in the JSON of `docs/query.md`. It sends nothing.

import { invalid } from './errors.js';
import { FieldPath, fieldPath, printPath } from './fieldpath.js';
import { DocumentReference, Query } from './reference.js';
import { DocumentSnapshot, wireOf } from './snapshot.js';
import { encodeValue, isMap } from './wire/value.js';

/** @typedef {import('./firestore.js').Firestore} Firestore */
/** @typedef {import('./reference.js').DocumentData} DocumentData */
/** @typedef {import('./wire/value.js').Json} Json */

/** @typedef {'==' | '!=' | '<' | '<=' | '>' | '>=' | 'in' | 'not-in' | 'array-contains' | 'array-contains-any'} WhereFilterOp */
/** @typedef {'asc' | 'desc'} OrderByDirection */

/**
 * A filter in wire form.
 *
 * @typedef {[field: string, op: string, value: Json] | { and: Filter[] } | { or: Filter[] }} Filter
 */

/**
 * Where a result begins or ends.
 *
 * @typedef {{ key: 'startAt' | 'startAfter' | 'endAt' | 'endBefore', values: Json[] }} Bound
 */

/**
 * A query, all of it in wire form.
 *
 * @typedef {{
 *   path: string,
 *   filters: Filter[],
 *   orders: [field: string, direction: OrderByDirection][],
 *   limit?: number,
 *   limitToLast?: number,
 *   start?: Bound,
 *   end?: Bound,
 * }} QuerySpec
 */

/** @typedef {{ firestore: Firestore, spec: QuerySpec }} Scope */

/**
 * A condition on documents: from {@link where}, {@link and}, {@link or}.
 *
 * @typedef {{ readonly type: 'where' | 'and' | 'or', readonly filter: (scope: Scope) => Filter }} QueryFilterConstraint
 */

/**
 * Anything else that {@link query} takes.
 *
 * @typedef {{ readonly type: 'orderBy' | 'limit' | 'limitToLast' | 'startAt' | 'startAfter' | 'endAt' | 'endBefore',
 *   readonly apply: (scope: Scope) => QuerySpec }} QueryNonFilterConstraint
 */

/** @typedef {QueryFilterConstraint | QueryNonFilterConstraint} QueryConstraint */

const OPERATORS = new Set(['==', '!=', '<', '<=', '>', '>=', 'in', 'not-in', 'array-contains', 'array-contains-any']);
const TAKES_LIST = new Set(['in', 'not-in', 'array-contains-any']);
/** Operators whose fields join the implied order. */
const INEQUALITIES = new Set(['!=', '<', '<=', '>', '>=', 'not-in']);
const NAME = '__name__';

/**
 * A narrower query. Conditions are joined by "and"; cursors are read after the orders whatever their place in the list.
 *
 * @template T
 * @param {Query<T>} base
 * @param {...QueryConstraint} constraints
 * @returns {Query<T>}
 */
export function query(base, ...constraints) {
  const { firestore } = base;
  /** @type {QuerySpec} */
  let spec = { ...base.spec };
  for (const constraint of constraints) {
    if ('filter' in constraint) {
      spec = { ...spec, filters: [...spec.filters, constraint.filter({ firestore, spec })] };
    }
  }
  const others = constraints.filter(constraint => 'apply' in constraint);
  for (const constraint of [...others.filter(c => !isBound(c)), ...others.filter(isBound)]) {
    spec = constraint.apply({ firestore, spec });
  }
  if (spec.limitToLast !== undefined && spec.orders.length === 0) throw invalid('limitToLast() needs an orderBy()');
  return new Query(firestore, spec);
}

/** @param {QueryNonFilterConstraint} constraint */
function isBound({ type }) {
  return type === 'startAt' || type === 'startAfter' || type === 'endAt' || type === 'endBefore';
}

/**
 * A condition on one field.
 *
 * @param {string | FieldPath} field
 * @param {WhereFilterOp} op
 * @param {unknown} value a list for `in`, `not-in`, `array-contains-any`; for `documentId()` an id, a path or a reference
 * @returns {QueryFilterConstraint}
 */
export function where(field, op, value) {
  const name = printPath(fieldPath(field));
  if (!OPERATORS.has(op)) throw invalid(`unknown operator ${JSON.stringify(op)}`);
  if (!TAKES_LIST.has(op)) return { type: 'where', filter: scope => [name, op, operand(name, value, scope)] };
  if (!Array.isArray(value) || value.length === 0) throw invalid(`${op} takes a list of at least one value`);
  return { type: 'where', filter: scope => [name, op, value.map(item => operand(name, item, scope))] };
}

/**
 * At least one condition holds.
 *
 * @param {...QueryFilterConstraint} filters
 * @returns {QueryFilterConstraint}
 */
export function or(...filters) {
  return { type: 'or', filter: scope => ({ or: inner('or', filters, scope) }) };
}

/**
 * All conditions hold.
 *
 * @param {...QueryFilterConstraint} filters
 * @returns {QueryFilterConstraint}
 */
export function and(...filters) {
  return { type: 'and', filter: scope => ({ and: inner('and', filters, scope) }) };
}

/**
 * @param {string} name
 * @param {readonly QueryFilterConstraint[]} filters
 * @param {Scope} scope
 */
function inner(name, filters, scope) {
  if (filters.length === 0) throw invalid(`${name}() needs at least one condition`);
  return filters.map(filter => filter.filter(scope));
}

/**
 * @param {string | FieldPath} field
 * @param {OrderByDirection} [direction]
 * @returns {QueryNonFilterConstraint}
 */
export function orderBy(field, direction = 'asc') {
  const name = printPath(fieldPath(field));
  if (direction !== 'asc' && direction !== 'desc') throw invalid('the direction is "asc" or "desc"');
  return {
    type: 'orderBy',
    apply: ({ spec }) => {
      if (spec.start || spec.end) throw invalid('orderBy() must come before the cursors of a query');
      return { ...spec, orders: [...spec.orders, [name, direction]] };
    },
  };
}

/**
 * At most so many, from the start.
 *
 * @param {number} count
 * @returns {QueryNonFilterConstraint}
 */
export function limit(count) {
  checkCount('limit', count);
  return { type: 'limit', apply: ({ spec }) => ({ ...spec, limit: count, limitToLast: undefined }) };
}

/**
 * At most so many, from the end, still in the order asked for.
 *
 * @param {number} count
 * @returns {QueryNonFilterConstraint}
 */
export function limitToLast(count) {
  checkCount('limitToLast', count);
  return { type: 'limitToLast', apply: ({ spec }) => ({ ...spec, limitToLast: count, limit: undefined }) };
}

/**
 * @param {string} name
 * @param {number} count
 */
function checkCount(name, count) {
  if (!Number.isInteger(count) || count < 1) throw invalid(`${name}() takes a whole number above 0`);
}

/**
 * Begin at these values of the order, or at this document.
 *
 * @param {...unknown} place values, or one DocumentSnapshot
 */
export function startAt(...place) {
  return bound('startAt', place);
}

/**
 * Begin behind these values of the order, or behind this document.
 *
 * @param {...unknown} place values, or one DocumentSnapshot
 */
export function startAfter(...place) {
  return bound('startAfter', place);
}

/**
 * End with these values of the order, or with this document.
 *
 * @param {...unknown} place values, or one DocumentSnapshot
 */
export function endAt(...place) {
  return bound('endAt', place);
}

/**
 * End before these values of the order, or before this document.
 *
 * @param {...unknown} place values, or one DocumentSnapshot
 */
export function endBefore(...place) {
  return bound('endBefore', place);
}

/**
 * @param {Bound['key']} key
 * @param {readonly unknown[]} place
 * @returns {QueryNonFilterConstraint}
 */
function bound(key, place) {
  if (place.length === 0) throw invalid(`${key}() needs values or a document`);
  const side = key === 'startAt' || key === 'startAfter' ? 'start' : 'end';
  const snapshot = place.length === 1 && place[0] instanceof DocumentSnapshot ? place[0] : null;
  return {
    type: key,
    apply: scope => {
      const orders = snapshot ? fullOrder(scope.spec) : scope.spec.orders;
      const values = snapshot
        ? orders.map(([field]) => fieldOf(snapshot, field, key))
        : place.map((value, at) => operand(orders[at]?.[0] ?? '', value, scope));
      if (values.length > orders.length) throw invalid(`${key}() has more values than the query has orders`);
      return { ...scope.spec, orders, [side]: { key, values } };
    },
  };
}

/**
 * The order that the server will use: what the query names, then fields of inequalities by name, then the document's name.
 *
 * @param {QuerySpec} spec
 * @returns {QuerySpec['orders']}
 */
function fullOrder(spec) {
  const orders = [...spec.orders];
  const direction = orders.at(-1)?.[1] ?? 'asc';
  const named = new Set(orders.map(([field]) => field));
  const implied = spec.filters.flatMap(inequalities).map(fieldPath).sort(compareNames).map(printPath);
  for (const field of [...implied, NAME]) {
    if (named.has(field)) continue;
    named.add(field);
    orders.push([field, direction]);
  }
  return orders;
}

/**
 * @param {Filter} filter
 * @returns {string[]} fields that it compares otherwise than by equality, apart from the document's name
 */
function inequalities(filter) {
  if (Array.isArray(filter)) return INEQUALITIES.has(filter[1]) && filter[0] !== NAME ? [filter[0]] : [];
  return ('and' in filter ? filter.and : filter.or).flatMap(inequalities);
}

/**
 * @param {FieldPath} left
 * @param {FieldPath} right
 */
function compareNames(left, right) {
  for (let at = 0; at < Math.min(left.names.length, right.names.length); at++) {
    const [a, b] = [/** @type {string} */ (left.names[at]), /** @type {string} */ (right.names[at])];
    if (a !== b) return a < b ? -1 : 1;
  }
  return left.names.length - right.names.length;
}

/**
 * @param {DocumentSnapshot<unknown>} snapshot
 * @param {string} field
 * @param {string} name of the function, for errors
 * @returns {Json} what stands in the field, as the server sent it
 */
function fieldOf(snapshot, field, name) {
  const wire = wireOf(snapshot);
  if (!wire) throw invalid(`${name}() needs a document that exists`);
  if (field === NAME) return { $ref: wire.path };
  /** @type {Json | undefined} */
  let value = wire.data;
  for (const key of fieldPath(field).names) {
    // A map with a single `$` key comes wrapped; any other value with one is not a map.
    /** @type {Json | undefined} */
    const map = value !== wire.data && isMap(value) && isMap(value['$map']) ? value['$map'] : value;
    value = isMap(map) && Object.hasOwn(map, key) ? map[key] : undefined;
  }
  if (value === undefined) throw invalid(`${name}(): the document ${wire.path} has no field ${field}, by which the query is ordered`);
  return value;
}

/**
 * @param {string} field
 * @param {unknown} value
 * @param {Scope} scope
 * @returns {Json}
 */
function operand(field, value, { firestore, spec }) {
  if (field !== NAME || value instanceof DocumentReference) return encodeValue(value, firestore, 'plain', field ? [field] : []);
  if (typeof value !== 'string' || value === '') throw invalid('documentId() compares with an id, a path or a reference');
  const group = spec.path.startsWith('~/');
  if (group && value.split('/').length % 2 === 1) throw invalid('in a collection group, documentId() compares with whole paths');
  return { $ref: group ? value : `${spec.path}/${value}` };
}

/**
 * Whether both ask the same of the same database.
 *
 * @param {Query<unknown>} left
 * @param {Query<unknown>} right
 * @returns {boolean}
 */
export function queryEqual(left, right) {
  return left.firestore === right.firestore && left.spec.path === right.spec.path
    && JSON.stringify(wireQuery(left.spec)) === JSON.stringify(wireQuery(right.spec));
}

/**
 * The query as it is sent. Without a limit it asks for everything, where the server by itself would stop at 1,000.
 *
 * @param {QuerySpec} spec
 * @returns {{ [key: string]: Json }}
 */
export function wireQuery(spec) {
  /** @type {{ [key: string]: Json }} */
  const wire = {};
  if (spec.filters.length === 1) wire['where'] = /** @type {Json} */ (spec.filters[0]);
  if (spec.filters.length > 1) wire['where'] = { and: spec.filters };
  if (spec.orders.length > 0) wire['orderBy'] = spec.orders;
  if (spec.limitToLast !== undefined) wire['limitToLast'] = spec.limitToLast;
  else wire['limit'] = spec.limit ?? 'all';
  if (spec.start) wire[spec.start.key] = spec.start.values;
  if (spec.end) wire[spec.end.key] = spec.end.values;
  return wire;
}
