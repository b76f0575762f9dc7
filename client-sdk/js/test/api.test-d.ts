// What TypeScript programs may rely on. Compiled, never run.

import {
  type AggregateQuerySnapshot, type CollectionReference, type DocumentReference, type DocumentSnapshot, type Firestore, type Query,
  type QuerySnapshot, type Timestamp, addDoc, average, collection, collectionGroup, count, doc, getAggregateFromServer, getDoc,
  getDocs, getFirestore, increment, initializeApp, onAggregate, onSnapshot, orderBy, query, runTransaction, serverTimestamp,
  setDoc, sum, updateDoc, where, writeBatch,
} from '../hearth.js';

type Exactly<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
function same<A, B>(_: Exactly<A, B>): void {}

interface Message {
  text: string;
  likes: number;
  sentAt: Timestamp;
}

export async function uses(): Promise<void> {
  const db: Firestore = getFirestore(initializeApp({ token: async () => null, transport: 'sse' }));

  const messages = collection<Message>(db, 'rooms', 'lobby', 'messages');
  same<typeof messages, CollectionReference<Message>>(true);
  const message = doc(messages, 'a');
  same<typeof message, DocumentReference<Message>>(true);
  const latest = query(messages, where('likes', '>', 3), orderBy('sentAt'));
  same<typeof latest, Query<Message>>(true);
  const anywhere: Query<Message> = collectionGroup<Message>(db, 'messages');

  const read = await getDoc(message);
  same<typeof read, DocumentSnapshot<Message>>(true);
  same<ReturnType<typeof read.data>, Message | undefined>(true);
  const all: QuerySnapshot<Message> = await getDocs(anywhere);
  const texts: string[] = all.docs.map(found => found.data().text);
  for (const change of all.docChanges()) same<typeof change.type, 'added' | 'modified' | 'removed'>(true);

  const stop: () => void = onSnapshot(latest, snapshot => same<typeof snapshot, QuerySnapshot<Message>>(true), error => error.code);
  onSnapshot(message, { next: snapshot => same<typeof snapshot, DocumentSnapshot<Message>>(true), error: () => {} });
  onSnapshot(message, { includeMetadataChanges: true }, snapshot => same<typeof snapshot, DocumentSnapshot<Message>>(true));
  stop();

  const ref = await addDoc(messages, { text: texts[0] ?? '', likes: 0, sentAt: serverTimestamp() });
  same<typeof ref, DocumentReference<Message>>(true);
  await addDoc(messages, { text: '', likes: 0, sentAt: new Date() });
  // @ts-expect-error a message has a text
  await addDoc(messages, { likes: 0, sentAt: serverTimestamp() });
  await setDoc(message, { likes: increment(1) }, { merge: true });
  // @ts-expect-error likes are a number
  await setDoc(message, { likes: 'many' }, { merge: true });
  await updateDoc(message, { likes: increment(1), 'author.name': 'Ada' });
  await updateDoc(message, 'likes', 3);

  const batch = writeBatch(db).set(message, { text: '', likes: 1, sentAt: serverTimestamp() }).update(message, 'likes', 2).delete(message);
  same<ReturnType<typeof batch.commit>, Promise<void>>(true);
  const likes = await runTransaction(db, async transaction => {
    const known = await transaction.get(message);
    transaction.update(message, { likes: (known.data()?.likes ?? 0) + 1 });
    return known.data()?.likes;
  });
  same<typeof likes, number | undefined>(true);

  const spec = { n: count(), total: sum('likes'), mean: average('likes') };
  const numbers = await getAggregateFromServer(messages, spec);
  same<ReturnType<typeof numbers.data>, { n: number; total: number; mean: number | null }>(true);
  onAggregate(messages, spec, snapshot => same<typeof snapshot, AggregateQuerySnapshot<typeof spec>>(true));

  // Without a type, fields are unknown until they are looked at.
  const loose = (await getDoc(doc(db, 'a/b'))).data();
  same<typeof loose, { [field: string]: unknown } | undefined>(true);
  // @ts-expect-error there is no such operator
  where('a', '=', 1);
  // @ts-expect-error there is no such transport
  initializeApp({ transport: 'pigeon' });
}
