// The protocol as JSON over HTTP: how values are read and written, what an address means, and how what is wrong is refused.

const many = (count, make) => Array.from({ length: count }, (_, n) => make(n));
const names = answer => answer.filter(one => one.document).map(one => one.document.name.split('/documents/')[1]);
const query = (collectionId, more = {}) => ({ structuredQuery: { from: [{ collectionId }], ...more } });
const compare = (path, op, value) => ({ fieldFilter: { field: { fieldPath: path }, op, value } });
const integer = n => ({ integerValue: String(n) });

/** Every way to write a value, and some that are none. */
const VALUES = {
  'null': { nullValue: null }, 'null by name': { nullValue: 'NULL_VALUE' }, 'null by number': { nullValue: 0 }, 'null by another name': { nullValue: 'NOTHING' }, 'null by another number': { nullValue: 1 },
  'true': { booleanValue: true }, 'true as text': { booleanValue: 'true' }, 'true as number': { booleanValue: 1 },
  'integer': { integerValue: '7' }, 'integer as number': { integerValue: 7 }, 'integer with a fraction of zero': { integerValue: 7.0 }, 'integer as text with a fraction': { integerValue: '7.0' }, 'integer with a fraction': { integerValue: 7.5 }, 'integer with an exponent': '{"integerValue":1e3}', 'integer as text with an exponent': { integerValue: '1e3' }, 'integer with a sign': { integerValue: '+7' }, 'integer with spaces': { integerValue: ' 7 ' }, 'integer of nothing': { integerValue: '' }, 'highest integer': { integerValue: '9223372036854775807' }, 'integer too high': { integerValue: '9223372036854775808' }, 'lowest integer': { integerValue: '-9223372036854775808' }, 'integer null': { integerValue: null }, 'integer of a word': { integerValue: 'seven' },
  'double': { doubleValue: 1.5 }, 'double whole': { doubleValue: 3 }, 'double as text': { doubleValue: '1.5' }, 'NaN': { doubleValue: 'NaN' }, 'Infinity': { doubleValue: 'Infinity' }, '-Infinity': { doubleValue: '-Infinity' }, '-0': '{"doubleValue":-0.0}', '-0 as text': { doubleValue: '-0' }, 'double too high': '{"doubleValue":1e400}', 'double small': '{"doubleValue":5e-324}', 'double of a word': { doubleValue: 'many' }, 'inf': { doubleValue: 'inf' },
  'time': { timestampValue: '2024-02-29T12:34:56Z' }, 'time with micros': { timestampValue: '2024-02-29T12:34:56.123456Z' }, 'time with nanos': { timestampValue: '2024-02-29T12:34:56.123456789Z' }, 'time with millis': { timestampValue: '2024-02-29T12:34:56.120Z' }, 'time with an offset': { timestampValue: '2024-02-29T12:34:56+02:00' }, 'time without a zone': { timestampValue: '2024-02-29T12:34:56' }, 'time of a day': { timestampValue: '2024-02-29' }, 'time of no day': { timestampValue: '2023-02-29T00:00:00Z' }, 'first time': { timestampValue: '0001-01-01T00:00:00Z' }, 'last time': { timestampValue: '9999-12-31T23:59:59.999999Z' }, 'time too late': { timestampValue: '10000-01-01T00:00:00Z' }, 'time as number': { timestampValue: 5 }, 'time in lower case': { timestampValue: '2024-02-29t12:34:56z' }, 'time as seconds': { timestampValue: { seconds: 5 } },
  'text': { stringValue: 'ä😀\u0000' }, 'text as number': { stringValue: 5 }, 'half a letter': '{"stringValue":"\\ud800"}', 'empty text': { stringValue: '' },
  'bytes': { bytesValue: '+/8=' }, 'bytes for addresses': { bytesValue: '-_8=' }, 'bytes without an end': { bytesValue: '+/8' }, 'no bytes': { bytesValue: '' }, 'bytes that are none': { bytesValue: '!' }, 'bytes with a line': { bytesValue: 'AA\nAA' },
  'place': { geoPointValue: { latitude: 1.5, longitude: -2 } }, 'place without': { geoPointValue: {} }, 'place on one line': { geoPointValue: { longitude: 5 } }, 'no place': { geoPointValue: { latitude: 91 } }, 'place with more': { geoPointValue: { latitude: 1, height: 5 } }, 'place in text': { geoPointValue: { latitude: '1.5' } },
  'list': { arrayValue: { values: [{ integerValue: '1' }, { stringValue: 'a' }] } }, 'list of nothing': { arrayValue: {} }, 'list of no values': { arrayValue: { values: [] } }, 'list of a list': { arrayValue: { values: [{ arrayValue: {} }] } }, 'list null': { arrayValue: null }, 'list as a list': { arrayValue: [] }, 'list of null': { arrayValue: { values: [null] } }, 'list of an empty value': { arrayValue: { values: [{}] } }, 'list of one value': { arrayValue: { values: { integerValue: '1' } } },
  'map': { mapValue: { fields: { b: { integerValue: '1' }, a: { nullValue: null } } } }, 'map of nothing': { mapValue: {} }, 'map of no fields': { mapValue: { fields: {} } }, 'map with an empty name': { mapValue: { fields: { '': { integerValue: '1' } } } }, 'map with a reserved name': { mapValue: { fields: { __a__: { integerValue: '1' } } } }, 'vector': { mapValue: { fields: { __type__: { stringValue: '__vector__' }, value: { arrayValue: { values: [{ doubleValue: 1 }, { doubleValue: 2 }] } } } } },
  'vector of integers': { mapValue: { fields: { __type__: { stringValue: '__vector__' }, value: { arrayValue: { values: [{ integerValue: '1' }] } } } } },
  'reference': { referenceValue: 'projects/differential/databases/x/documents/a/b' }, 'no reference': { referenceValue: 'a/b' },
  'nothing': {}, 'null itself': null, 'two kinds': { integerValue: '1', stringValue: 'a' }, 'an unknown kind': { decimalValue: '1' }, 'an unknown kind beside': { integerValue: '1', note: 'x' }, 'a number itself': 5, 'a list itself': [], 'in other letters': { integer_value: '7' }, 'the field of another': { fieldReferenceValue: 'a' }, 'a function': { functionValue: { name: 'a' } },
};

