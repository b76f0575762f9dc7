// The types of values that JavaScript lacks. They know nothing of the wire.

import { invalid } from './errors.js';

/** First and last second of a timestamp: the years 1 to 9999. */
const SECONDS_MIN = -62_135_596_800;
const SECONDS_MAX = 253_402_300_799;

/** A moment, to the nanosecond. The database keeps microseconds and cuts off the rest. */
export class Timestamp {
  /**
   * @param {number} seconds since 1970, whole
   * @param {number} nanoseconds 0 to 999,999,999, counted forward from `seconds`
   */
  constructor(seconds, nanoseconds) {
    if (!Number.isInteger(seconds) || seconds < SECONDS_MIN || seconds > SECONDS_MAX) {
      throw invalid(`timestamp seconds are out of range: ${seconds}`);
    }
    if (!Number.isInteger(nanoseconds) || nanoseconds < 0 || nanoseconds > 999_999_999) {
      throw invalid(`timestamp nanoseconds are out of range: ${nanoseconds}`);
    }
    /** @readonly */
    this.seconds = seconds;
    /** @readonly */
    this.nanoseconds = nanoseconds;
  }

  static now() {
    return Timestamp.fromMillis(Date.now());
  }

  /** @param {Date} date */
  static fromDate(date) {
    return Timestamp.fromMillis(date.getTime());
  }

  /** @param {number} millis since 1970 */
  static fromMillis(millis) {
    const seconds = Math.floor(millis / 1000);
    return new Timestamp(seconds, Math.floor((millis - seconds * 1000) * 1e6));
  }

  toDate() {
    return new Date(this.toMillis());
  }

  toMillis() {
    return this.seconds * 1000 + Math.floor(this.nanoseconds / 1e6);
  }

  /**
   * @param {Timestamp} other
   * @returns {boolean}
   */
  isEqual(other) {
    return other instanceof Timestamp && other.seconds === this.seconds && other.nanoseconds === this.nanoseconds;
  }

  toString() {
    return `Timestamp(seconds=${this.seconds}, nanoseconds=${this.nanoseconds})`;
  }

  toJSON() {
    return { seconds: this.seconds, nanoseconds: this.nanoseconds };
  }

  /** Text whose order is the order of time, so that `<` and `>` work on timestamps. */
  valueOf() {
    const seconds = String(this.seconds - SECONDS_MIN).padStart(12, '0');
    return `${seconds}.${String(this.nanoseconds).padStart(9, '0')}`;
  }
}

/** A point on the globe, in degrees. */
export class GeoPoint {
  /**
   * @param {number} latitude −90 to 90
   * @param {number} longitude −180 to 180
   */
  constructor(latitude, longitude) {
    if (!(latitude >= -90 && latitude <= 90)) throw invalid(`latitude is out of range: ${latitude}`);
    if (!(longitude >= -180 && longitude <= 180)) throw invalid(`longitude is out of range: ${longitude}`);
    /** @readonly */
    this.latitude = latitude;
    /** @readonly */
    this.longitude = longitude;
  }

  /**
   * @param {GeoPoint} other
   * @returns {boolean}
   */
  isEqual(other) {
    return other instanceof GeoPoint && other.latitude === this.latitude && other.longitude === this.longitude;
  }

  toJSON() {
    return { latitude: this.latitude, longitude: this.longitude };
  }
}

/** Bytes that do not change. */
export class Bytes {
  #base64;

  /** @param {string} base64 checked by the ways in below */
  constructor(base64) {
    this.#base64 = base64;
  }

  /** @param {string} base64 padded, standard alphabet */
  static fromBase64String(base64) {
    try {
      return new Bytes(btoa(atob(base64)));
    } catch {
      throw invalid('the text is not base64');
    }
  }

  /** @param {Uint8Array} array copied */
  static fromUint8Array(array) {
    let text = '';
    for (const byte of array) text += String.fromCharCode(byte);
    return new Bytes(btoa(text));
  }

  toBase64() {
    return this.#base64;
  }

  /** A fresh array each time. */
  toUint8Array() {
    return Uint8Array.from(atob(this.#base64), letter => letter.charCodeAt(0));
  }

  /**
   * @param {Bytes} other
   * @returns {boolean}
   */
  isEqual(other) {
    return other instanceof Bytes && other.toBase64() === this.#base64;
  }

  toString() {
    return `Bytes(base64: ${this.#base64})`;
  }
}

/** A list of finite doubles that is stored and compared as one value. Made by {@link vector}. */
export class VectorValue {
  #numbers;

  /** @param {readonly number[]} numbers */
  constructor(numbers) {
    for (const number of numbers) {
      if (!Number.isFinite(number)) throw invalid(`a vector holds finite numbers only, not ${number}`);
    }
    this.#numbers = [...numbers];
  }

  /** A fresh array each time. */
  toArray() {
    return [...this.#numbers];
  }

  /**
   * @param {VectorValue} other
   * @returns {boolean}
   */
  isEqual(other) {
    if (!(other instanceof VectorValue)) return false;
    const theirs = other.toArray();
    return theirs.length === this.#numbers.length && theirs.every((number, at) => number === this.#numbers[at]);
  }

  toJSON() {
    return this.toArray();
  }
}

/**
 * @param {readonly number[]} [numbers]
 * @returns {VectorValue}
 */
export function vector(numbers = []) {
  return new VectorValue(numbers);
}

/**
 * What the server shall make of a field when the write is carried out. Stands where a field's value stands,
 * never inside an array.
 */
export class FieldValue {
  /**
   * @param {string} name the function that made it, for errors
   * @param {string} key its key on the wire
   * @param {unknown} operand a value, or a list of values for the array transforms
   */
  constructor(name, key, operand) {
    /** @readonly */
    this.name = name;
    /** @readonly */
    this.key = key;
    /** @readonly */
    this.operand = operand;
  }
}

/** The time of the commit. */
export function serverTimestamp() {
  return new FieldValue('serverTimestamp', '$serverTimestamp', true);
}

/**
 * Adds to the number in the field; a field that holds no number becomes `by`.
 *
 * @param {number | bigint} by
 */
export function increment(by) {
  return new FieldValue('increment', '$increment', numeric('increment', by));
}

/**
 * Keeps the greater of the field's number and `bound`.
 *
 * @param {number | bigint} bound
 */
export function maximum(bound) {
  return new FieldValue('maximum', '$max', numeric('maximum', bound));
}

/**
 * Keeps the smaller of the field's number and `bound`.
 *
 * @param {number | bigint} bound
 */
export function minimum(bound) {
  return new FieldValue('minimum', '$min', numeric('minimum', bound));
}

/**
 * Appends those values that the array in the field lacks.
 *
 * @param {...unknown} values
 */
export function arrayUnion(...values) {
  return new FieldValue('arrayUnion', '$arrayUnion', values);
}

/**
 * Takes every occurrence of the values out of the array in the field.
 *
 * @param {...unknown} values
 */
export function arrayRemove(...values) {
  return new FieldValue('arrayRemove', '$arrayRemove', values);
}

/** Removes the field. For `updateDoc`, and for `setDoc` with `merge` or `mergeFields`. */
export function deleteField() {
  return new FieldValue('deleteField', '$delete', true);
}

/**
 * @param {string} name
 * @param {number | bigint} operand
 */
function numeric(name, operand) {
  if (typeof operand !== 'number' && typeof operand !== 'bigint') throw invalid(`${name}() takes a number`);
  return operand;
}
