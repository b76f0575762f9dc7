// Transactions that stand in each other's way. Hearth looks at the end whether what was read is still so, the emulator locks:
// what is compared is what becomes of them all.

import { from } from '../story.js';

const begin = async (story, step) => Buffer.from((await story.ask(step, 'BeginTransaction', { options: { readWrite: {} } }))?.transaction ?? '', 'base64');

/** What becomes of requests sent at one time, by their codes in order. */
const together = async (story, step, ...requests) => {
  const codes = await Promise.all(requests.map(([method, request]) => story.code(method, request)));
  story.say(step, codes.sort().map(String));
};

export default {
  'two that read and write the same': async story => {
    await story.given({ 'c/a': { n: 1 } });
    const [one, two] = [await begin(story, 'one'), await begin(story, 'two')];
    await story.ask('one reads', 'GetDocument', { name: story.name('c/a'), transaction: one });
    await story.ask('two reads', 'GetDocument', { name: story.name('c/a'), transaction: two });
    await together(story, 'both commit', ['Commit', { transaction: one, writes: [story.set('c/a', { n: 2 })] }], ['Commit', { transaction: two, writes: [story.set('c/a', { n: 2 })] }]);
    await story.find('afterwards', from('c'), { whole: true });
  },
  'two that read the same and write apart': async story => {
    await story.given({ 'c/a': { n: 1 } });
    const [one, two] = [await begin(story, 'one'), await begin(story, 'two')];
    await story.ask('one reads', 'GetDocument', { name: story.name('c/a'), transaction: one });
    await story.ask('two reads', 'GetDocument', { name: story.name('c/a'), transaction: two });
    await together(story, 'both commit', ['Commit', { transaction: one, writes: [story.set('c/b', { n: 2 })] }], ['Commit', { transaction: two, writes: [story.set('c/c', { n: 2 })] }]);
    await story.find('afterwards', from('c'), { whole: true });
  },
  'two that query and write what the other has queried': async story => {
    await story.given({ 'q/a': { n: 1 } });
    const [one, two] = [await begin(story, 'one'), await begin(story, 'two')];
    await story.find('one queries', from('q'), { transaction: one });
    await story.find('two queries', from('q'), { transaction: two });
    await together(story, 'both commit', ['Commit', { transaction: one, writes: [story.set('q/b', { n: 2 })] }], ['Commit', { transaction: two, writes: [story.set('q/c', { n: 2 })] }]);
    await story.number('afterwards', from('q'), [{ count: {} }]);
  },
  'reads apart': async story => {
    await story.given({ 'c/a': { n: 1 }, 'c/b': { n: 1 } });
    const [one, two] = [await begin(story, 'one'), await begin(story, 'two')];
    await story.ask('one reads', 'GetDocument', { name: story.name('c/a'), transaction: one });
    await story.ask('two reads', 'GetDocument', { name: story.name('c/b'), transaction: two });
    await together(story, 'both commit', ['Commit', { transaction: one, writes: [story.set('c/a', { n: 2 })] }], ['Commit', { transaction: two, writes: [story.set('c/b', { n: 2 })] }]);
    await story.find('afterwards', from('c'), { whole: true });
  },
  'a read that ends before another writes': async story => {
    await story.given({ 'c/a': { n: 1 } });
    const one = await begin(story, 'one');
    await story.ask('one reads', 'GetDocument', { name: story.name('c/a'), transaction: one });
    await story.ask('one is rolled back', 'Rollback', { transaction: one });
    await story.commit('another writes', [story.set('c/a', { n: 2 })]);
    await story.commit('one commits', [story.set('c/a', { n: 3 })], { transaction: one });
    await story.read('afterwards', 'c/a');
  },
};
