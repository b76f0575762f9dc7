// Writes: transforms of every kind of value, masks, preconditions, batches with mixed results.

import { bytes, double, fields, geo, reference, time, typed, value, vector } from '../wire.js';

const TOP = 9_223_372_036_854_775_807n;
const stored = name => ({
  nothing: undefined, null: null, yes: true, int: 5, zero: 0, minus: -3, top: TOP, bottom: -TOP - 1n, half: double(0.5), five: double(5), nil: double(0), 'minus nil': double(-0), nan: double(NaN),
  'without end': double(Infinity), 'minus without end': double(-Infinity), big: double(1e300), text: 'a', time: time(5), bytes: bytes('a'), list: [1, double(1), 'a', 2, double(NaN), null], 'empty list': [],
  map: { a: 1 }, place: geo(1, 2), reference: reference(name('a/a')), vector: vector(1, 2), 'big int': 9_007_199_254_740_993n, 'list of maps': [{ a: 1 }, { a: double(1) }, { a: 1, b: 2 }, { a: 1 }],
});
const numbers = {
  one: 1, 'minus one': -1, zero: 0, half: double(0.5), 'one point nought': double(1), nan: double(NaN), top: TOP, bottom: -TOP - 1n, 'without end': double(Infinity), 'minus nil': double(-0), five: 5, 'five point nought': double(5), 'big int': 9_007_199_254_740_992n, 'big double': double(9_007_199_254_740_992),
};
const lists = name => ({
  none: [], one: [1], 'one point nought': [double(1)], several: [2, 'a', 3, 3, double(3)], null: [null], nan: [double(NaN)], map: [{ a: 1 }], 'map with a double': [{ a: double(1) }], reference: [reference(name('a/a'))],
  nil: [0, double(-0), double(0)], vector: [vector(1)], times: [time(1, 1), time(1, 2)],
});

const update = (story, path, data, updateTransforms, more = {}) => story.set(path, data, { updateTransforms, ...more });

