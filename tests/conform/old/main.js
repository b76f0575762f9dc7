// Runs the suites of Firebase's web SDK with another version of it, in Node and, where there is a build for browsers, in Chromium:
//
//   node main.js firebase10 | firebase11 | @firebase
//
// The last is the newest `@firebase/firestore` by itself. TEST_HEARTH_BIN names the server.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

import { Hearth } from '../../../client-sdk/js/test/hearth.js';

const IN_NODE = ['node.js', 'lite.js'];
const IN_CHROMIUM = ['channel.test.js', 'offline.test.js'];

const [version = ''] = process.argv.slice(2);
const folder = fileURLToPath(new URL('../web/', import.meta.url));
const hook = new URL('./hook.js', import.meta.url);

async function run(files, settings) {
  const env = { ...process.env, TEST_FIREBASE: version, NODE_OPTIONS: `--import ${hook}`, ...settings };
  const [code] = await once(spawn('node', ['--test', ...files], { cwd: folder, stdio: 'inherit', env }), 'exit');
  if (code) process.exitCode = 1;
}

const hearth = await Hearth.start();
await run(IN_NODE, { FIRESTORE_EMULATOR_HOST: new URL(hearth.host).host });
await hearth.stop();
if (!version.startsWith('@')) await run(IN_CHROMIUM, {});
