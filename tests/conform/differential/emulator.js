// Google's own emulator, where it is installed: Debian's package google-cloud-cli-firestore-emulator, and Java 17.

import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';

const PACKAGE = 'google-cloud-cli-firestore-emulator';

/** Its program, or in words what is missing. */
export function findEmulator() {
  const ask = (program, ...args) => {
    try {
      return execFileSync(program, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
    } catch {
      return '';
    }
  };
  const jar = ask('dpkg', '-L', PACKAGE).split('\n').find(path => path.endsWith('emulator.jar'));
  if (!jar) return { missing: `Debian's package ${PACKAGE}` };
  return ask('java', '--version') ? { jar } : { missing: 'java' };
}

/** Starts it on a free port of this machine, with further arguments. */
export async function startEmulator(jar, ...args) {
  const probe = createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const { port } = probe.address();
  probe.close();
  await once(probe, 'close');
  const main = 'com.google.cloud.datastore.emulator.firestore.CloudFirestore';
  const child = spawn('java', ['-cp', jar, main, '--host=127.0.0.1', `--port=${port}`, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  const end = () => child.kill('SIGKILL');
  process.once('exit', end);
  let said = '';
  await new Promise((done, fail) => {
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', piece => {
        said += piece;
        if (said.includes('Dev App Server is now running')) done();
      });
    }
    child.once('exit', () => fail(new Error(`the emulator ended:\n${said}`)));
  });
  return {
    host: `127.0.0.1:${port}`,
    stop: async () => {
      const ended = once(child, 'exit');
      end();
      await ended;
    },
  };
}
