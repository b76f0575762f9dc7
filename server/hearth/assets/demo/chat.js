// A chat in one file: who opens it in two windows sees what Hearth does. Messages are documents in `rooms/lobby/messages`.

import {
  addDoc, collection, count, getFirestore, initializeApp, limitToLast, onAggregate, onConnectionState, onSnapshot, orderBy, query,
  serverTimestamp,
} from '../sdk/hearth.js';

/** @typedef {import('../sdk/hearth.js').QueryDocumentSnapshot<Message>} MessageSnapshot */
/** @typedef {{ name: string, text: string, sentAt: import('../sdk/hearth.js').Timestamp }} Message */

/** How near the end of the list a reader counts as reading along. */
const NEAR_PX = 80;

const transport = pinned(new URLSearchParams(location.search).get('transport'));
const db = getFirestore(initializeApp({ transport }));
const messages = /** @type {import('../sdk/hearth.js').CollectionReference<Message>} */ (collection(db, 'rooms/lobby/messages'));

const list = byId('messages', HTMLOListElement);
const scroller = byId('scroller', HTMLElement);
const empty = byId('empty', HTMLElement);
const form = byId('compose', HTMLFormElement);
const nameBox = byId('name', HTMLInputElement);
const textBox = byId('text', HTMLInputElement);
const trouble = byId('trouble', HTMLElement);
const waiting = byId('waiting', HTMLElement);

nameBox.value = remembered() ?? `guest ${Math.floor(Math.random() * 900) + 100}`;
nameBox.addEventListener('change', () => remember(nameBox.value));

onSnapshot(query(messages, orderBy('sentAt'), limitToLast(50)), snapshot => {
  const follow = scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < NEAR_PX;
  for (const { type, doc, oldIndex, newIndex } of snapshot.docChanges()) {
    if (type !== 'added') list.children[oldIndex]?.remove();
    if (type !== 'removed') list.insertBefore(itemOf(doc), list.children[newIndex] ?? null);
  }
  empty.hidden = !snapshot.empty;
  if (follow) scroller.scrollTop = scroller.scrollHeight;
}, error => complain(`The messages cannot be shown: ${error.message}`));

onAggregate(messages, { all: count() }, snapshot => {
  const { all } = snapshot.data();
  byId('count', HTMLElement).textContent = `${all.toLocaleString()} ${all === 1 ? 'message' : 'messages'}`;
}, () => {});

onConnectionState(db, ({ state, transport }) => {
  const words = { idle: 'resting', connecting: 'connecting', open: `live · ${transport}`, waiting: 'connection lost, trying again', closed: 'closed' };
  byId('connection', HTMLElement).dataset['state'] = state;
  byId('connection-text', HTMLElement).textContent = words[state];
});

let underWay = 0;

form.addEventListener('submit', async event => {
  event.preventDefault();
  const message = { name: nameBox.value.trim(), text: textBox.value.trim() };
  if (message.name === '' || message.text === '') return;
  textBox.value = '';
  textBox.focus();
  trouble.hidden = true;
  tellWaiting(+1);
  scroller.scrollTop = scroller.scrollHeight;
  try {
    await addDoc(messages, { ...message, sentAt: serverTimestamp() });
  } catch (error) {
    complain(`Not sent: ${error instanceof Error ? error.message : String(error)}`);
    // What was typed is not lost, unless the next message was begun.
    if (textBox.value === '') textBox.value = message.text;
  } finally {
    tellWaiting(-1);
  }
});

/** @param {number} change in the number of messages that the server has not taken yet */
function tellWaiting(change) {
  underWay += change;
  waiting.textContent = underWay > 0 ? `sending ${underWay === 1 ? 'a message' : `${underWay} messages`}…` : '';
}

/**
 * @param {MessageSnapshot} snapshot
 * @returns {HTMLLIElement}
 */
function itemOf(snapshot) {
  const { name, text, sentAt } = snapshot.data();
  const item = document.createElement('li');
  item.classList.toggle('own', name === nameBox.value);
  const head = document.createElement('p');
  head.className = 'head';
  const who = document.createElement('b');
  who.textContent = String(name ?? 'someone');
  const when = document.createElement('time');
  const date = sentAt?.toDate?.();
  if (date) {
    when.dateTime = date.toISOString();
    when.textContent = date.toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' });
  }
  head.append(who, ' ', when);
  const said = document.createElement('p');
  said.className = 'said';
  said.textContent = String(text ?? '');
  item.append(head, said);
  return item;
}

/** @param {string} words */
function complain(words) {
  trouble.textContent = words;
  trouble.hidden = false;
}

/** A page may be denied its storage; then a name lasts as long as the page. */
function remembered() {
  try {
    return localStorage.getItem('hearth-demo-name');
  } catch {
    return null;
  }
}

/** @param {string} name */
function remember(name) {
  try {
    localStorage.setItem('hearth-demo-name', name);
  } catch {
    // Only convenience is lost.
  }
}

/**
 * @param {string | null} name
 * @returns {'websocket' | 'sse' | 'poll' | undefined}
 */
function pinned(name) {
  return name === 'websocket' || name === 'sse' || name === 'poll' ? name : undefined;
}

/**
 * @template {HTMLElement} E
 * @param {string} id
 * @param {new () => E} kind
 * @returns {E}
 */
function byId(id, kind) {
  const element = document.getElementById(id);
  if (!(element instanceof kind)) throw new Error(`the page has no ${id}`);
  return element;
}
