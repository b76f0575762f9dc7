import assert from 'node:assert/strict';
import { test } from 'node:test';

import { keepDouble, memberOf, parseExact, pretty, textOf } from '../../../server/hearth/assets/live/json.js';
import { decodeValue } from '../src/wire/value.js';

test('text is laid out without touching a number', () => {
  assert.equal(pretty('{"a":3.0,"b":[1,{"c":"x, {y}: \\"z\\""}],"e":{},"f":[],"g":-1e400}'), [
    '{', '  "a": 3.0,', '  "b": [', '    1,', '    {', '      "c": "x, {y}: \\"z\\""', '    }', '  ],', '  "e": {},', '  "f": [],', '  "g": -1e400', '}',
  ].join('\n'));
});

test('a member is taken out as it stands', () => {
  const json = '{"path":"data","x":{"data":1}, "data" : {"data":"}", "n":3.0} ,"created":"1"}';
  assert.equal(memberOf(json, 'data'), '{"data":"}", "n":3.0}');
  assert.equal(memberOf(json, 'created'), '"1"');
  assert.equal(memberOf(json, 'path'), '"data"');
  assert.equal(memberOf(json, 'none'), null);
});

test('a double stays recognisable as one, and everything else is as it was', () => {
  for (const source of ['51.0', '510e-1', '5.1E1']) assert.deepEqual(keepDouble('', 51, { source }), { $double: 51 });
  for (const context of [{ source: '51' }, {}, undefined]) assert.equal(keepDouble('', 51, context), 51);
  assert.deepEqual(keepDouble('', 0.5, { source: '0.5' }), 0.5);
  assert.equal(textOf({ a: { $double: 51 }, b: 51, c: [{ $double: -2 }, 0.5], d: { $double: 1e300 } }), '{"a":51.0,"b":51,"c":[-2.0,0.5],"d":1e+300}');
  assert.equal(decodeValue({ $double: 51 }, /** @type {any} */ (null)), 51, 'to the SDK it is the same number');
  const other = '{"d":{"$double":"NaN"},"e":{"$int":"9007199254740993"},"f":"3.0","g":null,"i":{},"j":[true,{"k":""}]}';
  assert.equal(textOf(parseExact(other)), other);
});
