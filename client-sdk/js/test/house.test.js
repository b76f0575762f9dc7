// The rules of this package's house: who may import whom, how heavy it is, that it runs without a build.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';

import ts from 'typescript';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const assets = join(root, '../../server/hearth/assets');
const tsc = join(root, 'node_modules/typescript/bin/tsc');

/**
 * @param {string} file under the root
 * @returns {string[]} files that it needs at run time, under the root
 */
function imports(file) {
  const text = readFileSync(join(root, file), 'utf8');
  return [...text.matchAll(/^(?:import|export)\b[^;]*?from '([^']+)';/gms)].map(([, specifier = '']) => {
    assert.match(specifier, /^\.\.?\/.*\.js$/, `${file} imports ${specifier}, which a browser cannot resolve`);
    return relative(root, join(root, dirname(file), specifier));
  });
}

/**
 * @param {string} entry
 * @returns {Set<string>} all files that it needs
 */
function reach(entry) {
  const reached = new Set([entry]);
  for (const file of reached) for (const next of imports(file)) reached.add(next);
  return reached;
}

/** @param {string} folder */
function filesOf(folder) {
  return readdirSync(join(root, folder)).map(file => `${folder}/${file}`);
}

test('what listens and what speaks the wire opens no connection', () => {
  for (const file of [...filesOf('src/listen'), ...filesOf('src/wire'), 'src/session.js']) {
    for (const reached of reach(file)) assert.ok(!reached.startsWith('src/link/') && reached !== 'src/connection.js', `${file} reaches ${reached}`);
  }
});

test('only the links open connections, and only the shell has a clock', () => {
  for (const file of [...reach('hearth.js')].filter(file => !file.startsWith('src/link/'))) {
    const code = readFileSync(join(root, file), 'utf8').replace(/\/\*[\s\S]*?\*\/|\/\/.*/g, '');
    assert.doesNotMatch(code, /\bfetch\(|new (?:WebSocket|EventSource|XMLHttpRequest)\b/, file);
    if (!['src/connection.js', 'src/transaction.js'].includes(file)) assert.doesNotMatch(code, /setTimeout|setInterval|performance\.|Math\.random/, file);
  }
});

test('the entry stays within its budget', context => {
  const { budget } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  for (const [entry, { servedBytesMax, bundledBytesMax }] of Object.entries(budget)) {
    const texts = [...reach(entry)].map(file => readFileSync(join(root, file), 'utf8'));
    // As the server hands them out, comments and all; and as a bundler ships them, which at least drops the comments.
    const served = texts.reduce((sum, text) => sum + gzipSync(text).length, 0);
    const code = texts.map(text => ts.transpile(text, { target: ts.ScriptTarget.ESNext, module: ts.ModuleKind.ESNext, removeComments: true }));
    const bundled = gzipSync(code.join('\n')).length;
    context.diagnostic(`${entry}: ${served} of ${servedBytesMax} bytes served, ${bundled} of ${bundledBytesMax} bundled, both compressed`);
    assert.ok(served <= servedBytesMax, `${entry} is served in ${served} bytes, over its budget of ${servedBytesMax}`);
    assert.ok(bundled <= bundledBytesMax, `${entry} is bundled into ${bundled} bytes, over its budget of ${bundledBytesMax}`);
  }
});

test('types hold, also those that strangers rely on', { timeout: 120_000 }, () => {
  compile(['--project', join(root, 'tsconfig.json')]);
});

test('the emitted types stand on their own', { timeout: 120_000 }, () => {
  const folder = mkdtempSync(join(tmpdir(), 'hearth-types-'));
  try {
    compile(['--project', join(root, 'tsconfig.types.json'), '--outDir', join(folder, 'types')]);
    writeFileSync(join(folder, 'use.ts'), `
      import { collection, getFirestore, onSnapshot, type DocumentReference } from './types/hearth.js';
      const stop: () => void = onSnapshot(collection<{ n: number }>(getFirestore(), 'c'), s => s.docs.map(d => d.data().n + 1));
      export const ref: DocumentReference<{ n: number }> | undefined = undefined;
      stop();
    `);
    const compilerOptions = { strict: true, noEmit: true, target: 'es2022', module: 'nodenext', lib: ['es2022', 'dom'], types: [] };
    writeFileSync(join(folder, 'package.json'), '{"type":"module"}');
    writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify({ compilerOptions, include: ['use.ts'] }));
    compile(['--project', folder]);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('the pages that the server hands out fit this package and a strict policy', { timeout: 120_000 }, () => {
  const folder = mkdtempSync(join(tmpdir(), 'hearth-pages-'));
  try {
    // As the server lays them out.
    mkdirSync(join(folder, 'sdk'));
    cpSync(join(root, 'hearth.js'), join(folder, 'sdk/hearth.js'));
    cpSync(join(root, 'src'), join(folder, 'sdk/src'), { recursive: true });
    cpSync(join(assets, 'live'), join(folder, 'sdk/live'), { recursive: true });
    cpSync(join(assets, 'demo'), join(folder, 'demo'), { recursive: true });
    writeFileSync(join(folder, 'package.json'), '{"type":"module"}');
    const { compilerOptions } = JSON.parse(readFileSync(join(root, 'tsconfig.json'), 'utf8'));
    const options = { ...compilerOptions, types: [] };
    writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify({ compilerOptions: options, include: ['demo/*.js', 'sdk/live/*.js'] }));
    compile(['--project', folder]);
  } finally {
    rmSync(folder, { recursive: true });
  }
  for (const page of ['demo', 'live']) {
    for (const file of readdirSync(join(assets, page))) {
      const text = readFileSync(join(assets, page, file), 'utf8');
      assert.doesNotMatch(text, /https?:\/\/(?!www\.w3\.org)|innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b/, `${page}/${file}`);
      if (file.endsWith('.html')) assert.doesNotMatch(text, /<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=/i, `${page}/${file} has something inline`);
      if (file.endsWith('.js')) assert.doesNotMatch(text, /\.style\b|setAttribute\('(?:style|on)/, `${page}/${file}`);
    }
  }
});

/** @param {string[]} args */
function compile(args) {
  try {
    execFileSync(process.execPath, [tsc, ...args], { encoding: 'utf8', stdio: 'pipe' });
  } catch (error) {
    assert.fail(/** @type {{ stdout: string }} */ (error).stdout);
  }
}
