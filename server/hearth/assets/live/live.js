// The live page of an address: what a person sees who opens `/db/…` in a browser. It shows documents as text, keeps them
// current, and lets one add, edit and delete. The server sends only the frame, `<main data-path data-kind>`.

import {
  collection, collectionGroup, doc, getFirestore, initializeApp, limit, onConnectionState, onSnapshot, query, terminate,
} from '../hearth.js';
import { wireOf } from '../src/snapshot.js';
import { memberOf, parseExact, pretty, textOf } from './json.js';

/** @typedef {import('../hearth.js').DocumentSnapshot} DocumentSnapshot */

/** How many documents of a collection are shown at first, and how many more each time. */
const PAGE = 100;
/** How much of a document's content a line shows. */
const PREVIEW_CHARS = 300;

const main = /** @type {HTMLElement} */ (document.querySelector('main'));
const path = main.dataset['path'] ?? '';
const kind = main.dataset['kind'] ?? 'root';
const isGroup = path.startsWith('~/');

// The page's own address says which project and database it shows.
const place = /^(?:\/p\/([^/]+))?\/db(?:@([^/]+))?/.exec(location.pathname);
const base = place?.[0] ?? '/db';
let token = '';
const app = initializeApp({
  project: place?.[1] && decodeURIComponent(place[1]),
  database: place?.[2] && decodeURIComponent(place[2]),
  token: () => token || null,
  // So that a person sees whether a number is an integer.
  parse: parseExact,
});
let db = getFirestore(app);

/** What to begin anew when another user looks: each listener that a refusal may have ended. @type {(() => void)[]} */
const restart = [];
const trouble = element('p', { className: 'trouble', role: 'alert', hidden: true });
const status = element('p', { className: 'status', role: 'status' });
document.title = `${path || 'Database'} · Hearth`;
main.append(header(), trouble);
switch (kind) {
  case 'document': main.append(documentView(), collectionsView(`${path}/`)); break;
  case 'collection': main.append(collectionView()); break;
  default: main.append(collectionsView(''));
}
tellState();

function tellState() {
  onConnectionState(db, ({ state, transport }) => {
    const words = { open: `live · ${transport}`, waiting: 'connection lost, trying again', connecting: 'connecting', idle: '', closed: '' };
    status.textContent = words[state];
    status.dataset['state'] = state;
  });
}

function header() {
  const trail = element('nav', { ariaLabel: 'Path' });
  const segments = path === '' ? [] : isGroup ? [path] : path.split('/');
  const steps = [linkTo('', 'database'), ...segments.map((segment, at) => linkTo(segments.slice(0, at + 1).join('/'), segment))];
  steps.at(-1)?.setAttribute('aria-current', 'page');
  steps.forEach((step, at) => trail.append(...(at > 0 ? [' / '] : []), step));
  const top = element('header');
  top.append(trail, status, tokenBox());
  return top;
}

/** Where a server asks who one is, a token can be pasted. It stays in this page's memory. */
function tokenBox() {
  const box = element('input', { type: 'password', autocomplete: 'off', placeholder: 'token' });
  const form = element('form', { className: 'token' });
  const label = element('label', { textContent: 'Token ' });
  label.append(box);
  form.append(label, element('button', { type: 'submit', textContent: 'Use' }));
  form.addEventListener('submit', event => {
    event.preventDefault();
    token = box.value.trim();
    settle();
    // Who one is was said when the connection was opened: another user needs another one.
    void terminate(db);
    db = getFirestore(app);
    tellState();
    restart.forEach(again => again());
  });
  const details = element('details');
  details.append(element('summary', { textContent: 'Sign in' }), form);
  return details;
}

