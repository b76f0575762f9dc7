// Firestore's protocol itself, without the SDK around it: nothing is checked, repaired or asked again before it is sent.

import { readFileSync } from 'node:fs';
import { Client, Metadata, credentials } from '@grpc/grpc-js';
import protobuf from 'protobufjs';

// What the client carries and does not hand out.
const MESSAGES = new URL('../../node_modules/@google-cloud/firestore/build/protos/v1.json', import.meta.url);
const SERVICE = protobuf.Root.fromJSON(JSON.parse(readFileSync(MESSAGES, 'utf8'))).lookupService('google.firestore.v1.Firestore').resolveAll();
const SHOWN = { longs: String, enums: String, bytes: String };
/** The word by which both let everything be done, in development. */
const OWNER = Metadata.fromHttp2Headers({ authorization: 'Bearer owner' });
const PATIENCE_MS = 20_000;
const REST_PATIENCE_MS = 3_000;
const ANSWER_BYTES_MAX = 64 << 20;

/** A server by its address. */
export class Wire {
  #client;
  #host;

  constructor(host) {
    this.#host = host;
    this.#client = new Client(host, credentials.createInsecure(), { 'grpc.max_receive_message_length': ANSWER_BYTES_MAX });
  }

  /** The answers to a request: one, or those of a stream. */
  ask(method, request) {
    const { path, encode, decode, answersMany } = this.#method(method);
    const options = { deadline: Date.now() + PATIENCE_MS };
    return new Promise((done, fail) => {
      if (!answersMany) {
        this.#client.makeUnaryRequest(path, encode, decode, request, OWNER, options, (error, answer) => (error ? fail(error) : done(answer)));
        return;
      }
      const all = [];
      const stream = this.#client.makeServerStreamRequest(path, encode, decode, request, OWNER, options);
      stream.on('data', one => all.push(one)).on('error', fail).on('end', () => done(all));
    });
  }

  /** A stream both ways of a database. `next` is the next answer; it throws what the stream ends with. */
  open(method, database) {
    const { path, encode, decode } = this.#method(method);
    const metadata = OWNER.clone();
    // The emulator does not wait for the first message to know where it belongs.
    metadata.set('google-cloud-resource-prefix', database);
    const stream = this.#client.makeBidiStreamRequest(path, encode, decode, metadata, { deadline: Date.now() + PATIENCE_MS });
    const come = [];
    let over;
    let wake = () => {};
    const end = error => {
      over ??= error;
      wake();
    };
    stream.on('data', one => (come.push(one), wake())).on('error', end).on('end', () => end(new Error('the stream ended')));
    return {
      send: request => stream.write(request),
      next: async () => {
        while (!come.length && !over) await new Promise(done => (wake = done));
        if (come.length) return come.shift();
        throw over;
      },
      close: () => stream.cancel(),
    };
  }

  /** By REST: the status, and the answer as JSON or, where it is none, as text. */
  async rest(verb, path, { body, headers } = {}) {
    const response = await fetch(`http://${this.#host}/v1/${path}`, {
      method: verb,
      headers: { authorization: 'Bearer owner', ...(body !== undefined && { 'content-type': 'application/json' }), ...headers },
      body: body === undefined || typeof body === 'string' || body instanceof Uint8Array ? body : JSON.stringify(body),
      signal: AbortSignal.timeout(REST_PATIENCE_MS),
    }).catch(error => {
      if (error.name !== 'TimeoutError') throw error;
    });
    // The emulator leaves some requests without an answer.
    if (!response) return { status: 0, answer: 'no answer' };
    const text = await response.text();
    try {
      return { status: response.status, answer: JSON.parse(text) };
    } catch {
      return { status: response.status, answer: text };
    }
  }

  close() {
    this.#client.close();
  }

  #method(name) {
    const { resolvedRequestType: asks, resolvedResponseType: answers, responseStream } = SERVICE.methods[name];
    return {
      path: `/google.firestore.v1.Firestore/${name}`,
      encode: request => Buffer.from(asks.encode(asks.fromObject(request)).finish()),
      decode: bytes => answers.toObject(answers.decode(bytes), SHOWN),
      answersMany: Boolean(responseStream),
    };
  }
}

/** A value of JavaScript as the protocol has it: whole numbers are integers; `double`, `bytes` and so on say otherwise. */
export function value(given) {
  if (given instanceof Typed) return given.value;
  if (given === null) return { nullValue: 'NULL_VALUE' };
  if (typeof given === 'boolean') return { booleanValue: given };
  if (typeof given === 'string') return { stringValue: given };
  if (typeof given === 'bigint' || Number.isSafeInteger(given)) return { integerValue: String(given) };
  if (typeof given === 'number') return { doubleValue: given };
  if (Array.isArray(given)) return { arrayValue: { values: given.map(value) } };
  return { mapValue: { fields: fields(given) } };
}

export const fields = given => Object.fromEntries(Object.entries(given).map(([name, one]) => [name, value(one)]));

class Typed {
  constructor(value) {
    this.value = value;
  }
}

export const typed = value => new Typed(value);
export const double = doubleValue => typed({ doubleValue });
export const bytes = text => typed({ bytesValue: Buffer.from(text, 'latin1') });
export const time = (seconds, nanos = 0) => typed({ timestampValue: { seconds, nanos } });
export const geo = (latitude, longitude) => typed({ geoPointValue: { latitude, longitude } });
export const reference = referenceValue => typed({ referenceValue });
export const vector = (...numbers) => typed(value({ __type__: '__vector__', value: numbers.map(double) }));