export default {
  'values as JSON': async story => {
    await story.given({ 'v/first': {} });
    for (const [what, one] of Object.entries(VALUES)) {
      const text = typeof one === 'string' ? one : JSON.stringify(one);
      await story.rest(`${what}`, 'PATCH', `documents/v/a`, { body: `{"fields":{"v":${text}}}` });
      await story.rest(`${what} in a commit`, 'POST', 'documents:commit', { body: `{"writes":[{"update":{"name":"${story.name('v/b')}","fields":{"v":${text}}}}]}` });
    }
  },
  'bodies that are none': async story => {
    const bodies = { 'nothing': '', 'spaces': ' \n', 'no JSON': 'hello', 'half': '{"fields":', 'a list': '[]', 'a number': '5', 'null': 'null', 'two': '{}{}', 'an unknown field': '{"nonsense":1}', 'an unknown field within': '{"fields":{},"nonsense":{"a":[1]}}', 'no text': new Uint8Array([0xff, 0xfe, 0x7b, 0x7d]), 'a mark in front': '\ufeff{"fields":{}}', 'comments': '{/* a */}', 'single quotes': "{'fields':{}}", 'names without quotes': '{fields:{}}', 'a comma too many': '{"fields":{},}', 'fields of a list': '{"fields":[]}', 'fields null': '{"fields":null}', 'a field twice': '{"fields":{"a":{"integerValue":"1"},"a":{"integerValue":"2"}}}', 'fields twice': '{"fields":{"a":{"integerValue":"1"}},"fields":{"b":{"integerValue":"2"}}}', 'a name in it': `{"name":"${story.name('b/other')}","fields":{}}`, 'a bad name in it': '{"name":"nonsense","fields":{}}', 'deep': `{"fields":${'{"a":{"mapValue":{"fields":'.repeat(300)}{}${'}}}'.repeat(300)}}`, 'times in it': '{"fields":{},"createTime":"2020-01-01T00:00:00Z","updateTime":"2020-01-01T00:00:00Z"}' };
    for (const [what, body] of Object.entries(bodies)) {
      await story.rest(`set by ${what}`, 'PATCH', 'documents/b/a', { body });
      await story.rest(`created by ${what}`, 'POST', `documents/b?documentId=${what.replaceAll(' ', '-')}`, { body });
      await story.rest(`committed by ${what}`, 'POST', 'documents:commit', { body });
    }
    await story.rest('as plain text', 'PATCH', 'documents/b/c', { body: '{"fields":{"n":{"integerValue":"1"}}}', headers: { 'content-type': 'text/plain' } });
    await story.rest('as a form', 'PATCH', 'documents/b/d', { body: '{"fields":{"n":{"integerValue":"1"}}}', headers: { 'content-type': 'application/x-www-form-urlencoded' } });
    await story.rest('without a type', 'PATCH', 'documents/b/e', { body: new TextEncoder().encode('{"fields":{}}'), headers: { 'content-type': '' } });
  },
  'addresses': async story => {
    await story.given({ 'a/b': { n: 1 }, 'a/b/c/d': { n: 2 }, 'a/b:c': { n: 3 }, 'a/ä b': { n: 4 }, 'a/x%2Fy': { n: 5 } });
    for (const path of ['documents/a/b', 'documents/a/b/', 'documents//a/b', 'documents/a', 'documents', 'documents/', 'documents/a/b/c', 'documents/a/b/c/d', 'documents/a/none', 'documents/none/none', 'documents/a/b:c', 'documents/a/b%3Ac', 'documents/a/%C3%A4%20b', 'documents/a/ä b', 'documents/a/x%252Fy', 'documents/a/x%2Fy', 'documents/a/%FF', 'documents/a/..', 'documents/a/__x__', 'documents/__x__/a', 'docs/a/b', '', 'collectionGroups', 'documents/a/b?mask=a', 'documents/a/b?mask.fieldPaths=n', 'documents/a/b?mask.fieldPaths=none', 'documents/a/b?mask.fieldPaths=', 'documents/a/b?mask.fieldPaths=a..b', 'documents/a/b?mask.field_paths=n', 'documents/a/b?mask.fieldPaths=n&mask.fieldPaths=m', 'documents/a/b?mask.fieldPaths=n,m', 'documents/a/b?nonsense=1', 'documents/a/b?key=x&alt=json', 'documents/a/b?prettyPrint=false', 'documents/a/b?$alt=json', 'documents/a/b?transaction=AAAA', 'documents/a/b?transaction=!', 'documents/a/b?readTime=now', 'documents/a/b?readTime=2100-01-01T00:00:00Z', 'documents/a/b?transaction=AAAA&readTime=2024-01-01T00:00:00Z', 'documents/a?pageSize=1', 'documents/a?pageSize=x', 'documents/a?pageSize=-1', 'documents/a?pageSize=', 'documents/a?page_size=2', 'documents/a?orderBy=n%20desc', 'documents/a?orderBy=n%20sideways', 'documents/a?showMissing=true', 'documents/a?showMissing=maybe', 'documents/a?showMissing=', 'documents/a?pageToken=x', 'documents:runQuery', 'documents:commit', 'documents:nonsense', 'documents:listen', 'documents/a:runQuery']) {
      await story.rest(`get ${path}`, 'GET', path);
    }
    await story.rest('get in no database', 'GET', '', { from: 'projects/p' });
    await story.rest('get of no project', 'GET', '/databases/d/documents/a/b', { from: 'projects/' });
    await story.rest('head', 'HEAD', 'documents/a/b');
    for (const path of ['documents/a/b', 'documents/a', 'documents', 'documents/a/none', 'documents/a/b?currentDocument.exists=false', 'documents/a/none?currentDocument.exists=true', 'documents/a/b/c/d?currentDocument.exists=maybe', 'documents/a/b/c/d?currentDocument.updateTime=2020-01-01T00:00:00Z', 'documents/a/b/c/d?currentDocument.updateTime=x', 'documents/a/b/c/d?currentDocument.exists=true&currentDocument.updateTime=2020-01-01T00:00:00Z', 'documents/a/b/c/d?currentDocument=x', 'documents/a/b/c/d?currentDocument.nonsense=1', 'documents/a/b/c/d?nonsense=1']) {
      await story.rest(`delete ${path}`, 'DELETE', path);
    }
    for (const verb of ['PUT', 'POST', 'PATCH', 'GET', 'DELETE']) {
      const body = verb === 'GET' || verb === 'DELETE' ? undefined : '{}';
      for (const path of ['documents/p/q', 'documents/p', 'documents', 'documents:commit', 'documents:runQuery', 'documents:nonsense', 'documents/p/q:runQuery', 'documents/p:runQuery', 'documents/p/q:commit', 'documents:write', 'documents:listen', 'documents:executePipeline', 'documents:partitionQuery', 'documents:listCollectionIds', 'documents:batchWrite', 'documents:rollback', 'documents:beginTransaction', 'documents:runAggregationQuery', 'documents:batchGet']) await story.rest(`${verb} ${path}`, verb, path, { body, shown: answer => (Array.isArray(answer) ? answer.length : Object.keys(answer)) });
    }
  },
  'documents over REST': async story => {
    const n = (value, name = 'n') => ({ fields: { [name]: integer(value) } });
    const post = (step, path, body) => story.rest(step, 'POST', `documents/${path}`, { body });
    const patch = (step, path, body) => story.rest(step, 'PATCH', `documents/${path}`, { body });
    await post('created', 'r?documentId=a', n(1));
    await post('created again', 'r?documentId=a', n(1));
    await post('created by another letter case', 'r?document_id=b', n(1));
    await post('created with a bad id', 'r?documentId=a/b', n(1));
    await post('created with a reserved id', 'r?documentId=__x__', n(1));
    await post('created with dots', 'r?documentId=..', n(1));
    await post('created with a long id', `r?documentId=${'x'.repeat(1_501)}`, n(1));
    await post('created with a mask', 'r?documentId=m&mask.fieldPaths=m', { fields: { n: integer(1), m: integer(2) } });
    await post('created below', 'r/a/s?documentId=x', n(1));
    await post('created below nothing', 'r/none/s?documentId=x', n(1));
    await story.rest('created with an id of the server’s', 'POST', 'documents/r2', { body: n(1), shown: ({ name }) => `${name.split('/').at(-1).length} letters` });
    await story.rest('created with an empty id', 'POST', 'documents/r2?documentId=', { body: n(1), shown: ({ name }) => `${name.split('/').at(-1).length} letters` });
    await patch('replaced', 'r/a', n(2, 'm'));
    await patch('merged', 'r/a?updateMask.fieldPaths=n', n(3));
    await patch('merged with what is not in the mask', 'r/a?updateMask.fieldPaths=n', { fields: { n: integer(4), m: integer(9) } });
    await patch('a field taken away', 'r/a?updateMask.fieldPaths=m', {});
    await patch('by an empty mask', 'r/a?updateMask.fieldPaths=', n(5));
    await patch('by a bad mask', 'r/a?updateMask.fieldPaths=a..b', n(5));
    await patch('by a quoted mask', 'r/a?updateMask.fieldPaths=%60a-b%60', n(5, 'a-b'));
    await patch('by a mask that should be quoted', 'r/a?updateMask.fieldPaths=a-b', n(5, 'a-b'));
    await patch('by a reserved mask', 'r/a?updateMask.fieldPaths=__x__', n(5));
    await patch('by a mask of the name', 'r/a?updateMask.fieldPaths=__name__', n(5));
    await patch('by a misspelt mask', 'r/a?updateMask.fieldPath=n', n(5));
    await patch('by a mask of another case', 'r/a?update_mask.field_paths=n', n(6));
    await patch('answered in part', 'r/a?mask.fieldPaths=n', { fields: { n: integer(7), m: integer(8) } });
    await patch('where it is', 'r/a?currentDocument.exists=true', n(8));
    await patch('where it is not', 'r/a?currentDocument.exists=false', n(8));
    await patch('a missing one where it is', 'r/none?currentDocument.exists=true', n(8));
    await patch('at another time', 'r/a?currentDocument.updateTime=2020-01-01T00:00:00Z', n(8));
    await patch('a missing one at another time', 'r2/none?currentDocument.updateTime=2020-01-01T00:00:00Z', n(8));
    const got = await patch('another one', 'r2/timed', n(8));
    await patch('at its time', `r2/timed?currentDocument.updateTime=${got?.updateTime}`, n(9));
    await patch('new', 'r/new', n(1));
    await patch('new by a mask', 'r/new2?updateMask.fieldPaths=n', n(1));
    await patch('empty', 'r/empty', {});
    await patch('without a body', 'r/empty2');
    await story.rest('listed', 'GET', 'documents/r');
    await story.rest('listed none', 'GET', 'documents/nothing');
    const page = await story.rest('listed in pages', 'GET', 'documents/r?pageSize=2');
    await story.rest('listed further', 'GET', `documents/r?pageSize=2&pageToken=${encodeURIComponent(page?.nextPageToken ?? '')}`);
    await story.rest('listed names', 'GET', 'documents/r?mask.fieldPaths=__name__');
    await story.rest('several', 'POST', 'documents:batchGet', { body: { documents: [story.name('r/a'), story.name('r/none')] }, shown: all => all.map(one => one.found?.name ?? one.missing).sort() });
    await story.rest('several, masked', 'POST', 'documents:batchGet', { body: { documents: [story.name('r/a')], mask: { fieldPaths: ['none'] } } });
    await story.rest('several of none', 'POST', 'documents:batchGet', { body: { documents: [] } });
    await story.rest('several in another database', 'POST', 'documents:batchGet', { body: { database: 'projects/other/databases/d', documents: [story.name('r/a')] } });
    await story.rest('collections', 'POST', 'documents:listCollectionIds', { body: {} });
    await story.rest('collections in pages', 'POST', 'documents:listCollectionIds', { body: { pageSize: 1 } });
    await story.rest('collections below', 'POST', 'documents/r/a:listCollectionIds', { body: {} });
    await story.rest('collections below none', 'POST', 'documents/r/b:listCollectionIds', { body: {} });
  },
  'queries over REST': async story => {
    await story.given({ 'q/a': { n: 1, l: [1] }, 'q/b': { n: 2 }, 'q/b/q/c': { n: 3 }, 'q/d': { n: null } });
    const run = (step, body, path = 'documents:runQuery') => story.rest(step, 'POST', path, { body, shown: names });
    const count = (step, body) => story.rest(step, 'POST', 'documents:runAggregationQuery', { body, shown: all => all[0]?.result });
    await run('all', query('q'));
    await run('none', query('none'));
    await story.rest('the answer to none', 'POST', 'documents:runQuery', { body: query('none') });
    await run('below', query('q'), 'documents/q/b:runQuery');
    await run('another parent in the body', { ...query('q'), parent: 'projects/x/databases/y/documents' });
    await run('in other letters', { structured_query: { from: [{ collection_id: 'q', all_descendants: true }] } });
    await run('ordered', query('q', { orderBy: [{ field: { fieldPath: 'n' }, direction: 'DESCENDING' }] }));
    await run('ordered by a number', query('q', { orderBy: [{ field: { fieldPath: 'n' }, direction: 2 }] }));
    await run('ordered by an unknown word', query('q', { orderBy: [{ field: { fieldPath: 'n' }, direction: 'SIDEWAYS' }] }));
    await run('ordered by an unknown number', query('q', { orderBy: [{ field: { fieldPath: 'n' }, direction: 9 }] }));
    await run('a limit', query('q', { limit: 1 }));
    await run('a limit in text', query('q', { limit: '1' }));
    await run('a limit of parts', query('q', { limit: 1.5 }));
    await run('a limit in an object', query('q', { limit: { value: 1 } }));
    await run('a limit too high', query('q', { limit: 2 ** 31 }));
    await run('a limit of null', query('q', { limit: null }));
    await run('an offset in text', query('q', { offset: '1' }));
    await run('a filter', query('q', { where: compare('n', 'EQUAL', integer(1)) }));
    await run('a filter by number', query('q', { where: compare('n', 5, integer(1)) }));
    await run('a filter by an unknown number', query('q', { where: compare('n', 99, integer(1)) }));
    await run('a filter by an unknown word', query('q', { where: compare('n', 'LIKE', integer(1)) }));
    await run('a filter in lower case', query('q', { where: compare('n', 'equal', integer(1)) }));
    await run('a filter of null', query('q', { where: { unaryFilter: { op: 'IS_NULL', field: { fieldPath: 'n' } } } }));
    await run('a filter of an empty value', query('q', { where: compare('n', 'EQUAL', {}) }));
    await run('two kinds of filter', query('q', { where: { ...compare('n', 'EQUAL', integer(1)), unaryFilter: { op: 'IS_NULL', field: { fieldPath: 'n' } } } }));
    await run('where null', query('q', { where: null }));
    await run('an unknown part', query('q', { having: {} }));
    await run('from of an object', { structuredQuery: { from: { collectionId: 'q' } } });
    await run('a collection as parent', query('q'), 'documents/q:runQuery');
    await run('in an unknown transaction', { ...query('q'), transaction: 'AAAA' });
    await run('in a transaction that is no base64', { ...query('q'), transaction: '!' });
    await run('two consistencies', { ...query('q'), transaction: 'AAAA', readTime: '2024-01-01T00:00:00Z' });
    await run('a time in the future', { ...query('q'), readTime: '2100-01-01T00:00:00Z' });
    await run('a time that is none', { ...query('q'), readTime: 'x' });
    await count('counted', { structuredAggregationQuery: { ...query('q'), aggregations: [{ alias: 'c', count: {} }] } });
    await count('counted up to', { structuredAggregationQuery: { ...query('q'), aggregations: [{ alias: 'c', count: { upTo: '1' } }] } });
    await count('counted up to a number', { structuredAggregationQuery: { ...query('q'), aggregations: [{ alias: 'c', count: { upTo: 1 } }] } });
    await count('summed', { structuredAggregationQuery: { ...query('q'), aggregations: [{ alias: 's', sum: { field: { fieldPath: 'n' } } }, { alias: 'a', avg: { field: { fieldPath: 'n' } } }] } });
    await count('averaged nothing', { structuredAggregationQuery: { ...query('none'), aggregations: [{ alias: 'a', avg: { field: { fieldPath: 'n' } } }] } });
    await count('no aggregation', { structuredAggregationQuery: { ...query('q'), aggregations: [] } });
    await count('an aggregation without a kind', { structuredAggregationQuery: { ...query('q'), aggregations: [{ alias: 'a' }] } });
    await count('no query', {});
    const begun = await story.rest('begun by a query', 'POST', 'documents:runQuery', { body: { ...query('q'), newTransaction: { readWrite: {} } }, shown: all => [String('transaction' in all[0]), ...names(all)] });
    await story.rest('committed', 'POST', 'documents:commit', { body: { transaction: begun?.[0]?.transaction, writes: [{ update: { name: story.name('q/z'), fields: {} } }] } });
    await story.rest('committed again', 'POST', 'documents:commit', { body: { transaction: begun?.[0]?.transaction, writes: [] } });
  },
  'writes over REST': async story => {
    await story.given({ 'w/a': { n: 1, l: [1, 2] } });
    const commit = (step, ...writes) => story.rest(step, 'POST', 'documents:commit', { body: { writes } });
    const batch = (step, ...writes) => story.rest(step, 'POST', 'documents:batchWrite', { body: { writes }, shown: ({ status, writeResults }) => ({ codes: status?.map(one => one.code ?? 0), results: writeResults?.length }) });
    const set = (path, more = {}) => ({ update: { name: story.name(path), fields: { n: integer(1) } }, ...more });
    const transform = (...updateTransforms) => ({ update: { name: story.name('w/a') }, updateMask: {}, updateTransforms });
    await commit('nothing');
    await commit('one', set('w/b'));
    await commit('an empty one', {});
    await commit('null', null);
    await commit('two operations', { ...set('w/c'), delete: story.name('w/d') });
    await commit('an unknown operation', { replace: {} });
    await commit('verified', { verify: story.name('w/a'), currentDocument: { exists: true } });
    await commit('verified wrongly', { verify: story.name('w/a'), currentDocument: { exists: false } });
    await commit('by a mask', set('w/a', { updateMask: { fieldPaths: ['n'] } }));
    await commit('by a mask in text', set('w/a', { updateMask: 'n' }));
    await commit('by a mask of null', set('w/e', { updateMask: null }));
    await commit('transformed', transform({ fieldPath: 't', setToServerValue: 'REQUEST_TIME' }, { fieldPath: 'n', increment: integer(2) }, { fieldPath: 'l', appendMissingElements: { values: [integer(3)] } }, { fieldPath: 'l', removeAllFromArray: { values: [integer(1)] } }, { fieldPath: 'x', maximum: integer(5) }, { fieldPath: 'x', minimum: integer(4) }));
    await story.rest('as it is', 'GET', 'documents/w/a?mask.fieldPaths=n&mask.fieldPaths=l&mask.fieldPaths=x');
    await commit('transformed by a number', transform({ fieldPath: 't', setToServerValue: 1 }));
    await commit('transformed by an unknown word', transform({ fieldPath: 't', setToServerValue: 'NOW' }));
    await commit('transformed by nothing', transform({ fieldPath: 't', setToServerValue: 'SERVER_VALUE_UNSPECIFIED' }));
    await commit('incremented by text', transform({ fieldPath: 'n', increment: { stringValue: 'x' } }));
    await commit('no field', transform({ increment: integer(1) }));
    await commit('no kind', transform({ fieldPath: 'n' }));
    await commit('two kinds', transform({ fieldPath: 'n', increment: integer(1), maximum: integer(2) }));
    await commit('a precondition without a condition', set('w/f', { currentDocument: {} }));
    await commit('two conditions', set('w/f', { currentDocument: { exists: true, updateTime: '2020-01-01T00:00:00Z' } }));
    await batch('a batch', set('w/g'), set('w/none', { currentDocument: { exists: true } }), { delete: story.name('w/b') });
    await batch('a batch of nothing');
    await batch('a batch with one twice', set('w/h'), set('w/h'));
    await batch('a batch with a bad name', set('w/i'), { delete: 'nonsense' });
    await batch('a batch with a bad value', set('w/i'), { update: { name: story.name('w/j'), fields: { l: { arrayValue: { values: [{ arrayValue: {} }] } } } } });
    await story.rest('another database in the body', 'POST', 'documents:commit', { body: { database: 'projects/o/databases/d', writes: [set('w/k')] } });
    await story.rest('in an unknown transaction', 'POST', 'documents:commit', { body: { transaction: 'AAAA', writes: [] } });
    await story.rest('begun', 'POST', 'documents:beginTransaction', { body: {}, shown: answer => Object.keys(answer) });
    await story.rest('begun to read', 'POST', 'documents:beginTransaction', { body: { options: { readOnly: {} } }, shown: answer => Object.keys(answer) });
    await story.rest('begun by an unknown mode', 'POST', 'documents:beginTransaction', { body: { options: { readSometimes: {} } }, shown: answer => Object.keys(answer) });
    await story.rest('begun by two modes', 'POST', 'documents:beginTransaction', { body: { options: { readOnly: {}, readWrite: {} } }, shown: answer => Object.keys(answer) });
    await story.rest('begun with a retry', 'POST', 'documents:beginTransaction', { body: { options: { readWrite: { retryTransaction: 'AAAA' } } }, shown: answer => Object.keys(answer) });
    await story.rest('rolled back by nothing', 'POST', 'documents:rollback', { body: {} });
    await story.rest('rolled back what is unknown', 'POST', 'documents:rollback', { body: { transaction: 'AAAA' } });
    await story.rest('501 writes', 'POST', 'documents:commit', { body: { writes: many(501, n => set(`many/${n}`)) }, shown: ({ writeResults }) => writeResults.length });
    await story.rest('listed as json', 'GET', 'documents/many?pageSize=3', { shown: ({ documents }) => documents.length });
  },
};
