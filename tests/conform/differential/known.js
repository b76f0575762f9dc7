// Where Hearth and Google's emulator differ and Hearth is not to change: each with its reason, in docs/compatibility.md too.

/** What the emulator refuses and Hearth answers: its words, and why Hearth does. */
const ANSWERED = [
  [/cannot contain more fields after the key/, 'orders behind the name are allowed: they change nothing'],
  [/Only a single 'NOT_EQUAL', 'NOT_IN'/, 'any number of != and not-in'],
  [/'NOT_IN' cannot be used in the same query/, 'not-in beside in, array-contains-any and or'],
  [/A maximum of 1 'ARRAY_CONTAINS' filter/, 'any number of array-contains'],
  [/requires an index that has fields .* after __name__/, 'no query needs an index'],
  [/not present in the base query's property mask|Cannot apply property masks when aggregation/, 'numbers of a query with a mask: it hides no field from them'],
  [/Too many disjunctions after normalization/, 'more than 30 disjunctions'],
  [/does not support descending key scans/, 'names in falling order'],
  [/Cannot convert a vector value in an array/, 'a vector within an array'],
  [/Equality on key is not allowed if there are other inequality/, 'a name beside any other filter'],
];

const INVALID_ARGUMENT = 3;
const NOT_FOUND = 5;
const ALREADY_EXISTS = 6;
const FAILED_PRECONDITION = 9;

/** @type {{ why: string, applies: (difference: any) => boolean }[]} */
export const KNOWN = [
  ...ANSWERED.map(([words, why]) => ({
    why: `answered: ${why}`,
    applies: ({ ours, theirs }) =>
      [INVALID_ARGUMENT, FAILED_PRECONDITION].includes(theirs?.code) && ours?.code === undefined && words.test(theirs.message),
  })),
  {
    why: 'refused by both, in other words: what another write of the same commit has made impossible',
    applies: ({ ours, theirs }) =>
      [NOT_FOUND, ALREADY_EXISTS].includes(ours?.code) && /Cannot .* then (insert|update|delete) an entity/.test(theirs?.message ?? ''),
  },
  {
    // Seen with `__name__ desc` and `__name__ == …`, in the emulator alone.
    why: 'the emulator finds nothing by an equal name in falling order',
    applies: ({ theirs, detail }) =>
      Array.isArray(theirs) && !theirs.length && /"direction":"DESCENDING","field":{"fieldPath":"__name__"}/.test(detail) && /"fieldPath":"__name__"},"op":"EQUAL"/.test(detail),
  },
];

/** Steps of stories, `STORY › STEP`, at which they differ, with what the emulator says there, and why that is to stay. */
export const STEPS = [
  { at: /^partitions ›/, theirs: /is unimplemented/, why: 'partitions: the emulator has none' },
  { at: /./, theirs: /descending key scans/, why: 'names in falling order' },
  { at: /of another database|documents\/a\/b$/, why: 'a document of another database than the request is refused' },
  { at: /names that are none › long/, why: 'a name of more than 6 KiB is refused, as in production' },
  { at: /NOT_IN of (eleven|thirty)|contains twice|contains and any|eleven inequalities/, why: 'queries over the limits of Firestore are answered' },
  { at: /a value too deep|a list in a list|in a list$/, why: 'a value that cannot be stored is refused where it is compared with: the emulator finds nothing' },
  { at: /get long ago|query long ago|of long ago/, theirs: /too old/, why: 'a time before everything is answered, with nothing, while history is kept' },
  { at: /requests without sense › 501 transforms/, why: 'over 500 transforms of one document are refused, as documented' },
  { at: /lists of documents ›/, theirs: /refused 2|"more":true|Invalid order by|not asked|order when|"all":/, why: 'lists: the emulator fails at pages of an ordered list, tells of a next page that is empty, and masks nothing where missing ones are shown' },
  { at: /^collections ›/, why: 'collections: the emulator tells of a next page that is empty' },
  { at: /› (no source|no name of a collection)$/, why: 'a query of no collection finds all below, not only the next documents' },
  { at: /collection (EQUAL|NOT_EQUAL)|in with others/, why: 'a name in another collection, looked for in one, is said to be wrong' },
  { at: /numbers of documents › (up to none|no structured query)/, why: 'up_to and the query are required, as documented' },
  { at: /limits and offsets › select $/, why: 'a projection of nothing is everything, as documented' },
  { at: /with distances in a map|a bad field for distances/, why: 'distance_result_field is a path, as SDKs make it of a FieldPath' },
  { at: /neighbours › counted/, theirs: /integerValue/, why: 'unsupported: counts of neighbours' },
  { at: /several of none/, theirs: /refused 2/, why: 'the emulator breaks at a transaction begun by a read of nothing' },
  { at: /several transforms of one document › (two counts|as it is|the older way|all)/, why: 'the time of the server is in microseconds, and that of the commit' },
  { at: /several transforms of one document › the name|the name in a mask|masks with deletes and deep paths › new/, why: 'a field __name__ is refused' },
  { at: /deleted and made|made and deleted|gone and made|made and gone/, theirs: /writeResults/, why: 'each write of a commit has its own result: a delete has no time' },
  { at: /(field|id|collection) ____ 4/, why: 'names of four underscores are reserved, as documented' },
  { at: /the collection __id-?7__/, why: 'numeric ids are taken also for collections' },
  { at: /^what cannot be listened to ›/, theirs: /the stream ended 2/, why: 'the emulator breaks the stream where Hearth refuses the target, or takes a number below zero' },
  { at: /^every (comparison|value).* t0[25789]/, why: 'a time that is compared with is cut to microseconds, as those that are stored' },
];
