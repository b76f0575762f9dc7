// Values: in which order they stand, which are equal, what becomes of them.

import { all, any, at, by, field, from, unary, where } from '../story.js';
import { bytes, double, geo, reference, time, typed, vector } from '../wire.js';

const BIG = 9_007_199_254_740_992n;

/** Every kind of value with its neighbours, by the id of its document. Ids are in no order that means anything. */
const kinds = name => ({
  n01: null, n02: false, n03: true,
  q01: double(NaN), q02: double(-Infinity), q03: double(-1.7e308), q04: -9_223_372_036_854_775_808n, q05: double(-9_223_372_036_854_775_808),
  q06: -(BIG + 1n), q07: double(-9_007_199_254_740_992), q08: -BIG, q09: -1, q10: double(-1), q11: double(-5e-324), q12: double(-0), q13: 0, q14: double(0),
  q15: double(5e-324), q16: double(0.5), q17: 1, q18: double(1), q19: double(1.0000000000000002), q20: BIG - 1n, q21: BIG, q22: double(9_007_199_254_740_992),
  q23: BIG + 1n, q24: double(9_007_199_254_740_994), q25: BIG + 2n, q26: 9_223_372_036_854_775_807n, q27: double(9_223_372_036_854_775_808), q28: double(1e300), q29: double(Infinity),
  t01: time(-62_135_596_800), t02: time(-1, 999_999_999), t03: time(-1, 999_999_000), t04: time(0), t05: time(0, 999), t06: time(0, 1_000), t07: time(0, 1_999), t08: time(1_700_000_000, 123_456_789), t09: time(253_402_300_799, 999_999_999),
  s01: '', s02: '\u0000', s03: 'A', s04: 'a', s05: 'a\u0000', s06: 'aa', s07: 'b', s08: 'é', s09: 'e\u0301', s10: '\ud7ff', s11: '\ue000', s12: '\uffff', s13: '𐀀', s14: '😀',
  b01: bytes(''), b02: bytes('\x00'), b03: bytes('a'), b04: bytes('a\x00'), b05: bytes('b'), b06: bytes('\xff'),
  r01: reference(name('a/a')), r02: reference(name('a/a/b/b')), r03: reference(name('a/b')), r04: reference(name('b/a')), r05: reference(name('a/a-/b/b')), r06: reference(name('a/__id7__')), r07: reference(name('a/__id10__')), r08: reference(name('a/A')),
  g01: geo(-90, 0), g02: geo(0, -180), g03: geo(0, 0), g05: geo(0, 180), g06: geo(1, -1), g07: geo(90, 0),
  a01: [], a02: [null], a03: [false], a04: [1], a05: [double(1)], a06: [1, 2], a07: [2], a08: ['a'], a09: [{}], a10: [1, null], a11: [double(NaN)],
  v02: vector(1), v03: vector(0, 0), v04: vector(0, 1), v05: vector(1, 0), v06: vector(-1, 5, 5), v08: vector(-0),
  m01: {}, m02: { a: null }, m03: { a: 1 }, m04: { a: double(1) }, m05: { a: 1, b: 0 }, m06: { a: 2 }, m07: { b: null }, m08: { b: 1, a: 1 }, m10: { A: 1 }, m11: { é: 1 }, m12: { aa: 0 }, m13: { a: [] }, m14: { a: {} },
});

/** What may stand in a list: no list, and to the emulator no vector. */
const isBare = one => !Array.isArray(one) && !one?.value?.mapValue?.fields?.__type__;

async function given(story) {
  const values = kinds(path => story.name(path));
  await story.given(Object.fromEntries(Object.entries(values).map(([id, one]) => [`k/${id}`, { v: one, in: { v: one }, list: isBare(one) ? [one] : [] }])));
  return values;
}

