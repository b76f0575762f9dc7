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
