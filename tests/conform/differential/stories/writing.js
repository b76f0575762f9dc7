// Write streams: how they begin, what they answer, and at what they end.

import { value } from '../wire.js';

export default {
  'a stream of writes': async story => {
    const say = story.writing();
    await say('begun', { database: story.database });
    await say('one', { writes: [story.set('w/a', { n: 1 })] });
    await say('several', { writes: [story.set('w/b', { n: 1 }), story.transform('w/a', { fieldPath: 'n', increment: value(2) }), { delete: story.name('w/none') }] });
    await say('none', { writes: [] });
    await story.read('as it is', 'w/a', 'w/b');
    await say('one that fails', { writes: [story.set('w/e', {}, { currentDocument: { exists: true } })] });
    await say('after the failure', { writes: [story.set('w/f', {})] });
    await story.read('in the end', 'w/e');
  },
  'streams of writes that end': async story => {
    await story.given({ 'e/a': { n: 1 } });
    const end = async (step, ...requests) => {
      const say = story.writing();
      for (const [n, request] of requests.entries()) if (!(await say(`${step} ${n}`, request))) break;
    };
    const begin = { database: story.database };
    await end('no database', { writes: [] });
    await end('a bad database', { database: 'nonsense' });
    await end('writes at once', { database: story.database, writes: [story.set('e/now', {})] });
    await end('a bad name', begin, { writes: [{ delete: 'nonsense' }] });
    await end('another database', begin, { writes: [{ delete: 'projects/other/databases/(default)/documents/a/b' }] });
    await end('a malformed value', begin, { writes: [story.set('e/b', { l: [[1]] })] });
    await end('a write of nothing', begin, { writes: [{}] });
    await end('there already', begin, { writes: [story.set('e/a', {}, { currentDocument: { exists: false } })] });
    await end('of another time', begin, { writes: [story.set('e/a', {}, { currentDocument: { updateTime: { seconds: 5 } } })] });
    await end('one of two fails', begin, { writes: [story.set('e/c', {}), story.set('e/none', {}, { currentDocument: { exists: true } })] });
    await end('a token that is none', begin, { streamToken: Buffer.from('nonsense'), writes: [story.set('e/d', {})] });
    await end('no token', begin, { streamToken: Buffer.alloc(0), writes: [story.set('e/f', {})] });
    await end('gone on with', { database: story.database, streamId: 'x' }, { writes: [story.set('e/g', {})] });
    await end('gone on with a token', { database: story.database, streamId: 'x', streamToken: Buffer.from('nonsense') }, { writes: [story.set('e/h', {})] });
    await story.read('in the end', 'e/a', 'e/now', 'e/b', 'e/c', 'e/d', 'e/f', 'e/g', 'e/h');
  },
};