export default {
  'numbers that are counted, raised and lowered': async story => {
    for (const [kind, one] of Object.entries(stored(path => story.name(path)))) {
      for (const [by, number] of Object.entries(numbers)) {
        for (const transform of ['increment', 'maximum', 'minimum']) {
          const data = one === undefined ? {} : { v: one };
          await story.commit(`${kind} ${transform} ${by}`, [update(story, 't/a', data, [{ fieldPath: 'v', [transform]: value(number) }])]);
          await story.read(`${kind} ${transform} ${by}, read`, 't/a');
        }
      }
    }
  },
  'numbers that are none': async story => {
    for (const [kind, one] of Object.entries(stored(path => story.name(path)))) {
      for (const transform of ['increment', 'maximum', 'minimum']) {
        await story.commit(`${transform} ${kind}`, [update(story, 't/a', { v: 1 }, [{ fieldPath: 'v', [transform]: one === undefined ? {} : value(one) }])]);
        await story.read(`${transform} ${kind}, read`, 't/a');
      }
    }
  },
  'lists that are added to and taken from': async story => {
    const name = path => story.name(path);
    for (const [kind, one] of Object.entries(stored(name))) {
      for (const [by, list] of Object.entries(lists(name))) {
        for (const transform of ['appendMissingElements', 'removeAllFromArray']) {
          const data = one === undefined ? {} : { v: one };
          await story.commit(`${kind} ${transform} ${by}`, [update(story, 't/a', data, [{ fieldPath: 'v', [transform]: value(list).arrayValue }])]);
          await story.read(`${kind} ${transform} ${by}, read`, 't/a');
        }
      }
    }
  },
  'several transforms of one document': async story => {
    const count = (path, by = 1) => ({ fieldPath: path, increment: value(by) });
    const now = path => ({ fieldPath: path, setToServerValue: 'REQUEST_TIME' });
    await story.commit('the same field twice', [update(story, 't/a', {}, [count('n'), count('n')])]);
    await story.commit('two counts and a time', [update(story, 't/b', { n: 1, m: 'x' }, [count('n'), count('m'), now('at'), now('in.at')])]);
    await story.read('as it is', 't/a', 't/b');
    await story.commit('below a number', [update(story, 't/c', { n: 1 }, [count('n.x')])]);
    await story.read('below', 't/c');
    await story.commit('a field and one below it', [update(story, 't/d', {}, [count('n'), count('n.x')])]);
    await story.commit('masked and transformed', [story.merge('t/e', ['n'], { n: 4 }, { updateTransforms: [count('n')] })]);
    await story.read('after mask and transform', 't/e');
    await story.commit('mask below the transform', [story.merge('t/f', ['n.x'], { n: { x: 4 } }, { updateTransforms: [count('n')] })]);
    await story.read('after mask below', 't/f');
    await story.commit('the older way', [{ transform: { document: story.name('t/g'), fieldTransforms: [count('n'), now('at')] } }]);
    await story.commit('the older way where it must be', [{ transform: { document: story.name('t/h'), fieldTransforms: [count('n')] }, currentDocument: { exists: true } }]);
    await story.commit('the older way without any', [{ transform: { document: story.name('t/i'), fieldTransforms: [] } }]);
    await story.commit('a delete with a transform', [{ delete: story.name('t/g'), updateTransforms: [count('n')] }]);
    await story.commit('nothing to do', [update(story, 't/j', {}, [{ fieldPath: 'n' }])]);
    await story.commit('a server value that is none', [update(story, 't/j', {}, [{ fieldPath: 'n', setToServerValue: 0 }])]);
    await story.commit('the name', [update(story, 't/j', {}, [count('__name__')])]);
    await story.commit('written twice', [story.set('t/k', { n: 1 }), story.transform('t/k', count('n', 5)), story.merge('t/k', ['m'], { m: 1 })]);
    await story.read('all', 't/c', 't/d', 't/g', 't/h', 't/i', 't/j', 't/k');
  },
  'masks with deletes and deep paths': async story => {
    const base = { a: { b: { c: 1, d: 2 }, 'e.f': 3, g: [1] }, h: 4, 'i j': { k: 5 }, l: {} };
    const masks = [
      ['a'], ['a.b'], ['a.b.c'], ['a.`e.f`'], ['h'], ['h.x'], ['h.x.y'], ['`i j`'], ['`i j`.k'], ['l.m'], ['new'], ['new.deep.er'], ['a', 'h'], ['a.b.c', 'a.b.d'], ['a', 'a.b'], ['a.b', 'a'], ['a', 'a'], [], ['a.g'], ['a.b.c.z'], ['zz', 'a.zz', 'a.b.zz'],
    ];
    const inputs = { nothing: {}, all: { a: { b: { c: 10 }, 'e.f': { z: 1 } }, h: { x: { y: 1 } }, 'i j': { k: null }, l: { m: 1 }, new: { deep: { er: 1 } } }, flat: { a: 1, h: 2, new: 3, l: 'x', 'i j': 1 } };
    for (const mask of masks) {
      for (const [which, data] of Object.entries(inputs)) {
        await story.given({ 'm/a': base });
        const step = `${which} through ${mask.join(', ') || 'an empty mask'}`;
        await story.commit(step, [story.merge('m/a', mask, data)]);
        await story.read(`${step}, read`, 'm/a');
        await story.given({ 'm/a': base });
        await story.ask(`${step}, by UpdateDocument`, 'UpdateDocument', { document: { name: story.name('m/a'), fields: fields(data) }, updateMask: { fieldPaths: mask } });
      }
    }
    await story.commit('a new document through a mask', [story.merge('m/new', ['a.b', 'c'], { a: { b: 1, x: 2 }, d: 3 })]);
    await story.commit('a new document through an empty mask', [story.merge('m/empty', [], { a: 1 })]);
    await story.commit('the name in a mask', [story.merge('m/name', ['__name__'], {})]);
    await story.read('new', 'm/new', 'm/empty', 'm/name');
  },
  'what must be before': async story => {
    const path = 'p/a';
    const write = (more, data = { n: 2 }) => story.set(path, data, more);
    const exists = is => ({ currentDocument: { exists: is } });
    const old = { seconds: 1_000_000, nanos: 1_000 };
    await story.commit('made where it is not', [write(exists(true))]);
    await story.commit('deleted where it is not', [{ delete: story.name(path), ...exists(true) }]);
    await story.commit('deleted where it must not be', [{ delete: story.name(path), ...exists(false) }]);
    await story.commit('of a time where it is not', [write({ currentDocument: { updateTime: old } })]);
    await story.commit('deleted at a time where it is not', [{ delete: story.name(path), currentDocument: { updateTime: old } }]);
    await story.commit('made', [write(exists(false), { n: 1 })]);
    await story.commit('made again', [write(exists(false))]);
    await story.commit('of another time', [write({ currentDocument: { updateTime: old } })]);
    await story.commit('deleted at another time', [{ delete: story.name(path), currentDocument: { updateTime: old } }]);
    const later = { seconds: 4_000_000_000 };
    await story.commit('of a later time', [write({ currentDocument: { updateTime: later } })]);
    await story.commit('deleted at a later time', [{ delete: story.name(path), currentDocument: { updateTime: later } }]);
    await story.commit('of a later time where it is not', [story.set('p/never', {}, { currentDocument: { updateTime: later } })]);
    await story.commit('deleted where it must not be but is', [{ delete: story.name(path), ...exists(false) }]);
    const wrote = await story.commit('where it is', [write(exists(true))]);
    const updateTime = wrote?.writeResults[0].updateTime;
    await story.commit('of its time', [write({ currentDocument: { updateTime } }, { n: 3 })]);
    await story.commit('of its time again', [write({ currentDocument: { updateTime } }, { n: 4 })]);
    await story.commit('one of two fails', [story.set('p/b', { n: 1 }), write(exists(false))]);
    await story.read('none of two', path, 'p/b');
    await story.commit('an empty precondition', [write({ currentDocument: {} }, { n: 5 })]);
    await story.commit('later writes see earlier ones', [story.set('p/c', {}, exists(false)), story.set('p/c', { n: 1 }, exists(true))]);
    await story.ask('UpdateDocument', 'UpdateDocument', { document: { name: story.name('p/none'), fields: {} }, currentDocument: { exists: true } });
    await story.ask('DeleteDocument', 'DeleteDocument', { name: story.name('p/none'), currentDocument: { exists: true } });
    await story.ask('DeleteDocument of nothing', 'DeleteDocument', { name: story.name('p/none') });
    const made = await story.ask('UpdateDocument of its time', 'UpdateDocument', { document: { name: story.name('p/u'), fields: fields({ a: 1 }) } });
    await story.ask('UpdateDocument again', 'UpdateDocument', { document: { name: story.name('p/u'), fields: fields({ a: 1 }) }, currentDocument: { updateTime: made?.updateTime } });
    await story.ask('GetDocument', 'GetDocument', { name: story.name('p/u') });
    await story.commit('nothing', []);
    await story.commit('no operation', [{}]);
    await story.commit('the same again changes no time', [story.set('p/d', { n: 1 })]);
    await story.commit('the same again', [story.set('p/d', { n: 1 })]);
    await story.commit('the same through a mask', [story.merge('p/d', ['n'], { n: 1 })]);
    await story.commit('added nothing', [story.transform('p/d', { fieldPath: 'n', increment: value(0) })]);
    await story.read('times', 'p/d');
    await story.commit('deleted and made', [{ delete: story.name('p/d') }, story.set('p/d', { n: 2 })]);
    await story.read('made anew', 'p/d');
    await story.commit('made and deleted', [story.set('p/e', { n: 2 }), { delete: story.name('p/e') }]);
    await story.read('gone', 'p/e');
  },
  'two and three writes of one document in one commit': async story => {
    const there = is => ({ currentDocument: { exists: is } });
    const remove = (path, more) => ({ delete: story.name(path), ...more });
    const kinds = {
      set: path => story.set(path, { n: 1 }), update: path => story.set(path, { n: 2 }, there(true)), create: path => story.set(path, { n: 3 }, there(false)),
      merge: path => story.merge(path, ['n'], { n: 4 }), add: path => story.transform(path, { fieldPath: 'n', increment: value(1) }),
      delete: path => remove(path), 'delete there': path => remove(path, there(true)), 'delete missing': path => remove(path, there(false)),
      verify: path => ({ verify: story.name(path), ...there(true) }),
      'update of a time': path => story.set(path, { n: 5 }, { currentDocument: { updateTime: { seconds: 5 } } }),
      'delete of a time': path => remove(path, { currentDocument: { updateTime: { seconds: 5 } } }),
    };
    let count = 0;
    for (const isThere of [true, false]) {
      const tell = async (...names) => {
        const path = `w/d${count++}`;
        if (isThere) await story.given({ [path]: { n: 0 } });
        // The results of those that stand are compared elsewhere.
        await story.ask(`${isThere ? 'there' : 'missing'}: ${names.join(', ')}`, 'Commit', { writes: names.map(name => kinds[name](path)) }, () => 'done');
        await story.read(`afterwards ${count}`, path);
      };
      for (const first of Object.keys(kinds)) for (const second of Object.keys(kinds)) await tell(first, second);
      for (const third of ['update', 'create', 'delete there']) {
        for (const names of [['set', 'delete'], ['delete', 'set'], ['delete', 'create'], ['create', 'delete'], ['create', 'update'], ['update', 'delete']]) await tell(...names, third);
      }
    }
  },
  'a batch with mixed results': async story => {
    await story.given({ 'b/a': { n: 1 }, 'b/b': { n: 1 } });
    const mixed = answer => ({ results: answer.writeResults, codes: answer.status.map(one => one.code ?? 0) });
    const exists = is => ({ currentDocument: { exists: is } });
    await story.ask('every outcome', 'BatchWrite', { writes: [
      story.set('b/a', { n: 2 }), story.set('b/b', { n: 2 }, exists(false)), story.set('b/c', {}, exists(true)), { delete: story.name('b/none') }, { delete: story.name('b/gone'), ...exists(true) },
      story.merge('b/d', ['x'], { x: 1 }), story.transform('b/e', { fieldPath: 'n', increment: value(1) }), story.set('b/f', {}, { currentDocument: { updateTime: { seconds: 5 } } }),
    ], labels: { why: 'tests' } }, mixed);
    await story.read('what is there', 'b/a', 'b/b', 'b/c', 'b/d', 'b/e', 'b/f');
    await story.ask('nothing', 'BatchWrite', { writes: [] });
    await story.ask('one twice', 'BatchWrite', { writes: [story.set('b/a', {}), story.set('b/a', {})] });
    await story.ask('one that says nothing', 'BatchWrite', { writes: [{}, story.set('b/g', {})] }, mixed);
    await story.ask('a wrong name', 'BatchWrite', { writes: [{ delete: 'nonsense' }, story.set('b/h', {})] }, mixed);
    await story.ask('an array in an array', 'BatchWrite', { writes: [story.set('b/i', { a: [[1]] }), story.set('b/j', {})] }, mixed);
    await story.read('what is there now', 'b/g', 'b/h', 'b/i', 'b/j');
  },
  'documents made by CreateDocument': async story => {
    const create = (step, more) => story.ask(step, 'CreateDocument', { collectionId: 'c', document: { fields: fields({ n: 1, m: { x: 1 } }) }, ...more });
    await create('with an id', { documentId: 'a' });
    await create('again', { documentId: 'a' });
    await create('with a mask', { documentId: 'b', mask: { fieldPaths: ['m.x'] } });
    await create('below one', { documentId: 'c', parent: story.name('c/a'), collectionId: 'd' });
    await create('without a document', { documentId: 'd', document: null });
    await create('with a bad id', { documentId: 'a/b' });
    await create('with a reserved id', { documentId: '__a__' });
    await create('dots', { documentId: '..' });
    await create('with no collection', { documentId: 'x', collectionId: '' });
    await create('with a bad collection', { documentId: 'x', collectionId: 'a/b' });
    await create('with a name of its own', { documentId: 'y', document: { name: story.name('c/other'), fields: {} } });
    await create('below nothing', { documentId: 'y', parent: 'nonsense' });
  },
  'values that no document holds': async story => {
    const set = (step, v) => story.commit(step, [story.set('v/a', { v })]);
    const nested = depth => (depth ? { a: nested(depth - 1) } : 1);
    await set('a list in a list', [[1]]);
    await set('a list in a map in a list', [{ a: [1] }]);
    await set('nothing', typed({}));
    await set('a time too early', time(-62_135_596_801));
    await set('a time too late', time(253_402_300_800));
    await set('nanoseconds below zero', time(0, -1));
    await set('nanoseconds too many', time(0, 1_000_000_000));
    await set('a latitude too far', geo(90.1, 0));
    await set('a longitude too far', geo(0, 180.5));
    await set('no latitude', geo(NaN, 0));
    await set('a reference that is none', reference('a/b'));
    await set('a reference to a collection', reference(story.name('a')));
    await set('a reference to another database', reference('projects/other/databases/d/documents/a/b'));
    await set('a field reference', typed({ fieldReferenceValue: 'a' }));
    await set('twenty deep', nested(19));
    await set('twenty-one deep', nested(20));
    await set('twenty-two deep', nested(21));
    await set('a long text', 'x'.repeat(1_048_487));
    await set('a longer text', 'x'.repeat(1_048_577));
    await set('a vector with an integer', { __type__: '__vector__', value: [1, 2] });
    await set('a vector of text', { __type__: '__vector__', value: ['a'] });
    await set('a vector without value', { __type__: '__vector__' });
    await set('a vector with more', { __type__: '__vector__', value: [double(1)], more: 1 });
    await set('another type', { __type__: 'other' });
    await set('a type that is no text', { __type__: 1 });
    await set('a reserved name', { __a__: 1 });
    await set('a name that begins so', { __a: 1 });
    await set('a vector of 2048', vector(...Array.from({ length: 2_048 }, () => 1)));
    await set('a vector of 2049', vector(...Array.from({ length: 2_049 }, () => 1)));
    for (const name of ['__a__', '__name__', '', 'x'.repeat(1_500), 'x'.repeat(1_501), '____', '___', '__type__']) {
      await story.commit(`the field ${name.slice(0, 10)} ${name.length}`, [story.set('v/b', { [name]: 1 })]);
    }
    for (const id of ['__a__', '.', '..', 'x'.repeat(1_500), 'x'.repeat(1_501), '__', '____', '__id7__', '__id-7__', '__idx__', 'a b', 'ä', '__id9223372036854775808__', '...']) {
      await story.commit(`the id ${id.slice(0, 10)} ${id.length}`, [story.set(`v/${id}`, { v: 1 })]);
      await story.commit(`the collection ${id.slice(0, 10)} ${id.length}`, [story.set(`${id}/v`, { v: 1 })]);
    }
  },
};
