// The real server for tests: started on a free port and a fresh folder, ended by its own handle. `TEST_HEARTH_BIN` names the program;
// without it, it is the one that `cargo build` leaves in this repository.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const program = process.env['TEST_HEARTH_BIN'] ?? fileURLToPath(new URL('../../../target/debug/hearth', import.meta.url));

/** A running `hearth dev` or `hearth serve`. */
export class Hearth {
  /** Where it listens, such as `http://127.0.0.1:40123`; the same after a restart. */
  host = '';
  #folder = mkdtempSync(join(tmpdir(), 'hearth-js-'));
  #args;
  #settings;
  #command = 'dev';
  /** @type {import('node:child_process').ChildProcess | null} */
  #child = null;
  #said = '';

  /**
   * @param {string[]} args besides `--listen` and `--data`
   * @param {Record<string, string>} [settings] variables of its environment
   */
  constructor(args, settings = {}) {
    this.#args = args;
    this.#settings = settings;
  }

  /**
   * Starts one, and waits until it serves.
   *
   * @param {...string} args
   * @returns {Promise<Hearth>}
   */
  static async start(...args) {
    return Hearth.startWith({}, ...args);
  }

  /**
   * The same with variables such as `HEARTH_LIMITS_PART_DOCS_MAX`.
   *
   * @param {Record<string, string>} settings
   * @param {...string} args
   * @returns {Promise<Hearth>}
   */
  static async startWith(settings, ...args) {
    const hearth = new Hearth(args, settings);
    await hearth.#run('127.0.0.1:0');
    return hearth;
  }

  /**
   * `hearth serve`, which is closed until somebody may.
   *
   * @param {Record<string, string>} settings
   * @param {...string} args
   * @returns {Promise<Hearth>}
   */
  static async serve(settings, ...args) {
    const hearth = new Hearth(args, settings);
    hearth.#command = 'serve';
    await hearth.#run('127.0.0.1:0');
    return hearth;
  }

  /** Ends it as a crash would, and starts it again on the same port and folder. */
  async restart() {
    await this.#end('SIGKILL');
    await this.resume();
  }

  /** Asks it to stop, and waits for its end. The folder stays for {@link Hearth.resume}. */
  async pause() {
    await this.#end('SIGTERM');
  }

  async resume() {
    await this.#run(new URL(this.host).host);
  }

  /** Ends it and removes its folder. */
  async stop() {
    await this.#end('SIGTERM');
    rmSync(this.#folder, { recursive: true });
  }

  /**
   * One request, as a program makes it that is no page.
   *
   * @param {string} method
   * @param {string} path such as `/db/messages`
   * @param {unknown} [body]
   * @returns {Promise<any>} the answer's JSON, null when it has none
   */
  async ask(method, path, body) {
    const response = await fetch(this.host + path, { method, ...(body !== undefined && { body: JSON.stringify(body) }) });
    const text = await response.text();
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`);
    return text === '' ? null : JSON.parse(text);
  }

  /** @param {string} listen */
  async #run(listen) {
    if (!existsSync(program)) throw new Error(`no server at ${program}: run \`cargo build -p hearth\`, or set TEST_HEARTH_BIN`);
    const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('HEARTH_')).concat(Object.entries(this.#settings)));
    const args = [this.#command, '--listen', listen, '--data', join(this.#folder, 'data'), ...this.#args];
    const child = spawn(program, args, { cwd: this.#folder, env, stdio: ['ignore', 'pipe', 'pipe'] });
    this.#child = child;
    this.#said = '';
    process.once('exit', this.#last);
    child.stderr.on('data', piece => (this.#said += piece));
    for await (const line of createInterface({ input: child.stdout })) {
      this.#said += `${line}\n`;
      const [, host] = /^hearth: listening on (\S+)/.exec(line) ?? [];
      if (host === undefined) continue;
      this.host = host;
      // Whatever else it says must not fill its pipe.
      child.stdout.resume();
      return;
    }
    throw new Error(`the server does not say where it listens:\n${this.#said}`);
  }

  /** @param {NodeJS.Signals} signal */
  async #end(signal) {
    const child = this.#child;
    this.#child = null;
    process.off('exit', this.#last);
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, 'exit');
    child.kill(signal);
    await ended;
  }

  /** A test that ends before its time takes the server with it. */
  #last = () => void this.#child?.kill('SIGKILL');
}
