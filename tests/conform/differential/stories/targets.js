// Targets of Listen streams at the edges: numbers used twice, removed ones, those that end by themselves, tokens of others, and
// how many documents a client says that it has.

import { by, from, unary, where } from '../story.js';

const ID = 2;
const query = (story, structuredQuery, more = {}) => ({ targetId: ID, query: { parent: story.root, structuredQuery }, ...more });
const documents = (story, paths, more = {}) => ({ targetId: ID, documents: { documents: paths.map(path => story.name(path)) }, ...more });
const count = value => ({ expectedCount: { value } });

export default {
  'numbers of targets': async story => {
    await story.given({ 'n/a': { n: 1 }, 'n/b': { n: 2 } });
    const listen = (step, ...targets) => story.listen(targets).settle(step);
    await listen('the same number for another query', query(story, from('n')), query(story, from('other')));
    await listen('the same number for the same query', query(story, from('n')), query(story, from('n')));
    await listen('the same query by two numbers', query(story, from('n')), { ...query(story, from('n')), targetId: 4 });
    await listen('a number of the highest', { ...query(story, from('n')), targetId: 2_147_483_647 });
    const listener = story.listen([query(story, from('n'))]);
    await listener.settle('at first');
    listener.remove(ID);
    await listener.settle('removed');
    await story.commit('changed meanwhile', [story.set('n/c', { n: 3 })]);
    await listener.settle('nothing is told of it');
    listener.add(query(story, from('n')));
    await listener.settle('the number again');
    listener.remove(ID);
    listener.add(query(story, { ...from('n'), where: where('n', 'EQUAL', 3) }));
    await listener.settle('removed and added at once');
  },
  'requests of no sense on a stream': async story => {
    await story.given({ 'n/a': { n: 1 } });
    for (const [step, request] of Object.entries({
      'nothing': {}, 'a target of no number and no kind': { addTarget: {} }, 'another database': { database: story.database.replace('story-', 'another-'), addTarget: query(story, from('n')) }, 'a bad database': { database: 'nonsense', addTarget: query(story, from('n')) }, 'no database': { database: '', addTarget: query(story, from('n')) },
    })) {
      const listener = story.listen([]);
      listener.ask(request);
      await listener.settle(step);
    }
  },
  'targets that end by themselves': async story => {
    await story.given({ 'o/a': { n: 1 }, 'o/b': { n: 2 } });
    await story.listen([query(story, from('o'), { once: true })]).settle('a query');
    await story.listen([query(story, from('none'), { once: true })]).settle('a query of nothing');
    await story.listen([documents(story, ['o/a', 'o/none'], { once: true })]).settle('documents');
    const listener = story.listen([query(story, from('o'), { once: true }), { ...query(story, from('o')), targetId: 4 }]);
    await listener.settle('beside another');
    await story.commit('changed', [story.set('o/c', { n: 3 })]);
    await listener.settle('the other goes on');
    listener.add(query(story, from('o')));
    await listener.settle('its number again');
  },
  'tokens': async story => {
    await story.given({ 't/a': { n: 1 }, 't/b': { n: 2 }, 't/c': { n: 3 } });
    const first = story.listen([query(story, from('t'))]);
    await first.settle('at first');
    const { resumeToken, readTime, views } = first;
    await story.listen([query(story, from('t'), { resumeToken: resumeToken.subarray(1) })], views).settle('cut off');
    await story.listen([query(story, from('t'), { resumeToken: Buffer.concat([resumeToken, Buffer.from('x')]) })], views).settle('with more behind');
    await story.listen([query(story, from('t'), { resumeToken: Buffer.alloc(0) })]).settle('empty');
    await story.listen([query(story, from('t'), { readTime: { seconds: Math.floor(Date.now() / 1000) + 3_600 } })], views).settle('a time to come');
    await story.listen([query(story, from('t'), { readTime: { seconds: 5 } })]).settle('a time long ago');
    await story.listen([query(story, from('t'), { readTime: { seconds: -1, nanos: -1 } })]).settle('no time');
    await story.listen([query(story, from('t'), { readTime })], views).settle('its own time');
    const limited = { ...from('t'), orderBy: [by('n')], limit: { value: 2 } };
    const second = story.listen([query(story, limited)]);
    await second.settle('a limit');
    const third = story.listen([documents(story, ['t/a', 't/b', 't/d'])]);
    await third.settle('documents');
    await story.commit('several', [{ delete: story.name('t/a') }, story.set('t/d', { n: 4 })]);
    for (const expected of [0, 1, 2, 3, 4, 1_000]) {
      await story.listen([query(story, from('t'), { resumeToken, ...count(expected) })], views).settle(`with a count of ${expected}`);
    }
    for (const expected of [1, 2, 3]) {
      await story.listen([query(story, limited, { resumeToken: second.resumeToken, ...count(expected) })], second.views).settle(`a limit with a count of ${expected}`);
      await story.listen([documents(story, ['t/a', 't/b', 't/d'], { resumeToken: third.resumeToken, ...count(expected) })], third.views).settle(`documents with a count of ${expected}`);
    }
    await story.listen([query(story, from('t'), count(9))]).settle('a count without a token');
    await story.listen([query(story, from('t'), { resumeToken, ...count(-1) })], views).settle('a count below zero');
  },
  'documents of a target': async story => {
    await story.given({ 'd/a': { n: 1 }, 'd/b': { n: 2 }, 'd/b/e/f': { n: 3 } });
    await story.listen([documents(story, ['d/a', 'd/a', 'd/b'])]).settle('one twice');
    await story.listen([documents(story, ['d/a', 'd/b/e/f', 'x/y'])]).settle('of several collections');
    await story.listen([documents(story, Array.from({ length: 150 }, (_, n) => `d/${n}`))]).settle('many');
    await story.listen([{ targetId: ID, documents: { documents: [story.name('d/a'), 'projects/other/databases/(default)/documents/d/a'] } }]).settle('one of another database');
    await story.listen([{ targetId: ID, documents: { documents: ['nonsense'] } }]).settle('one that is none');
    await story.listen([documents(story, ['d/__x__'])]).settle('a reserved name');
    const listener = story.listen([documents(story, ['d/a']), { ...query(story, from('d')), targetId: 4 }, { ...query(story, { ...from('d'), where: unary('n', 'IS_NULL') }), targetId: 6 }]);
    await listener.settle('with queries of the same');
    await story.commit('changed', [story.set('d/a', { n: null })]);
    await listener.settle('told to all');
    await story.commit('deleted', [{ delete: story.name('d/a') }]);
    await listener.settle('told to all that it is gone');
  },
};
