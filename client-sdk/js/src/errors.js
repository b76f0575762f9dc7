// What goes wrong, as one kind of error with a code. It decides nothing about retries.

/**
 * The codes of {@link HearthError}: Firestore's canonical names in kebab case.
 *
 * @typedef {'cancelled' | 'unknown' | 'invalid-argument' | 'deadline-exceeded' | 'not-found' | 'already-exists'
 *   | 'permission-denied' | 'resource-exhausted' | 'failed-precondition' | 'aborted' | 'out-of-range'
 *   | 'unimplemented' | 'internal' | 'unavailable' | 'data-loss' | 'unauthenticated'} ErrorCode
 */

/**
 * The server's account of an error (RFC 9457), as far as the SDK looks into it.
 *
 * @typedef {{ code?: string, title?: string, detail?: string, status?: number, at?: string, request?: string }} Problem
 */

/** @type {ReadonlySet<string>} */
const CODES = new Set([
  'cancelled', 'unknown', 'invalid-argument', 'deadline-exceeded', 'not-found', 'already-exists', 'permission-denied',
  'resource-exhausted', 'failed-precondition', 'aborted', 'out-of-range', 'unimplemented', 'internal', 'unavailable',
  'data-loss', 'unauthenticated',
]);

/** Every error of this package. `code` says what kind it is, `message` what happened. */
export class HearthError extends Error {
  /**
   * @param {ErrorCode} code
   * @param {string} message
   * @param {Problem} [problem] the server's own words, where the error came from it
   */
  constructor(code, message, problem) {
    super(message);
    this.name = 'HearthError';
    /** @readonly */
    this.code = code;
    /** @readonly */
    this.problem = problem;
  }
}

/**
 * The error that a server's problem object tells of. An unknown code becomes `unknown`.
 *
 * @param {Problem} problem
 * @returns {HearthError}
 */
export function errorOfProblem(problem) {
  const code = /** @type {ErrorCode} */ (CODES.has(problem.code ?? '') ? problem.code : 'unknown');
  const words = problem.detail ?? problem.title ?? code;
  return new HearthError(code, problem.at ? `${words} (at ${problem.at})` : words, problem);
}

/**
 * An `invalid-argument` error: the program called the SDK wrongly.
 *
 * @param {string} message
 * @returns {HearthError}
 */
export function invalid(message) {
  return new HearthError('invalid-argument', message);
}
