// Transactions: what they see, what stands in their way, what is left of them afterwards.

import { by, from, where } from '../story.js';
import { value } from '../wire.js';

const readWrite = { readWrite: {} };

export default {
  'transactions alone': async story => {
    await story.given({ 't/a': { n: 1 }, 't/b': { n: 2 } });
    const begin = async (step, options) => (await story.ask(step, 'BeginTransaction', { options }))?.transaction;
    const id = text => Buffer.from(text, 'base64');
    const inside = async (step, name, transaction) => story.ask(step, 'GetDocument', { name: story.name(name), transaction: id(transaction) });
    const first = await begin('begun', readWrite);
    await inside('read', 't/a', first);
    await inside('read nothing', 't/none', first);
    await story.find('query', from('t'), { transaction: id(first) });
    await story.number('count', from('t'), [{ count: {} }], { transaction: id(first) });
    await story.commit('committed', [story.set('t/a', { n: 10 })], { transaction: id(first) });
    await story.commit('committed again', [story.set('t/a', { n: 11 })], { transaction: id(first) });
    await inside('read after the commit', 't/a', first);
    await story.ask('rolled back after the commit', 'Rollback', { transaction: id(first) });
    await story.find('query after the commit', from('t'), { transaction: id(first) });

    const second = await begin('begun without options', undefined);
    await inside('read in it', 't/a', second);
    await story.ask('rolled back', 'Rollback', { transaction: id(second) });
    await story.ask('rolled back again', 'Rollback', { transaction: id(second) });
    await story.commit('committed after rollback', [story.set('t/a', { n: 12 })], { transaction: id(second) });
    await story.read('unchanged', 't/a');

    const third = await begin('begun to read', { readOnly: {} });
    await inside('read in a read-only one', 't/a', third);
    await story.find('query in a read-only one', { ...from('t'), orderBy: [by('n')] }, { transaction: id(third), whole: true });
    await story.given({ 't/a': { n: 13 } });
    await inside('read as it was', 't/a', third);
    await story.commit('write in a read-only one', [story.set('t/a', { n: 14 })], { transaction: id(third) });
    await story.read('not written', 't/a');
    const fourth = await begin('begun to read again', { readOnly: {} });
    await inside('read', 't/b', fourth);
    await story.commit('committed with nothing', [], { transaction: id(fourth) });
    const fifth = await begin('begun to write', readWrite);
    await story.commit('committed with nothing, unread', [], { transaction: id(fifth) });
    const retry = await begin('again for the first', { readWrite: { retryTransaction: id(first) } });
    await inside('read in the retry', 't/a', retry);
    await story.commit('committed the retry', [story.set('t/a', { n: 20 })], { transaction: id(retry) });
    await begin('again for nonsense', { readWrite: { retryTransaction: Buffer.from('nonsense') } });
    await begin('no mode', {});
    const blind = await begin('begun to write blindly', readWrite);
    await story.given({ 't/a': { n: 21 } });
    await story.commit('a blind write', [story.set('t/a', { n: 22 })], { transaction: id(blind) });
    await story.read('in the end', 't/a', 't/b');
  },
  'transactions begun by a read': async story => {
    await story.given({ 't/a': { n: 1 }, 't/b': { n: 2 } });
    const id = text => Buffer.from(text, 'base64');
    const shown = all => all.map(one => (one.transaction?.length ? 'an id' : one.found?.name ?? one.missing ?? one.document?.name ?? 'a time').replace(story.root, ''));
    const got = await story.ask('by several', 'BatchGetDocuments', { documents: [story.name('t/a')], newTransaction: readWrite }, all => shown(all).filter(one => one !== 'a time'));
    const first = got?.find(one => one.transaction?.length)?.transaction;
    await story.commit('committed', [story.merge('t/a', ['m'], { m: 1 })], { transaction: id(first) });
    const queried = await story.ask('by a query', 'RunQuery', { structuredQuery: from('t'), newTransaction: readWrite }, all => all.filter(one => one.document).length);
    const second = queried?.find(one => one.transaction?.length)?.transaction;
    await story.commit('committed too', [story.set('t/c', { m: 1 })], { transaction: id(second) });
    const empty = await story.ask('by a query that finds nothing', 'RunQuery', { structuredQuery: from('none'), newTransaction: readWrite }, all => all.some(one => one.transaction?.length));
    await story.ask('rolled back', 'Rollback', { transaction: id(empty?.find(one => one.transaction?.length)?.transaction ?? '') });
    const counted = await story.ask('by a count', 'RunAggregationQuery', { structuredAggregationQuery: { structuredQuery: from('t'), aggregations: [{ count: {} }] }, newTransaction: { readOnly: {} } }, all => all.some(one => one.transaction?.length));
    await story.ask('rolled back as well', 'Rollback', { transaction: id(counted?.find(one => one.transaction?.length)?.transaction ?? '') });
    await story.ask('several of none', 'BatchGetDocuments', { documents: [], newTransaction: readWrite }, all => all.some(one => one.transaction?.length));
    await story.read('in the end', 't/a', 't/b', 't/c');
  },
  'read-only transactions of a time': async story => {
    const first = await story.given({ 't/a': { n: 1 } });
    await story.given({ 't/a': { n: 2 }, 't/b': {} });
    const begun = await story.ask('begun', 'BeginTransaction', { options: { readOnly: { readTime: first.commitTime } } });
    const transaction = Buffer.from(begun?.transaction ?? '', 'base64');
    await story.ask('read', 'GetDocument', { name: story.name('t/a'), transaction });
    await story.ask('read what came later', 'GetDocument', { name: story.name('t/b'), transaction });
    await story.find('query', from('t'), { transaction, whole: true });
    await story.commit('ended', [], { transaction });
    await story.ask('of the future', 'BeginTransaction', { options: { readOnly: { readTime: { seconds: Math.floor(Date.now() / 1000) + 3_600 } } } });
    await story.ask('of long ago', 'BeginTransaction', { options: { readOnly: { readTime: { seconds: 5 } } } });
  },
  'transactions and failing writes': async story => {
    await story.given({ 't/a': { n: 1 } });
    const begin = async step => Buffer.from((await story.ask(step, 'BeginTransaction', { options: readWrite }))?.transaction ?? '', 'base64');
    const exists = is => ({ currentDocument: { exists: is } });
    let transaction = await begin('begun');
    await story.ask('read', 'GetDocument', { name: story.name('t/a'), transaction });
    await story.commit('made twice', [story.set('t/a', {}, exists(false))], { transaction });
    await story.commit('after the failure', [story.set('t/a', { n: 2 })], { transaction });
    await story.ask('read after the failure', 'GetDocument', { name: story.name('t/a'), transaction });
    transaction = await begin('begun again');
    await story.commit('of a missing one', [story.set('t/none', {}, exists(true))], { transaction });
    transaction = await begin('begun once more');
    await story.commit('of another time', [story.set('t/a', {}, { currentDocument: { updateTime: { seconds: 5 } } })], { transaction });
    transaction = await begin('and once more');
    await story.commit('malformed', [story.set('t/a', { l: [[1]] })], { transaction });
    await story.commit('after the malformed', [story.set('t/a', { n: 3 })], { transaction });
    transaction = await begin('and again');
    await story.commit('several', [story.set('t/x', { n: 1 }), story.transform('t/x', { fieldPath: 'n', increment: value(1) }), { delete: story.name('t/a') }], { transaction });
    await story.read('in the end', 't/a', 't/x', 't/none');
  },
  'transactions of another database': async story => {
    await story.given({ 't/a': { n: 1 } });
    const begun = await story.ask('begun', 'BeginTransaction', { options: readWrite });
    const transaction = Buffer.from(begun?.transaction ?? '', 'base64');
    const other = story.database.replace('story-', 'other-');
    await story.ask('read elsewhere', 'GetDocument', { name: `${other}/documents/t/a`, transaction });
    await story.commit('committed elsewhere', [], { database: other, transaction });
    await story.ask('read at home', 'GetDocument', { name: story.name('t/a'), transaction });
    await story.commit('committed at home', [], { transaction });
  },
};