export default {
  'every kind of value comes back': async story => {
    await given(story);
    await story.find('all', from('k'), { whole: true });
  },
  'the order of all values': async story => {
    await given(story);
    await story.find('rising', { ...from('k'), orderBy: [by('v')] });
    await story.find('falling', { ...from('k'), orderBy: [by('v', 'DESCENDING')] });
    await story.find('within a map', { ...from('k'), orderBy: [by('in.v')] });
    await story.find('lists', { ...from('k'), orderBy: [by('list')] });
    await story.find('whole maps', { ...from('k'), orderBy: [by('in', 'DESCENDING')] });
    await story.find('names falling behind', { ...from('k'), orderBy: [by('v'), by('__name__', 'DESCENDING')] });
  },
  'every comparison with every value': async story => {
    const values = await given(story);
    const operators = ['LESS_THAN', 'LESS_THAN_OR_EQUAL', 'GREATER_THAN', 'GREATER_THAN_OR_EQUAL', 'EQUAL', 'NOT_EQUAL'];
    for (const [id, one] of Object.entries(values)) {
      for (const op of operators) await story.find(`${op} ${id}`, { ...from('k'), where: where('v', op, one) });
      if (isBare(one)) await story.find(`ARRAY_CONTAINS ${id}`, { ...from('k'), where: where('list', 'ARRAY_CONTAINS', one) });
      if (isBare(one)) await story.find(`IN ${id}`, { ...from('k'), where: where('v', 'IN', [one, 'a']) });
      if (isBare(one)) await story.find(`NOT_IN ${id}`, { ...from('k'), where: where('v', 'NOT_IN', [one, 'a']) });
      if (isBare(one)) await story.find(`ARRAY_CONTAINS_ANY ${id}`, { ...from('k'), where: where('list', 'ARRAY_CONTAINS_ANY', [one, 'a']) });
    }
    for (const op of ['IS_NAN', 'IS_NULL', 'IS_NOT_NAN', 'IS_NOT_NULL']) {
      for (const path of ['v', 'in.v', 'list', 'nothing', 'in']) await story.find(`${op} ${path}`, { ...from('k'), where: unary(path, op) });
    }
  },
  'every value as a cursor': async story => {
    const values = await given(story);
    for (const [id, one] of Object.entries(values)) {
      for (const direction of ['ASCENDING', 'DESCENDING']) {
        const query = { ...from('k'), orderBy: [by('v', direction)] };
        await story.find(`at ${id} ${direction}`, { ...query, startAt: at(true, one), limit: { value: 5 } });
        await story.find(`behind ${id} ${direction}`, { ...query, startAt: at(false, one), limit: { value: 5 } });
        await story.find(`up to ${id} ${direction}`, { ...query, endAt: at(false, one), offset: 3 });
        await story.find(`before ${id} ${direction}`, { ...query, endAt: at(true, one) });
      }
    }
  },
  'inequalities on several fields': async story => {
    const data = {};
    for (let n = 0; n < 24; n++) data[`s/${String.fromCharCode(97 + n)}`] = { x: n % 4, y: n % 6 === 5 ? null : (n * 7) % 5, z: n % 3 === 0 ? { w: n } : 'z', ...(n % 5 === 0 ? {} : { o: n }) };
    await story.given(data);
    const twice = all(where('x', 'GREATER_THAN', 0), where('y', 'LESS_THAN', 4));
    await story.find('two', { ...from('s'), where: twice });
    await story.find('two, ordered by the second', { ...from('s'), where: twice, orderBy: [by('y', 'DESCENDING')] });
    await story.find('two, ordered by another', { ...from('s'), where: twice, orderBy: [by('o')] });
    await story.find('two, ordered by another, falling', { ...from('s'), where: twice, orderBy: [by('o', 'DESCENDING')], limit: { value: 4 } });
    await story.find('three with not equal', { ...from('s'), where: all(twice, where('o', 'NOT_EQUAL', 7)) });
    await story.find('in a map', { ...from('s'), where: all(where('z.w', 'GREATER_THAN', 2), where('x', 'LESS_THAN', 3)) });
    await story.find('either', { ...from('s'), where: any(where('x', 'GREATER_THAN', 2), where('y', 'LESS_THAN', 1)) });
    await story.find('either, with a limit', { ...from('s'), where: any(where('x', 'GREATER_THAN', 2), where('o', 'LESS_THAN', 9)), limit: { value: 3 } });
    await story.find('either equal', { ...from('s'), where: any(where('x', 'EQUAL', 2), where('y', 'EQUAL', 1)), limit: { value: 5 } });
    await story.find('range and equal', { ...from('s'), where: all(where('x', 'EQUAL', 2), where('o', 'GREATER_THAN', 5)), orderBy: [by('o', 'DESCENDING')] });
    await story.find('cursor over two', { ...from('s'), where: twice, orderBy: [by('x'), by('y')], startAt: at(false, 1, 2), endAt: at(true, 3) });
    await story.find('names and a field', { ...from('s'), where: all(where('__name__', 'GREATER_THAN', reference(story.name('s/f'))), where('x', 'GREATER_THAN', 1)) });
    await story.find('not null', { ...from('s'), where: all(unary('y', 'IS_NOT_NULL'), where('x', 'GREATER_THAN', 1)) });
  },
  'fields with odd names': async story => {
    await story.given({
      'o/a': { 'a.b': 1, a: { b: 2 }, 'with space': 3, '`': 4, '\\': 5, 'ä': 6, '0': 7, __name: 9, 'x-y': { 'z.w': 10 } },
      'o/b': { a: { b: 1 }, '`': 3 },
    });
    await story.find('whole', from('o'), { whole: true });
    for (const path of ['`a.b`', 'a.b', '`with space`', '`\\``', '`\\\\`', '`ä`', 'ä', '`0`', '0', '`x-y`.`z.w`', '`a`.`b`', '``', '__name', 'a..b', '.a', 'a.', '`a', 'a`b`', 'with space', 'a.`b`.c', '*', 'a.*', 'a[0]', '__x__', '']) {
      await story.find(`select ${path}`, { ...from('o'), select: { fields: [field(path)] } }, { whole: true });
      await story.find(`order ${path}`, { ...from('o'), orderBy: [by(path)] });
      await story.find(`where ${path}`, { ...from('o'), where: where(path, 'GREATER_THAN', 0) });
      await story.ask(`mask ${path}`, 'BatchGetDocuments', { documents: [story.name('o/a')], mask: { fieldPaths: [path] } }, answers => answers.map(one => one.found?.fields));
      await story.commit(`delete ${path}`, [story.merge('o/copy', [path], { a: { b: 1 } })]);
      await story.commit(`count ${path}`, [story.transform('o/copy', { fieldPath: path, increment: typed({ integerValue: 1 }).value })]);
    }
    await story.read('in the end', 'o/copy');
  },
};
