// Requests that make no sense: with which code they are refused, or what is made of them.

import { all, any, at, by, field, from, unary, where } from '../story.js';
import { double, reference, typed, value, vector } from '../wire.js';

const many = (count, make) => Array.from({ length: count }, (_, n) => make(n));

export default {
  'names that are none': async story => {
    const set = name => ({ update: { name, fields: {} } });
    const names = ['', 'a', 'a/b', story.database, story.root, `${story.root}/`, `${story.root}/a`, `${story.root}/a/b/`, `${story.root}//b`, `${story.root}/a//b/c`, `/${story.root}/a/b`, 'projects/p/databases/(default)/documents/a/b', 'projects//databases/(default)/documents/a/b', `${story.database}/a/b`, `${story.root}/a/b?c`, `${story.root}/a/b#c`, `${story.root}/a/b:c`, `${story.root}/a/ `];
    for (const name of names) {
      await story.commit(`set ${name.replace(story.root, '…')}`, [set(name)]);
      await story.commit(`delete ${name.replace(story.root, '…')}`, [{ delete: name }]);
      await story.ask(`query below ${name.replace(story.root, '…')}`, 'RunQuery', { parent: name, structuredQuery: from('c') }, answer => answer.filter(one => one.document).length);
    }
    for (const database of ['', 'nonsense', 'projects/p', 'projects/p/databases', 'projects/p/databases/', 'projects//databases/d', story.root, `${story.database}/`, `/${story.database}`]) {
      await story.commit(`commit in ${database.replace(story.database, '…')}`, [], { database });
      await story.ask(`begin in ${database.replace(story.database, '…')}`, 'BeginTransaction', { database });
      await story.ask(`batch in ${database.replace(story.database, '…')}`, 'BatchWrite', { database, writes: [] });
    }
    await story.commit('a document of another database', [set('projects/other/databases/(default)/documents/a/b')]);
    await story.commit('too deep', [set(`${story.root}/${many(202, () => 'a').join('/')}`)]);
    await story.commit('deep', [set(`${story.root}/${many(200, () => 'a').join('/')}`)]);
    await story.commit('long', [set(`${story.root}/${many(6, () => 'x'.repeat(1_200)).join('/')}`)]);
  },
  'filters without sense': async story => {
    await story.given({ 'f/a': { n: 1, l: [1] }, 'f/b': { n: null } });
    const find = (step, filter, more = {}) => story.find(step, { ...from('f'), where: filter, ...more });
    await find('empty', {});
    await find('and of nothing', all());
    await find('or of nothing', any());
    await find('and of one', all(where('n', 'EQUAL', 1)));
    await find('or of one', any(where('n', 'EQUAL', 1)));
    await find('no operator', { compositeFilter: { filters: [where('n', 'EQUAL', 1)] } });
    await find('no operator on a field', { fieldFilter: { field: field('n'), value: value(1) } });
    await find('no value', { fieldFilter: { field: field('n'), op: 'EQUAL' } });
    await find('no field', { fieldFilter: { op: 'EQUAL', value: value(1) } });
    await find('an empty value', { fieldFilter: { field: field('n'), op: 'EQUAL', value: {} } });
    await find('no operand', { unaryFilter: { op: 'IS_NULL' } });
    await find('no unary operator', { unaryFilter: { field: field('n') } });
    for (const op of ['IN', 'NOT_IN', 'ARRAY_CONTAINS_ANY']) {
      await find(`${op} of a number`, where('n', op, 1));
      await find(`${op} of nothing`, where('n', op, []));
      await find(`${op} of null`, where('n', op, null));
      await find(`${op} of a null`, where('n', op, [null]));
      await find(`${op} of a null and more`, where('n', op, [null, 1]));
      await find(`${op} of a NaN`, where('n', op, [double(NaN)]));
      await find(`${op} of lists`, where('l', op, [[1]]));
      await find(`${op} of ten`, where('n', op, many(10, n => n)));
      await find(`${op} of eleven`, where('n', op, many(11, n => n)));
      await find(`${op} of thirty`, where('n', op, many(30, n => n)));
      await find(`${op} of the same twice`, where('n', op, [1, double(1), 1]));
    }
    for (const op of ['EQUAL', 'NOT_EQUAL', 'LESS_THAN', 'GREATER_THAN_OR_EQUAL', 'ARRAY_CONTAINS', 'LESS_THAN_OR_EQUAL']) {
      await find(`${op} null`, where('n', op, null));
      await find(`${op} NaN`, where('n', op, double(NaN)));
      await find(`${op} a list`, where('l', op, [1]));
      await find(`${op} a vector`, where('l', op, vector(1)));
    }
    await find('deep', many(19, n => n).reduce(one => all(one, where('n', 'EQUAL', 1)), where('n', 'EQUAL', 1)));
    await find('inequality and another order', where('n', 'GREATER_THAN', 0), { orderBy: [by('l')] });
    await find('equality and its order', where('n', 'EQUAL', 1), { orderBy: [by('n')] });
    await find('contains twice', all(where('l', 'ARRAY_CONTAINS', 1), where('l', 'ARRAY_CONTAINS', 2)));
    await find('contains and any', all(where('l', 'ARRAY_CONTAINS', 1), where('l', 'ARRAY_CONTAINS_ANY', [1, 2])));
    await find('eleven inequalities', all(...many(11, n => where(`f${n}`, 'GREATER_THAN', n))));
    await find('a field reference', where('n', 'EQUAL', typed({ fieldReferenceValue: 'l' })));
    await find('a value too deep', where('n', 'EQUAL', many(25, n => n).reduce(one => ({ a: one }), 1)));
    await find('a list in a list', where('n', 'EQUAL', [[1]]));
    await find('a reference elsewhere', where('n', 'EQUAL', reference('projects/other/databases/d/documents/a/b')));
    await find('a reference that is none', where('n', 'EQUAL', reference('nonsense')));
  },
  'cursors without sense': async story => {
    await story.given({ 'c/a': { n: 1, m: 1 }, 'c/b': { n: 1, m: 2 }, 'c/c': { n: 2, m: 1 } });
    const find = (step, more) => story.find(step, { ...from('c'), ...more });
    await find('no values', { orderBy: [by('n')], startAt: { before: true } });
    await find('no values at the end', { orderBy: [by('n')], endAt: { before: true } });
    await find('without an order', { startAt: at(true, 1) });
    await find('a name without an order', { startAt: at(true, reference(story.name('c/b'))) });
    await find('too many', { orderBy: [by('n')], startAt: at(true, 1, reference(story.name('c/a')), 3) });
    await find('too many at the end', { orderBy: [by('n')], endAt: at(true, 1, reference(story.name('c/a')), 3) });
    await find('the name behind an order', { orderBy: [by('n')], startAt: at(false, 1, reference(story.name('c/a'))) });
    await find('fewer', { orderBy: [by('n'), by('m')], startAt: at(false, 1) });
    await find('both', { orderBy: [by('n'), by('m')], startAt: at(true, 1, 2), endAt: at(false, 2, 0) });
    await find('crossed', { orderBy: [by('n')], startAt: at(true, 2), endAt: at(true, 1) });
    await find('an empty value', { orderBy: [by('n')], startAt: { before: true, values: [{}] } });
    await find('of another kind', { orderBy: [by('n')], startAt: at(true, 'text') });
    await find('null', { orderBy: [by('n')], startAt: at(true, null) });
    await find('a list in a list', { orderBy: [by('n')], startAt: at(true, [[1]]) });
    await find('a name in another collection', { orderBy: [by('__name__')], startAt: at(true, reference(story.name('d/b'))) });
    await find('a name deeper', { orderBy: [by('__name__')], startAt: at(true, reference(story.name('c/a/d/b'))) });
    await find('text for a name', { orderBy: [by('__name__')], startAt: at(true, 'b') });
    await find('text with slashes for a name', { orderBy: [by('__name__')], startAt: at(true, 'c/b') });
    await find('empty text for a name', { orderBy: [by('__name__')], startAt: at(true, '') });
    await find('inequality and cursor', { where: where('n', 'GREATER_THAN', 0), startAt: at(false, 1) });
    await find('inequality, order and cursor', { where: where('n', 'GREATER_THAN', 0), orderBy: [by('n')], startAt: at(false, 1) });
    await find('inequality, cursor with two', { where: where('n', 'GREATER_THAN', 0), orderBy: [by('n')], startAt: at(false, 1, reference(story.name('c/a'))) });
  },
  'requests without sense': async story => {
    await story.ask('a query of nothing', 'RunQuery', {}, () => 'answered');
    await story.ask('two consistencies are one', 'RunQuery', { structuredQuery: from('a'), transaction: Buffer.from('nonsense') }, () => 'answered');
    await story.ask('commit in a foreign transaction', 'Commit', { transaction: Buffer.from('nonsense'), writes: [] });
    await story.ask('rollback of a foreign one', 'Rollback', { transaction: Buffer.from('nonsense') });
    await story.ask('rollback of none', 'Rollback', {});
    await story.ask('get in a foreign one', 'GetDocument', { name: story.name('a/b'), transaction: Buffer.from('nonsense') });
    await story.find('a collection with a slash', from('a/b'));
    await story.find('a reserved collection', from('__a__'));
    await story.find('dots', from('..'));
    await story.find('a long collection', from('x'.repeat(1_501)));
    await story.find('a huge limit', { ...from('a'), limit: { value: 2_147_483_647 } });
    await story.find('a vector search of nothing', { ...from('a'), findNearest: {} });
    await story.ask('delete a collection', 'DeleteDocument', { name: story.name('a') });
    await story.ask('update nothing', 'UpdateDocument', {});
    await story.ask('update a collection', 'UpdateDocument', { document: { name: story.name('a') } });
    await story.ask('update through a bad mask', 'UpdateDocument', { document: { name: story.name('a/b') }, updateMask: { fieldPaths: ['a..b'] } });
    await story.ask('a bad mask of the answer', 'UpdateDocument', { document: { name: story.name('a/b') }, mask: { fieldPaths: ['a..b'] } });
    await story.commit('a mask with a delete', [{ delete: story.name('a/b'), updateMask: { fieldPaths: ['a'] } }]);
    await story.commit('501 transforms', [story.transform('a/t', ...many(501, n => ({ fieldPath: `f${n}`, increment: value(1) })))]);
    await story.commit('500 transforms', [story.transform('a/u', ...many(500, n => ({ fieldPath: `f${n}`, increment: value(1) })))]);
    await story.commit('501 writes', many(501, n => story.set(`w/${n}`, { n })));
    await story.number('all of 501', from('w'), [{ count: {} }]);
  },
};
