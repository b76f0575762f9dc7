// What a server in production has that is made for it: a certificate that an authority has signed, and users with tokens.
// The authority is of this run alone, made by the `openssl` program.

import { execFileSync } from 'node:child_process';
import { createHash, createHmac, X509Certificate } from 'node:crypto';
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Keys of these tests, worth nothing elsewhere. */
const SECRET = 'a secret of the tests, worth nothing elsewhere';
export const ADMIN_KEY = 'test-only-admin-key-0123456789abcdef';
export const PROJECT = 'shop';

/** @typedef {ReturnType<typeof makeProduction>} Production */

/** A folder with all that `hearth serve` needs for TLS and users who may read and write. Who made it removes it. */
export function makeProduction() {
  const folder = mkdtempSync(join(tmpdir(), 'hearth-production-'));
  const openssl = (/** @type {string[]} */ ...args) => execFileSync('openssl', args, { cwd: folder, stdio: 'pipe' });
  const fresh = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2'];
  openssl('req', '-x509', ...fresh, '-keyout', 'ca-key.pem', '-out', 'ca.pem', '-subj', '/CN=Hearth test authority');
  const names = ['-addext', 'subjectAltName=DNS:localhost', '-addext', 'basicConstraints=CA:FALSE', '-addext', 'extendedKeyUsage=serverAuth'];
  openssl('req', '-x509', '-CA', 'ca.pem', '-CAkey', 'ca-key.pem', ...fresh, '-keyout', 'key.pem', '-out', 'cert.pem', '-subj', '/CN=localhost', ...names);
  writeFileSync(join(folder, 'secret'), SECRET);
  writeFileSync(join(folder, 'hearth.toml'), `project = "${PROJECT}"
[tls]
cert = "cert.pem"
key = "key.pem"
[access]
signed_in = "write"
[[issuers]]
issuer = "https://login.example"
audience = "${PROJECT}"
algorithm = "HS256"
key = { secret_file = "secret" }
`);
  const { publicKey } = new X509Certificate(readFileSync(join(folder, 'cert.pem')));
  const spki = createHash('sha256').update(publicKey.export({ type: 'spki', format: 'der' })).digest('base64');
  return {
    folder,
    config: join(folder, 'hearth.toml'),
    /** What clients have to trust. */
    authority: join(folder, 'ca.pem'),
    /** The only certificate that Chromium lets pass though it does not know who has signed it. */
    flags: [`--ignore-certificate-errors-spki-list=${spki}`],
  };
}

/**
 * A token of a user who is signed in.
 *
 * @param {string} sub
 */
export function userToken(sub) {
  const part = (/** @type {object} */ value) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const now = Math.floor(Date.now() / 1000);
  const signed = `${part({ alg: 'HS256', typ: 'JWT' })}.${part({ iss: 'https://login.example', aud: PROJECT, sub, iat: now, exp: now + 3_600 })}`;
  return `${signed}.${createHmac('sha256', SECRET).update(signed).digest('base64url')}`;
}
