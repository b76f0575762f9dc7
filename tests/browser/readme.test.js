// The page that README shows, taken from README.

import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after } from 'node:test';

import { scene } from './browser.js';

const folder = mkdtempSync(join(tmpdir(), 'hearth-readme-'));
after(() => rmSync(folder, { recursive: true }));

/**
 * @param {string} file from the root of the repository
 * @returns {string} its first block of HTML
 */
function page(file) {
  const [, html] = /```html\n([\s\S]*?)```/.exec(readFileSync(new URL(`../../${file}`, import.meta.url), 'utf8')) ?? [];
  assert.ok(html, `${file} shows no page`);
  return html;
}

writeFileSync(join(folder, 'index.html'), page('README.md'));
writeFileSync(join(folder, 'sdk.html'), page('client-sdk/js/README.md'));

scene('the page of README works as it stands', async ({ hearth, person }) => {
  const reader = await person();
  const hello = reader.waitForEvent('console', message => message.text() === 'hello');
  await reader.goto(hearth.host);
  await hello;
  const [{ data }] = (await hearth.ask('GET', '/db/messages')).docs;
  assert.equal(data.text, 'hello');
  // The line below it there, which the page is to print.
  const heard = reader.waitForEvent('console', message => message.text() === 'hello from curl');
  await hearth.ask('POST', '/db/messages', { text: 'hello from curl', sentAt: { $serverTimestamp: true } });
  await heard;
}, { server: ['--public', folder] });

scene('so does the one of the client', async ({ hearth, person }) => {
  const reader = await person();
  const printed = reader.waitForEvent('console', message => message.text() === '[hi]');
  await reader.goto(`${hearth.host}/sdk.html`);
  await printed;
}, { server: ['--public', folder] });