function collectionView() {
  const list = element('ul', { className: 'documents' });
  const empty = element('p', { className: 'empty', textContent: 'No documents.', hidden: true });
  const more = element('button', { type: 'button', textContent: 'Show more', hidden: true });
  const section = element('section');
  let shown = PAGE;
  let stop = () => {};
  const listen = () => {
    stop();
    list.replaceChildren();
    const source = isGroup ? collectionGroup(db, path.slice(2)) : collection(db, path);
    stop = onSnapshot(query(source, limit(shown)), snapshot => {
      settle();
      for (const { type, doc: document, oldIndex, newIndex } of snapshot.docChanges()) {
        if (type !== 'added') list.children[oldIndex]?.remove();
        if (type !== 'removed') list.insertBefore(line(document), list.children[newIndex] ?? null);
      }
      empty.hidden = !snapshot.empty;
      more.hidden = snapshot.size < shown;
    }, complain);
  };
  more.addEventListener('click', () => {
    shown += PAGE;
    listen();
  });
  restart.push(listen);
  listen();
  if (!isGroup) section.append(action('Add a document', () => edit(null)));
  section.append(empty, list, more);
  return section;
}

/** @param {DocumentSnapshot} snapshot */
function line(snapshot) {
  const where = snapshot.ref.path;
  const text = textOf(wireOf(snapshot)?.data ?? {});
  const item = element('li');
  const acts = element('span', { className: 'acts' });
  acts.append(action('Edit', () => edit(where), `Edit ${snapshot.id}`), action('Delete', () => remove(where), `Delete ${snapshot.id}`));
  item.append(
    linkTo(where, isGroup ? where : snapshot.id),
    element('code', { textContent: text.length > PREVIEW_CHARS ? `${text.slice(0, PREVIEW_CHARS)}…` : text }),
    acts,
  );
  return item;
}

function documentView() {
  const content = element('pre', { tabIndex: 0, ariaLabel: 'Content' });
  const times = element('p', { className: 'empty' });
  const removing = action('Delete', () => remove(path));
  const editing = action('Edit', () => edit(path));
  const section = element('section');
  let stop = () => {};
  const listen = () => {
    stop();
    stop = onSnapshot(doc(db, path), snapshot => {
      settle();
      const wire = wireOf(snapshot);
      content.textContent = wire ? pretty(textOf(wire.data)) : '';
      content.hidden = removing.hidden = !wire;
      editing.textContent = wire ? 'Edit' : 'Create';
      times.textContent = wire
        ? `created ${snapshot.createTime?.toDate().toLocaleString()}, changed ${snapshot.updateTime?.toDate().toLocaleString()}`
        : 'There is no document here.';
    }, complain);
  };
  restart.push(listen);
  listen();
  section.append(content, times, editing, removing);
  return section;
}

/** @param {string} before the path that leads to the collections, with a slash at its end unless it is empty */
function collectionsView(before) {
  const list = element('ul', { className: 'collections' });
  const section = element('section');
  const look = async () => {
    try {
      const response = await ask('GET', `${path}?collections`);
      const { collections } = /** @type {{ collections: string[] }} */ (await response.json());
      list.replaceChildren(...collections.map(id => {
        const item = element('li');
        item.append(linkTo(before + id, id));
        return item;
      }));
      if (collections.length === 0) list.append(element('li', { className: 'empty', textContent: 'none yet' }));
    } catch (error) {
      complain(error);
    }
  };
  restart.push(look);
  // Names of collections are not listened to: they are looked up again when somebody comes back to look.
  document.addEventListener('visibilitychange', () => document.visibilityState === 'visible' && void look());
  void look();

  const box = element('input', { required: true, placeholder: 'name', autocomplete: 'off' });
  const form = element('form', { className: 'go' });
  const label = element('label', { textContent: 'Another collection ' });
  label.append(box);
  form.append(label, element('button', { type: 'submit', textContent: 'Go' }));
  form.addEventListener('submit', event => {
    event.preventDefault();
    location.assign(address(before + box.value.trim()));
  });
  section.append(element('h2', { textContent: 'Collections' }), list, form);
  return section;
}

/**
 * Opens the editor. The text is the server's own, so that nothing is lost on the way (`3.0` stays a double).
 *
 * @param {string | null} where the document, or null for a new one in this collection
 */
