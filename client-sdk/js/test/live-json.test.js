import assert from 'node:assert/strict';
import { test } from 'node:test';

import { memberOf, pretty } from '../../../server/hearth/assets/live/json.js';

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
