// Listen streams: what a client knows after each commit, when it comes back, and when it asks for what cannot be.

import { all, any, at, by, field, from, unary, where } from '../story.js';
import { double, value } from '../wire.js';

const ID = 2;
const query = (story, structuredQuery, more = {}) => ({ targetId: ID, query: { parent: story.root, structuredQuery }, ...more });
const documents = (story, paths, more = {}) => ({ targetId: ID, documents: { documents: paths.map(path => story.name(path)) }, ...more });

/** Sixteen documents in two collections and a group. */
const data = () => Object.fromEntries(Array.from({ length: 16 }, (_, n) => [`${['l', 'x/a/l'][n % 2]}/${String.fromCharCode(97 + n)}`, { n: n % 5, m: n, ...(n % 3 ? {} : { o: 'yes' }) }]));

/** Every change of a document that a listener may meet, one commit after the other. */
const changes = story => ({
  'one more': [story.set('l/new', { n: 2, m: 50 })],
  'one less': [{ delete: story.name('l/a') }],
  'one out of order': [story.merge('l/c', ['n'], { n: 99 })],
  'one back in order': [story.merge('l/c', ['n'], { n: 0 })],
  'a field gone': [story.merge('l/e', ['n'], {})],
  'of another kind': [story.merge('l/g', ['n'], { n: 'text' })],
  'null': [story.merge('l/i', ['n'], { n: null })],
  'NaN': [story.merge('l/k', ['n'], { n: double(NaN) })],
  'counted': [story.transform('l/m', { fieldPath: 'n', increment: value(3) })],
  'several at once': [story.set('l/s', { n: 1, m: 1 }), { delete: story.name('l/c') }, story.set('x/a/l/b', { n: 3, m: 0 }), story.merge('l/o', ['n'], { n: 2 })],
  'elsewhere': [story.set('other/a', { n: 2 })],
  'gone and made': [{ delete: story.name('l/o') }, story.set('l/o', { n: 1, m: 7 })],
  'made and gone': [story.set('l/t', { n: 1 }), { delete: story.name('l/t') }],
  'the same again': [story.merge('l/o', ['n'], { n: 1 })],
  'what was gone': [story.set('l/a', { n: 1, m: 0 })],
});

const QUERIES = {
  'everything': from('l'),
  'a group': from('l', true),
  'a range': { ...from('l'), where: where('n', 'GREATER_THAN', 1) },
  'not equal': { ...from('l'), where: where('n', 'NOT_EQUAL', 2) },
  'in': { ...from('l'), where: where('n', 'IN', [1, 2, 'text']) },
  'null': { ...from('l'), where: unary('n', 'IS_NULL') },
  'not a number': { ...from('l'), where: unary('n', 'IS_NAN') },
  'either': { ...from('l'), where: any(where('n', 'EQUAL', 1), where('m', 'GREATER_THAN', 9)) },
  'both': { ...from('l'), where: all(where('n', 'GREATER_THAN_OR_EQUAL', 1), where('m', 'LESS_THAN', 12)) },
  'a limit': { ...from('l'), limit: { value: 3 } },
  'a limit by a field': { ...from('l'), orderBy: [by('n')], limit: { value: 3 } },
  'a limit to the last': { ...from('l'), orderBy: [by('n', 'DESCENDING'), by('__name__', 'DESCENDING')], limit: { value: 3 } },
  'a limit of a filter': { ...from('l'), where: where('n', 'LESS_THAN', 3), orderBy: [by('n'), by('m', 'DESCENDING')], limit: { value: 2 } },
  'a limit of a group': { ...from('l', true), orderBy: [by('m', 'DESCENDING')], limit: { value: 4 } },
  'a cursor': { ...from('l'), orderBy: [by('n')], startAt: at(false, 0), endAt: at(false, 3) },
  'a cursor and a limit': { ...from('l'), orderBy: [by('n')], startAt: at(true, 1), limit: { value: 2 } },
  'an offset': { ...from('l'), orderBy: [by('m')], offset: 2, limit: { value: 3 } },
  'some fields': { ...from('l'), select: { fields: [field('n')] } },
  'an order of what may be missing': { ...from('l'), orderBy: [by('o')] },
};

