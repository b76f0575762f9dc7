// A site on a port of its own that serves the SDK as npm brings it, so that pages import it without a build.

import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';

/** `firebase`, or the other version that `./soak conform-old` names. */
const OTHER = process.env['TEST_FIREBASE'];
const SDK = new URL(OTHER ? `../old/node_modules/${OTHER}/` : './node_modules/firebase/', import.meta.url);
/** The SDK's modules for browsers import each other by the address of their maker's host. */
const THEIR_ADDRESS = /"https:\/\/[^"]*\/(firebase-[a-z-]+\.js)"/g;

/** @returns {Promise<{ url: string, close: () => void }>} */
export async function serveSdk() {
  const server = createServer(async (request, response) => {
    const name = request.url ?? '/';
    if (name === '/') {
      response.setHeader('content-type', 'text/html').end('<!doctype html><title>Firebase</title>');
    } else if (/^\/firebase-[a-z-]+\.js$/.test(name)) {
      const text = await readFile(new URL(`.${name}`, SDK), 'utf8');
      response.setHeader('content-type', 'text/javascript').end(text.replace(THEIR_ADDRESS, '"./$1"'));
    } else {
      response.writeHead(404).end();
    }
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const { port } = /** @type {import('node:net').AddressInfo} */ (server.address());
  return {
    url: `http://127.0.0.1:${port}`,
    close: () => {
      server.close();
      server.closeAllConnections();
    },
  };
}