async function edit(where) {
  let text = '{\n  \n}';
  let tag = '';
  if (where !== null) {
    try {
      const response = await ask('GET', where, { allow: 404 });
      tag = response.headers.get('ETag') ?? '';
      if (response.ok) text = pretty(memberOf(await response.text(), 'data') ?? '{}');
    } catch (error) {
      return complain(error);
    }
  }
  const id = element('input', { placeholder: 'automatic', autocomplete: 'off' });
  const idLabel = element('label', { textContent: 'Id ', hidden: where !== null });
  idLabel.append(id);
  const box = element('textarea', { value: text, rows: 16, spellcheck: false, ariaLabel: 'Content, as JSON' });
  const wrong = element('p', { className: 'trouble', role: 'alert', hidden: true });
  const dialog = element('dialog', { ariaLabel: where === null ? 'Add a document' : `Edit ${where}` });
  const form = element('form');
  const cancel = action('Cancel', () => dialog.close());
  form.append(element('h2', { textContent: where ?? `New in ${path}` }), idLabel, box, wrong, element('button', { type: 'submit', textContent: 'Save' }), cancel);
  form.addEventListener('submit', async event => {
    event.preventDefault();
    try {
      JSON.parse(box.value);
      const target = where ?? (id.value.trim() === '' ? null : `${path}/${id.value.trim()}`);
      // Neither a document that was there already nor somebody else's change is overwritten unseen.
      const isNew = where === null || tag === '"0"' || tag === '';
      const headers = new Headers(isNew ? { 'If-None-Match': '*' } : { 'If-Match': tag });
      await (target === null ? ask('POST', path, { body: box.value }) : ask('PUT', target, { body: box.value, headers }));
      dialog.close();
    } catch (error) {
      wrong.textContent = error instanceof Error ? error.message : String(error);
      wrong.hidden = false;
    }
  });
  dialog.addEventListener('close', () => dialog.remove());
  dialog.append(form);
  main.append(dialog);
  dialog.showModal();
}

/** @param {string} where */
async function remove(where) {
  if (!confirm(`Delete ${where}? What lies below it stays.`)) return;
  try {
    await ask('DELETE', where);
  } catch (error) {
    complain(error);
  }
}

/**
 * One request to the server.
 *
 * @param {string} method
 * @param {string} where a path, perhaps with a query
 * @param {{ body?: string, headers?: Headers, allow?: number }} [more] `allow`: a status that is no error
 * @returns {Promise<Response>}
 */
async function ask(method, where, { body, headers = new Headers(), allow } = {}) {
  const [plain = '', search] = where.split('?', 2);
  headers.set('Accept', 'application/json');
  if (body !== undefined) headers.set('Content-Type', 'application/json');
  if (token) headers.set('Authorization', `Bearer ${token}`);
  const response = await fetch(`${address(plain)}${search === undefined ? '' : `?${search}`}`, {
    method,
    headers,
    ...(body !== undefined && { body }),
  });
  if (response.ok || response.status === allow) return response;
  /** @type {{ detail?: string, title?: string, at?: string }} */
  const problem = await response.json().catch(() => ({}));
  const words = problem.detail ?? problem.title ?? `the server answered ${response.status}`;
  throw new Error(response.status === 412 ? `It has changed meanwhile (${words}). Close and edit again.` : problem.at ? `${words} (at ${problem.at})` : words);
}

/** @param {string} where */
function address(where) {
  return where === '' ? base : `${base}/${where.split('/').map(encodeURIComponent).join('/')}`;
}

/**
 * @param {string} where
 * @param {string} text
 */
function linkTo(where, text) {
  return element('a', { href: address(where), textContent: text });
}

/**
 * @param {string} text
 * @param {() => unknown} act
 * @param {string} [label] what a screen reader says, where the text alone does not tell
 */
function action(text, act, label) {
  const button = element('button', { type: 'button', textContent: text, ...(label && { ariaLabel: label }) });
  button.addEventListener('click', () => void act());
  return button;
}

/** @param {unknown} error */
function complain(error) {
  trouble.textContent = error instanceof Error ? error.message : String(error);
  trouble.hidden = false;
}

function settle() {
  trouble.hidden = true;
}

/**
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} name
 * @param {Partial<HTMLElementTagNameMap[K]>} [properties]
 * @returns {HTMLElementTagNameMap[K]}
 */
function element(name, properties = {}) {
  return Object.assign(document.createElement(name), properties);
}
