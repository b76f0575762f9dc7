// A story: requests to one database, in an order, asked of both servers; what each answers is written down so that it can be
// compared. Times become which commit's they are, ids and tokens that they are there.

import { fields, value } from './wire.js';

const PROJECT = 'differential';
const TIMES = new Set(['createTime', 'updateTime', 'commitTime', 'readTime', 'timestampValue', 'executionTime']);
const IDS = new Set(['transaction', 'streamToken', 'streamId', 'nextPageToken', 'resumeToken', 'pageToken']);

/** One server's telling of a story. */
export class Telling {
  #wire;
  #commits = new Map();
  #streams = [];
  #givens = 0;
  /** What was asked and answered: `[step, answer, words]`. */
  told = [];

  constructor(wire, database) {
    this.#wire = wire;
    this.database = `projects/${PROJECT}/databases/${database}`;
    this.root = `${this.database}/documents`;
  }

  /** A document's whole name. */
  name(path) {
    return `${this.root}/${path}`;
  }

  /** Asks and writes down. Answers `undefined` where it was refused. */
  async ask(step, method, request, shown = one => one) {
    try {
      const answer = await this.#wire.ask(method, { ...this.#place(method), ...request });
      this.#note(answer, step);
      this.told.push([step, this.#text(shown(answer))]);
      return answer;
    } catch (error) {
      if (typeof error.code !== 'number') throw error;
      this.told.push([step, `refused ${error.code}`, error.details]);
      return undefined;
    }
  }

  /** Asks, and answers with which code, 0 where it was answered; nothing is written down. */
  async code(method, request) {
    try {
      await this.#wire.ask(method, { ...this.#place(method), ...request });
      return 0;
    } catch (error) {
      if (typeof error.code !== 'number') throw error;
      return error.code;
    }
  }

  /** The same as `ask` by REST; of a refusal status and code are written down. `path` is below the database. */
  async rest(step, verb, path, { from = `${this.database}/`, shown = one => one, ...more } = {}) {
    const { status, answer } = await this.#wire.rest(verb, `${from}${path}`, more);
    const error = (Array.isArray(answer) ? answer[0] : answer)?.error;
    if (status === 200 && !error) {
      this.told.push([step, this.#text(shown(answer))]);
      return answer;
    }
    // Where there is no such address the emulator says so in no form, and where a stream is answered not as a list, which
    // production does.
    const what = error?.status ?? { 0: 'NO ANSWER', 404: 'NOT_FOUND' }[status];
    this.told.push([step, `refused ${status} ${what}`, error?.message ?? String(answer)]);
    return undefined;
  }

  /** Writes down something else than an answer. */
  say(step, what) {
    this.told.push([step, this.#text(what)]);
  }

  commit(step, writes, more = {}) {
    return this.ask(step, 'Commit', { writes, ...more });
  }

  /** Sets documents, which is no step of its own but where it is refused. */
  async given(documents) {
    const writes = Object.entries(documents).map(([path, data]) => this.set(path, data));
    const answer = await this.#wire.ask('Commit', { database: this.database, writes });
    this.#note(answer, `given ${++this.#givens}`);
    return answer;
  }

  set(path, data, more = {}) {
    return { update: { name: this.name(path), fields: fields(data) }, ...more };
  }

  merge(path, mask, data, more = {}) {
    return this.set(path, data, { updateMask: { fieldPaths: mask }, ...more });
  }

  /** Transforms of a document, as SDKs write them today. */
  transform(path, ...updateTransforms) {
    return this.merge(path, [], {}, { updateTransforms });
  }

  read(step, ...paths) {
    return this.ask(step, 'BatchGetDocuments', { documents: paths.map(path => this.name(path)) }, found);
  }

  /** Runs a query; what is written down is which documents, or with `whole` their fields. */
  find(step, structuredQuery, { whole, parent, ...more } = {}) {
    // How many were skipped is not compared: the emulator says it of some queries twice and of others not at all.
    const show = ({ document }) => (whole ? `${document.name.slice(this.root.length + 1)} ${this.#text(document.fields)}` : document.name.slice(this.root.length + 1));
    return this.ask(step, 'RunQuery', { structuredQuery, ...(parent && { parent: this.name(parent) }), ...more }, all => all.filter(one => one.document).map(show));
  }

  number(step, structuredQuery, aggregations, more = {}) {
    return this.ask(step, 'RunAggregationQuery', { structuredAggregationQuery: { structuredQuery, aggregations }, ...more }, ([one]) => one.result?.aggregateFields ?? {});
  }

  /** A Listen stream with these targets, `{ targetId, query | documents, … }`; one that goes on knows what `before` knew. */
  listen(targets, before) {
    const stream = this.#wire.open('Listen', this.database);
    this.#streams.push(stream);
    return new Listener(this, stream, targets, before);
  }

  /** A Write stream: `say` sends a request with the last token, where it has no other, and writes down the next answer. */
  writing() {
    const stream = this.#wire.open('Write', this.database);
    this.#streams.push(stream);
    let token;
    const say = async (step, request) => {
      stream.send({ ...(token && { streamToken: token }), ...request });
      try {
        const answer = await stream.next();
        token = Buffer.from(answer.streamToken ?? '', 'base64');
        this.#note(answer, step);
        this.told.push([step, this.#text({ ...answer, streamId: answer.streamId ?? '' })]);
        return token;
      } catch (error) {
        this.told.push([step, `refused ${error.code ?? 'by an end'}`, error.details ?? error.message]);
        return undefined;
      }
    };
    return say;
  }

  close() {
    for (const stream of this.#streams) stream.close();
  }

  #place(method) {
    const inDatabase = ['BatchGetDocuments', 'BeginTransaction', 'Commit', 'Rollback', 'BatchWrite'];
    const below = ['RunQuery', 'RunAggregationQuery', 'ListCollectionIds', 'ListDocuments', 'CreateDocument', 'PartitionQuery'];
    if (inDatabase.includes(method)) return { database: this.database };
    return below.includes(method) ? { parent: this.root } : {};
  }

  /** Remembers the time of a commit, so that it can be told by its step. */
  #note(answer, step) {
    const times = [answer?.commitTime, ...(answer?.writeResults ?? []).map(one => one.updateTime), answer?.updateTime];
    for (const one of times) if (one && !this.#commits.has(stamp(one))) this.#commits.set(stamp(one), step);
  }

  /** What was answered, as text that is equal where the meaning is. */
  #text(given) {
    // The emulator says no time of a commit that writes nothing.
    if (given?.commitTime && !given.writeResults) return 'nothing written';
    if (given && Object.keys(given).length === 0) return 'nothing written';
    if (Array.isArray(given) && given.every(one => typeof one === 'string')) return given.join(' | ');
    return JSON.stringify(given, (key, one) => {
      if (TIMES.has(key) && one) {
        if (key === 'readTime' || key === 'executionTime') return 'a time';
        // JSON has a text, in which each server writes as many digits as it likes.
        if (typeof one === 'string') return /^\d{4}-\d\d-\d\dT[\d:]+(\.\d+)?Z$/.test(one) ? 'a time' : one;
        return this.#commits.has(stamp(one)) ? `time of “${this.#commits.get(stamp(one))}”` : stamp(one);
      }
      if (IDS.has(key) && one) return one.length ? 'there' : 'not there';
      if (typeof one === 'number' && !Number.isFinite(one)) return String(one);
      if (Object.is(one, -0)) return '-0';
      if (typeof one === 'string') return one.replaceAll(this.root, '…').replaceAll(this.database, '……');
      if (one && typeof one === 'object' && !Array.isArray(one)) return Object.fromEntries(Object.entries(one).sort(([a], [b]) => (a < b ? -1 : 1)));
      return one;
    }) ?? 'nothing';
  }
}

/** The target by which a listener knows that it was told everything. */
const MARKER = 1_000;
const REFUSED = 'refused';

/**
 * What a client of a Listen stream knows. What is compared is what it knows, not by which messages it came to know it: after
 * every change the emulator resets its targets and tells all anew.
 */
class Listener {
  #story;
  #stream;
  #current = new Map();
  /** What was removed and is not yet said to be. */
  #leaving = new Set();
  #views = new Map();
  #went = [];
  /** The last global snapshot's. */
  resumeToken;
  readTime;

  constructor(story, stream, targets, before = new Map()) {
    this.#story = story;
    this.#stream = stream;
    for (const one of targets) this.add(one);
    for (const [id, view] of before) this.#views.set(id, new Map(view));
    this.add({ targetId: MARKER, documents: { documents: [story.name('marker/listened')] } });
  }

  /** What each target shows, for a stream that goes on from here. */
  get views() {
    return new Map([...this.#views].map(([id, view]) => [id, new Map(view)]));
  }

  add(target) {
    this.#current.set(target.targetId, false);
    if (!this.#views.has(target.targetId)) this.#views.set(target.targetId, new Map());
    this.#stream.send({ database: this.#story.database, addTarget: target });
  }

  /** Sends anything. */
  ask(request) {
    this.#stream.send({ database: this.#story.database, ...request });
  }

  remove(targetId) {
    this.#current.delete(targetId);
    this.#leaving.add(targetId);
    this.#stream.send({ database: this.#story.database, removeTarget: targetId });
  }

  /** Reads until everything that was asked and committed is told, and writes down what each target shows. */
  async settle(step) {
    try {
      // Of requests on this stream and commits beside it neither waits for the other, and where they meet the emulator writes
      // two messages into each other: so nothing is committed before all that was asked here is answered.
      while (this.#leaving.size || [...this.#current.values()].some(is => !is)) {
        if ((await this.#read()) === REFUSED) return this.#say(step);
      }
      // No server tells of a commit that changes nothing of what is listened to, so there is one that does.
      const { commitTime } = await this.#story.given({ 'marker/listened': { step } });
      for (let told; !told || micros(told) < micros(commitTime);) {
        const read = await this.#read();
        if (read === REFUSED) break;
        told = read;
      }
    } catch (error) {
      if (typeof error.code !== 'number') throw error;
      this.#went.push(`the stream ended ${error.code}`, ...(process.env.TEST_WORDS ? [error.details] : []));
    }
    return this.#say(step);
  }

  #say(step) {
    this.#views.delete(MARKER);
    const views = [...this.#views].map(([id, view]) => [id, [...view].sort().map(one => one.join(' '))]);
    if (![...this.#current.keys()].some(id => id !== MARKER) || this.#went.some(one => one.startsWith('the stream'))) views.length = 0;
    this.#story.say(step, { went: this.#went.splice(0), views });
  }

  /** Reads the next message. Answers up to when all is told then, if it says so, or `REFUSED` where no target is left. */
  async #read() {
    const { targetChange: change, documentChange, documentDelete, documentRemove, filter } = await this.#stream.next();
    const path = name => name.slice(this.#story.root.length + 1);
    if (documentChange) {
      const { document, targetIds = [], removedTargetIds = [] } = documentChange;
      for (const id of targetIds) this.#views.get(id)?.set(path(document.name), JSON.stringify(Object.entries(document.fields ?? {}).sort()));
      for (const id of removedTargetIds) this.#views.get(id)?.delete(path(document.name));
    }
    for (const gone of [documentDelete, documentRemove]) {
      if (!gone) continue;
      for (const view of this.#views.values()) view.delete(path(gone.document));
    }
    if (filter) this.#went.push(`${filter.targetId} should have ${filter.count ?? 0}`);
    if (!change) return undefined;
    const type = change.targetChangeType ?? 'NO_CHANGE';
    const ids = change.targetIds?.length ? change.targetIds : [...this.#current.keys()];
    const staying = ids.filter(id => !this.#leaving.has(id));
    if (type === 'RESET') for (const id of staying) this.#views.get(id)?.clear(), this.#current.set(id, false);
    if (type === 'CURRENT') for (const id of staying) this.#current.set(id, true);
    if (type === 'REMOVE') {
      for (const id of ids) {
        this.#went.push(`${id} removed ${change.cause?.code ?? ''}`);
        if (!this.#leaving.delete(id)) {
          this.#current.delete(id);
          if (![...this.#current.keys()].some(id => id !== MARKER)) return REFUSED;
        } else if (this.#current.has(id)) {
          // Added anew meanwhile: what the old one showed is not the new one's.
          this.#views.get(id)?.clear();
        } else {
          this.#views.delete(id);
        }
      }
    }
    if (type !== 'NO_CHANGE' || change.targetIds?.length || !change.readTime) return undefined;
    if (this.#leaving.size || [...this.#current.values()].some(is => !is)) return undefined;
    Object.assign(this, { resumeToken: Buffer.from(change.resumeToken ?? '', 'base64'), readTime: change.readTime });
    return change.readTime;
  }
}

const micros = ({ seconds = '0', nanos = 0 }) => BigInt(seconds) * 1_000_000n + BigInt(nanos) / 1_000n;

const stamp = ({ seconds = '0', nanos = 0 }) => `${seconds}.${String(nanos).padStart(9, '0')}`;

/** The documents of a BatchGet in the order of their names: the protocol knows none. */
const found = answers => answers.filter(one => one.found || one.missing).map(one => one.found ?? { missing: one.missing })
  .sort((a, b) => ((a.name ?? a.missing) < (b.name ?? b.missing) ? -1 : 1));

// ---- queries, shortly

export const field = fieldPath => ({ fieldPath });
export const from = (collectionId, allDescendants = false) => ({ from: [{ collectionId, allDescendants }] });
export const where = (path, op, given) => ({ fieldFilter: { field: field(path), op, value: value(given) } });
export const unary = (path, op) => ({ unaryFilter: { field: field(path), op } });
export const all = (...filters) => ({ compositeFilter: { op: 'AND', filters } });
export const any = (...filters) => ({ compositeFilter: { op: 'OR', filters } });
export const by = (path, direction = 'ASCENDING') => ({ field: field(path), direction });
export const at = (before, ...values) => ({ before, values: values.map(value) });
