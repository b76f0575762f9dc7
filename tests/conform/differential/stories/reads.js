// Reads: at times that have passed, lists in pages, collections, partitions, numbers, groups.

import { all, any, at, by, field, from, unary, where } from '../story.js';
import { double, reference, value } from '../wire.js';

const count = (alias, upTo) => ({ count: upTo === undefined ? {} : { upTo: { value: upTo } }, ...(alias && { alias }) });
const sum = (path, alias) => ({ sum: { field: field(path) }, ...(alias && { alias }) });
const avg = (path, alias) => ({ avg: { field: field(path) }, ...(alias && { alias }) });

/** All pages of a method, each a step of its own. */
async function pages(story, step, method, request, shown) {
  for (let page = 1, pageToken = ''; page < 12; page++) {
    const answer = await story.ask(`${step}, page ${page}`, method, { ...request, pageToken }, one => ({ all: shown(one), more: Boolean(one.nextPageToken) }));
    pageToken = answer?.nextPageToken;
    if (!pageToken) return;
  }
}

const named = story => answer => (answer.documents ?? []).map(one => `${one.name.replace(story.root, '')} ${JSON.stringify(Object.entries(one.fields ?? {}).sort())}${one.createTime ? '' : ' missing'}`);

export default {
  'reads at times that have passed': async story => {
    const first = await story.given({ 'r/a': { n: 1 }, 'r/b': { n: 2 } });
    const second = await story.given({ 'r/a': { n: 10 }, 'r/c': { n: 3 } });
    const third = await story.commit('deleted', [{ delete: story.name('r/b') }]);
    for (const [which, { commitTime: readTime }] of Object.entries({ first, second, third })) {
      await story.ask(`get at the ${which}`, 'GetDocument', { name: story.name('r/a'), readTime });
      await story.ask(`get b at the ${which}`, 'GetDocument', { name: story.name('r/b'), readTime });
      await story.ask(`several at the ${which}`, 'BatchGetDocuments', { documents: ['r/a', 'r/b', 'r/c'].map(path => story.name(path)), readTime },
        answers => answers.map(one => (one.found ? `${one.found.name} ${JSON.stringify(one.found.fields)}` : one.missing)).sort().map(one => one.replace(story.root, '')));
      await story.find(`query at the ${which}`, { ...from('r'), orderBy: [by('n')] }, { readTime, whole: true });
      await story.number(`count at the ${which}`, from('r'), [count(), sum('n')], { readTime });
      await story.ask(`list at the ${which}`, 'ListDocuments', { collectionId: 'r', readTime }, named(story));
      await story.ask(`collections at the ${which}`, 'ListCollectionIds', { readTime });
    }
    const far = { seconds: Math.floor(Date.now() / 1000) + 3_600 };
    await story.ask('get in the future', 'GetDocument', { name: story.name('r/a'), readTime: far });
    await story.find('query in the future', from('r'), { readTime: far });
    await story.ask('get long ago', 'GetDocument', { name: story.name('r/a'), readTime: { seconds: 1 } });
    await story.find('query long ago', from('r'), { readTime: { seconds: 1 } });
    await story.ask('get at no time', 'GetDocument', { name: story.name('r/a'), readTime: { seconds: 0, nanos: -5 } });
  },
  'documents one by one': async story => {
    await story.given({ 'g/a': { n: 1, m: { x: 1, y: 2 } } });
    const get = (step, name, more = {}) => story.ask(step, 'GetDocument', { name, ...more });
    await get('there', story.name('g/a'));
    await get('masked', story.name('g/a'), { mask: { fieldPaths: ['m.y', 'none'] } });
    await get('masked by nothing', story.name('g/a'), { mask: { fieldPaths: [] } });
    await get('masked by the name', story.name('g/a'), { mask: { fieldPaths: ['__name__'] } });
    await get('masked twice', story.name('g/a'), { mask: { fieldPaths: ['m', 'm.y'] } });
    await get('missing', story.name('g/none'));
    await get('a collection', story.name('g'));
    await get('the root', story.root);
    await get('nothing', '');
    await get('a slash behind', story.name('g/a/'));
    await get('no project', 'projects//databases/d/documents/a/b');
    await get('no database', 'projects/p/databases//documents/a/b');
    await get('not below documents', `${story.database}/docs/a/b`);
    await get('an empty id', story.name('g//x/y'));
    await get('reserved', story.name('g/__x__'));
    const several = (step, documents, more = {}) => story.ask(step, 'BatchGetDocuments', { documents, ...more }, answers => answers.map(one => one.found?.name ?? `missing ${one.missing}`).sort());
    await several('several', [story.name('g/a'), story.name('g/none'), story.name('g/a'), story.name('g/none')]);
    await several('none', []);
    await several('one of another database', ['projects/other/databases/(default)/documents/a/b']);
    await several('one that is no document', [story.name('g')]);
    await several('in no database', [story.name('g/a')], { database: 'nonsense' });
    await several('in an empty one', [story.name('g/a')], { database: '' });
  },
  'lists of documents': async story => {
    const data = {};
    for (const [n, id] of ['a', 'b', 'c', 'd', 'e', 'f', 'g'].entries()) data[`l/${id}`] = { n: (n * 3) % 4, m: n, ...(n % 2 && { o: n }) };
    await story.given({ ...data, 'l/gone/p/x': { n: 1 }, 'l/b/p/y': { n: 2 }, 'l/a1/p/q/r/s': { n: 3 }, 'k/a': { n: 1 }, 'm/a/l/z': { n: 9 } });
    const list = (step, more) => pages(story, step, 'ListDocuments', { collectionId: 'l', ...more }, named(story));
    await list('all', {});
    await list('in pages', { pageSize: 3 });
    await list('one by one', { pageSize: 1 });
    await list('masked', { mask: { fieldPaths: ['n', 'none'] } });
    await list('names alone', { mask: { fieldPaths: ['__name__'] } });
    await list('masked by nothing', { mask: { fieldPaths: [] } });
    await list('with missing', { showMissing: true });
    await list('with missing in pages', { showMissing: true, pageSize: 2 });
    await list('with missing, masked', { showMissing: true, mask: { fieldPaths: ['__name__'] } });
    await list('with missing, ordered', { showMissing: true, orderBy: 'n' });
    await list('with missing, by name', { showMissing: true, orderBy: '__name__' });
    for (const orderBy of ['n', 'n desc', 'n asc', 'n, m desc', 'o', '__name__', '__name__ desc', 'n desc, __name__', ' n ', 'n,', 'n descending', 'n DESC', '`n`', 'n m', ',', 'a..b', 'm.x']) await list(`by "${orderBy}"`, { orderBy, pageSize: 4 });
    await list('below one', { parent: story.name('l/b'), collectionId: 'p' });
    await list('below one that is not', { parent: story.name('l/gone'), collectionId: 'p' });
    await list('below one that is not, with missing', { parent: story.name('l/a1/p/q'), collectionId: 'r', showMissing: true });
    await list('only missing', { parent: story.name('l/a1'), collectionId: 'p', showMissing: true });
    await list('nothing', { collectionId: 'none' });
    await list('size below zero', { pageSize: -1 });
    await list('a reserved collection', { collectionId: '__x__' });
    await list('a bad collection', { collectionId: 'a/b' });
    await story.ask('a bad token', 'ListDocuments', { collectionId: 'l', pageToken: 'nonsense' });
    await story.ask('a bad parent', 'ListDocuments', { collectionId: 'l', parent: 'nonsense' });
    await story.ask('a database as parent', 'ListDocuments', { collectionId: 'l', parent: story.database });
    await story.ask('a collection as parent', 'ListDocuments', { collectionId: 'l', parent: story.name('l') });
  },
  'collections': async story => {
    await story.given({ 'b/a': {}, 'a/a': {}, 'B/a': {}, 'ä/a': {}, 'a/a/x/a': {}, 'a/a/y/a': {}, 'a/none/z/a/w/a': {}, '10/a': {}, '9/a': {} });
    const ids = (step, more) => pages(story, step, 'ListCollectionIds', more, one => one.collectionIds ?? []);
    await ids('at the root', {});
    await ids('in pages', { pageSize: 2 });
    await ids('one by one', { pageSize: 1 });
    await ids('below', { parent: story.name('a/a') });
    await ids('below what is missing', { parent: story.name('a/none') });
    await ids('below what is missing, deeper', { parent: story.name('a/none/z/a') });
    await ids('below nothing', { parent: story.name('q/q') });
    await ids('size below zero', { pageSize: -1 });
    await ids('a bad parent', { parent: 'nonsense' });
    await ids('a collection as parent', { parent: story.name('a') });
    await story.ask('a bad token', 'ListCollectionIds', { pageToken: 'nonsense' });
  },
  'collection groups and names': async story => {
    await story.given({ 'g/a': { n: 1 }, 'g/b': { n: 2 }, 'x/a/g/a': { n: 3 }, 'x/a/g/c': { n: 1 }, 'x/b/g/a': { n: null }, 'x/a/y/z/g/q': { n: 5 }, 'g/a/g/a': { n: 4 }, 'h/a': { n: 9 }, 'x/a-/g/a': { n: 6 } });
    const at1 = (path, op) => where('__name__', op, reference(story.name(path)));
    await story.find('all of a group', from('g', true));
    await story.find('falling', { ...from('g', true), orderBy: [by('__name__', 'DESCENDING')] });
    await story.find('by a field', { ...from('g', true), orderBy: [by('n')] });
    await story.find('below a document', from('g', true), { parent: 'x/a' });
    await story.find('below a document, everything', { from: [{ allDescendants: true }] }, { parent: 'x/a' });
    await story.find('everything', { from: [{ allDescendants: true }] });
    await story.find('no source', {});
    await story.find('no source below a document', {}, { parent: 'g/a' });
    await story.find('no name of a collection', { from: [{ allDescendants: false }] });
    await story.find('two sources', { from: [{ collectionId: 'g' }, { collectionId: 'h' }] });
    for (const op of ['EQUAL', 'LESS_THAN', 'LESS_THAN_OR_EQUAL', 'GREATER_THAN', 'GREATER_THAN_OR_EQUAL', 'NOT_EQUAL']) {
      for (const path of ['g/a', 'x/a/g/a', 'x/a/g/b', 'h/a', 'x/a']) await story.find(`group ${op} ${path}`, { ...from('g', true), where: at1(path, op) });
      for (const path of ['g/a', 'g/aa', 'h/a', 'x/a/g/a']) await story.find(`collection ${op} ${path}`, { ...from('g'), where: at1(path, op) });
    }
    const names = (...paths) => paths.map(path => reference(story.name(path)));
    await story.find('in', { ...from('g'), where: where('__name__', 'IN', names('g/b', 'g/a', 'g/none')) });
    await story.find('in, falling', { ...from('g'), where: where('__name__', 'IN', names('g/b', 'g/a')), orderBy: [by('__name__', 'DESCENDING')] });
    await story.find('not in', { ...from('g'), where: where('__name__', 'NOT_IN', names('g/b')) });
    await story.find('group in', { ...from('g', true), where: where('__name__', 'IN', names('g/b', 'x/a/g/a')) });
    await story.find('in with others', { ...from('g'), where: where('__name__', 'IN', names('h/a', 'g/a')) });
    await story.find('in an empty list', { ...from('g'), where: where('__name__', 'IN', []) });
    for (const [what, one] of Object.entries({ text: 'a', number: 1, null: null, list: [reference(story.name('g/a'))], collection: reference(story.name('g')), 'another database': reference('projects/other/databases/(default)/documents/g/a') })) {
      for (const op of ['EQUAL', 'GREATER_THAN', 'IN', 'ARRAY_CONTAINS', 'NOT_EQUAL']) await story.find(`name ${op} ${what}`, { ...from('g'), where: where('__name__', op, op === 'IN' && what !== 'list' ? [one] : one) });
    }
    for (const op of ['IS_NULL', 'IS_NAN', 'IS_NOT_NULL', 'IS_NOT_NAN']) await story.find(`name ${op}`, { ...from('g'), where: unary('__name__', op) });
    const cursor = { ...from('g', true), orderBy: [by('__name__')] };
    await story.find('from a name', { ...cursor, startAt: at(true, reference(story.name('x/a/g/a'))) });
    await story.find('behind a name', { ...cursor, startAt: at(false, reference(story.name('x/a/g/a'))) });
    await story.find('up to a name that is not there', { ...cursor, endAt: at(false, reference(story.name('x/a/g/b'))) });
    await story.find('from a short name', { ...from('g'), orderBy: [by('__name__')], startAt: at(true, 'b') });
    await story.find('from a name of another collection', { ...from('g'), orderBy: [by('__name__')], startAt: at(true, reference(story.name('h/a'))) });
    await story.find('from a number', { ...from('g'), orderBy: [by('__name__')], startAt: at(true, 1) });
    await story.find('from a field and a name', { ...from('g', true), orderBy: [by('n'), by('__name__')], startAt: at(false, 1, reference(story.name('g/a'))) });
    await story.find('name and field', { ...from('g', true), where: all(where('n', 'GREATER_THAN', 1), at1('x', 'GREATER_THAN')) });
    await story.find('lowest id', { ...from('g'), where: all(at1('g/__id-9223372036854775808__', 'GREATER_THAN_OR_EQUAL'), at1('g0/__id-9223372036854775808__', 'LESS_THAN')) });
    await story.find('all below, kindless range', { from: [{ allDescendants: true }], where: all(at1('g/__id-9223372036854775808__', 'GREATER_THAN_OR_EQUAL'), at1('g\u0000/__id-9223372036854775808__', 'LESS_THAN')), select: { fields: [field('__name__')] } });
  },
  'numbers of documents': async story => {
    await story.given({
      'n/a': { n: 1, m: 2 }, 'n/b': { n: double(2.5), m: null }, 'n/c': { n: 'x', m: 1 }, 'n/d': { n: null }, 'n/e': { m: 3 }, 'n/f': { n: -4, in: { d: 1 } }, 'n/g': { n: [1], m: double(-0) },
      'nan/a': { n: 1 }, 'nan/b': { n: double(NaN) }, 'inf/a': { n: double(Infinity) }, 'inf/b': { n: double(-Infinity) }, 'top/a': { n: 9_223_372_036_854_775_807n }, 'top/b': { n: 1 }, 'text/a': { n: 'x' }, 'nil/a': { n: double(-0) },
      'nil/b': { n: double(-0) }, 'big/a': { n: 9_007_199_254_740_993n }, 'big/b': { n: 2 }, 'dbl/a': { n: double(3) }, 'dbl/b': { n: 4 }, 'bottom/a': { n: -9_223_372_036_854_775_808n }, 'bottom/b': { n: -1 }, 'tb/a': { n: 9_223_372_036_854_775_807n }, 'tb/b': { n: 9_223_372_036_854_775_807n }, 'tb/c': { n: -9_223_372_036_854_775_807n },
    });
    for (const id of ['n', 'nan', 'inf', 'top', 'text', 'nil', 'big', 'dbl', 'bottom', 'tb', 'none']) {
      await story.number(`${id} count`, from(id), [count()]);
      await story.number(`${id} sum`, from(id), [sum('n')]);
      await story.number(`${id} average`, from(id), [avg('n')]);
      await story.number(`${id} all`, from(id), [count('c'), sum('n', 's'), avg('n', 'a')]);
    }
    await story.number('two fields', from('n'), [count(), sum('n'), avg('m')]);
    await story.number('in a map', from('n'), [sum('in.d'), count()]);
    await story.number('up to', from('n'), [count('c', 3)]);
    await story.number('up to more', from('n'), [count('c', 300)]);
    await story.number('up to none', from('n'), [count('c', 0)]);
    await story.number('up to less', from('n'), [count('c', -1)]);
    await story.number('with a limit', { ...from('n'), limit: { value: 3 } }, [count(), sum('n')]);
    await story.number('with a limit of none', { ...from('n'), limit: { value: 0 } }, [count(), sum('n')]);
    await story.number('with an offset', { ...from('n'), offset: 2 }, [count()]);
    await story.number('with an order', { ...from('n'), orderBy: [by('m')] }, [count(), sum('n')]);
    await story.number('with a filter', { ...from('n'), where: where('n', 'GREATER_THAN', 0) }, [count(), avg('n')]);
    await story.number('with a cursor', { ...from('n'), orderBy: [by('n')], startAt: at(true, 1) }, [count(), sum('n')]);
    await story.number('either', { ...from('n'), where: any(where('n', 'EQUAL', 1), where('m', 'EQUAL', 3)) }, [count()]);
    await story.number('of a group', from('n', true), [count()]);
    await story.number('none', from('n'), []);
    await story.number('the same name twice', from('n'), [count('a'), sum('n', 'a')]);
    await story.number('names and none', from('n'), [count(), count('b'), sum('n')]);
    await story.number('an odd name', from('n'), [count('a b')]);
    await story.number('a reserved name', from('n'), [count('__a__')]);
    await story.number('no field', from('n'), [{ sum: {} }]);
    await story.number('an empty field', from('n'), [sum('')]);
    await story.number('the name', from('n'), [sum('__name__')]);
    await story.number('nothing', from('n'), [{ alias: 'a' }]);
    await story.ask('no query', 'RunAggregationQuery', {});
    await story.ask('no structured query', 'RunAggregationQuery', { structuredAggregationQuery: { aggregations: [count()] } });
  },
  'partitions': async story => {
    const data = {};
    for (let n = 0; n < 40; n++) data[`x/${n % 4}/g/${String(n).padStart(3, '0')}`] = { n };
    await story.given(data);
    const cut = (step, structuredQuery, more = {}) => story.ask(step, 'PartitionQuery', { structuredQuery, partitionCount: 3, ...more }, answer => (answer.partitions ? 'some' : 'none'));
    const query = { ...from('g', true), orderBy: [by('__name__')] };
    await cut('without an order', from('g', true));
    await cut('a filter', { ...query, where: where('n', 'EQUAL', 1) });
    await cut('a limit', { ...query, limit: { value: 3 } });
    await cut('an offset', { ...query, offset: 3 });
    await cut('another order', { ...from('g', true), orderBy: [by('n')] });
    await cut('falling', { ...from('g', true), orderBy: [by('__name__', 'DESCENDING')] });
    await cut('one collection', { ...from('g'), orderBy: [by('__name__')] });
    await cut('no count', query, { partitionCount: 0 });
    await cut('a count below zero', query, { partitionCount: -1 });
    await cut('a size below zero', query, { pageSize: -1 });
    await cut('a cursor', { ...query, startAt: at(true, reference(story.name('x/1/g/001'))) });
    await cut('of nothing', { ...from('none', true), orderBy: [by('__name__')] });
    await cut('a bad token', query, { pageToken: 'nonsense' });
    await cut('below a document', query, { parent: story.name('x/1') });
    await story.ask('no query', 'PartitionQuery', { partitionCount: 2 });
  },
  'projections, limits and offsets': async story => {
    await story.given({ 's/a': { n: 1, m: { x: 1, y: { z: 2 } }, l: [{ a: 1 }] }, 's/b': { n: 2 }, 's/c': { n: 3, m: 4 }, 's/d': { m: { y: 1 } } });
    const select = (...paths) => ({ ...from('s'), select: { fields: paths.map(field) } });
    for (const paths of [[], ['n'], ['m.x'], ['m.y.z'], ['m', 'm.x'], ['m.x', 'm.y'], ['none'], ['__name__'], ['__name__', 'n'], ['l'], ['l.a'], ['n', 'n']]) await story.find(`select ${paths.join(', ')}`, select(...paths), { whole: true });
    for (const limit of [1, 2, 100, 0, -1]) await story.find(`limit ${limit}`, { ...from('s'), limit: { value: limit } });
    for (const offset of [1, 3, 4, 100, -1]) await story.find(`offset ${offset}`, { ...from('s'), offset });
    await story.find('limit and offset', { ...from('s'), offset: 1, limit: { value: 2 } });
    await story.find('offset beyond a filter', { ...from('s'), where: where('n', 'GREATER_THAN', 1), offset: 1 });
    await story.find('order where it is missing', { ...from('s'), orderBy: [by('n', 'DESCENDING')] });
    await story.find('two orders', { ...from('s'), orderBy: [by('n'), by('m')] });
    await story.find('the same order twice', { ...from('s'), orderBy: [by('n'), by('n', 'DESCENDING')] });
    await story.find('no direction', { ...from('s'), orderBy: [{ field: field('n') }] });
    await story.find('no field', { ...from('s'), orderBy: [{ direction: 'ASCENDING' }] });
  },
};