const follow = structuredQuery => async story => {
  await story.given(data());
  const listener = story.listen([query(story, structuredQuery)]);
  await listener.settle('at first');
  for (const [step, writes] of Object.entries(changes(story))) {
    await story.commit(step, writes);
    await listener.settle(`listened: ${step}`);
  }
};

const comeBack = structuredQuery => async story => {
  await story.given(data());
  const listener = story.listen([query(story, structuredQuery)]);
  await listener.settle('at first');
  const { resumeToken, readTime, views } = listener;
  for (const [step, writes] of Object.entries(changes(story)).slice(0, 7)) {
    await story.commit(step, writes);
    await story.listen([query(story, structuredQuery, { resumeToken })], views).settle(`by token: ${step}`);
    await story.listen([query(story, structuredQuery, { readTime })], views).settle(`by time: ${step}`);
  }
};

export default {
  ...Object.fromEntries(Object.entries(QUERIES).map(([name, structuredQuery]) => [`a listener of ${name}`, follow(structuredQuery)])),
  ...Object.fromEntries(['everything', 'a range', 'a limit by a field', 'a limit to the last', 'a group'].map(name => [`back at ${name}`, comeBack(QUERIES[name])])),
  'a listener of documents': async story => {
    await story.given({ 'd/a': { n: 1 }, 'd/b': { n: 2 } });
    const listener = story.listen([documents(story, ['d/a', 'd/none', 'd/b'])]);
    await listener.settle('at first');
    const { resumeToken, views } = listener;
    for (const [step, writes] of Object.entries({
      made: [story.set('d/none', { n: 3 })], changed: [story.set('d/a', { n: 4 })], deleted: [{ delete: story.name('d/b') }], 'another one': [story.set('d/x', { n: 4 })], all: [story.set('d/b', {}), { delete: story.name('d/a') }, { delete: story.name('d/none') }],
    })) {
      await story.commit(step, writes);
      await listener.settle(`listened: ${step}`);
      await story.listen([documents(story, ['d/a', 'd/none', 'd/b'], { resumeToken })], views).settle(`by token: ${step}`);
    }
    await story.listen([documents(story, ['d/none'])]).settle('nothing there');
  },
  'several targets of one stream': async story => {
    await story.given(data());
    const listener = story.listen([query(story, QUERIES['a range']), { ...query(story, QUERIES['a limit by a field']), targetId: 4 }, { ...documents(story, ['l/a', 'l/zz']), targetId: 6 }]);
    await listener.settle('at first');
    for (const [step, writes] of Object.entries(changes(story)).slice(0, 6)) {
      await story.commit(step, writes);
      await listener.settle(`listened: ${step}`);
    }
    listener.add({ ...query(story, QUERIES['a group']), targetId: 8 });
    await story.commit('something', [story.set('l/q', { n: 4 })]);
    await listener.settle('one more');
  },
  'what cannot be listened to': async story => {
    await story.given({ 'd/a': { n: 1 } });
    const listen = (step, target) => story.listen([target]).settle(step);
    await listen('no parent', { targetId: ID, query: { structuredQuery: from('d') } });
    await listen('a bad parent', { targetId: ID, query: { parent: 'nonsense', structuredQuery: from('d') } });
    await listen('a reserved collection', query(story, from('__d__')));
    await listen('a bad field', query(story, { ...from('d'), orderBy: [by('a..b')] }));
    await listen('a limit below zero', query(story, { ...from('d'), limit: { value: -1 } }));
    await listen('an empty filter', query(story, { ...from('d'), where: {} }));
    await listen('too many values of a cursor', query(story, { ...from('d'), orderBy: [by('n')], startAt: at(true, 1, 2, 3) }));
    await listen('no such document', documents(story, ['d']));
    await listen('no documents', documents(story, []));
    await listen('nothing', { targetId: ID });
    await listen('a token of nobody', query(story, from('d'), { resumeToken: Buffer.from('nonsense') }));
    await listen('a number below zero', { ...query(story, from('d')), targetId: -1 });
  },
};
