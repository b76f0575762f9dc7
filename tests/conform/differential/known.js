// Where Hearth and Google's emulator differ and Hearth is not to change: each with its reason, in docs/compatibility.md too.

/** What the emulator refuses and Hearth answers: its words, and why Hearth does. */
const ANSWERED = [
  [/Only a single 'NOT_EQUAL', 'NOT_IN'/, 'any number of != and not-in'],
  [/'NOT_IN' cannot be used in the same query/, 'not-in beside in, array-contains-any and or'],
  [/A maximum of 1 'ARRAY_CONTAINS' filter/, 'any number of array-contains'],
  [/requires an index that has fields .* after __name__/, 'no query needs an index'],
  [/not present in the base query's property mask|Cannot apply property masks when aggregation/, 'numbers of a query with a mask: it hides no field from them'],
  [/Too many disjunctions after normalization/, 'more than 30 disjunctions'],
  [/does not support descending key scans/, 'names in falling order'],
  [/Cannot convert a vector value in an array/, 'a vector within an array'],
];

const INVALID_ARGUMENT = 3;
const FAILED_PRECONDITION = 9;

/** @type {{ why: string, applies: (difference: any) => boolean }[]} */
export const KNOWN = [
  ...ANSWERED.map(([words, why]) => ({
    why: `answered: ${why}`,
    applies: ({ ours, theirs }) =>
      [INVALID_ARGUMENT, FAILED_PRECONDITION].includes(theirs?.code) && ours?.code === undefined && words.test(theirs.message),
  })),
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
  { at: /./, theirs: /NO ANSWER/, why: 'the emulator leaves the request without an answer' },
  { at: /^values as JSON › -0/, why: 'a double of -0 keeps its sign also as JSON' },
  { at: /^values as JSON › (time of no day|time in lower case)/, why: 'times are those of RFC 3339' },
  { at: /^values as JSON › text as number/, why: 'a text is a text' },
  { at: /^values as JSON › half a letter$/, theirs: /"\?"/, why: 'half of a pair of surrogates is stored as U+FFFD, not as a question mark' },
  { at: /^bodies that are none › .*(spaces|two|a mark in front|comments|single quotes|names without quotes)$/, why: 'a body is JSON or refused, and one of spaces is none' },
  { at: /^addresses › (get|GET) documents$/, why: 'all documents of a database can be listed' },
  { at: /^addresses › get documents\/a\/(x%2Fy|%FF)$/, why: 'an id in an address that holds a slash or is not UTF-8 is refused' },
  { at: /^addresses › (get|delete) .*(mask=a|showMissing=(maybe)?|exists=maybe|updateTime=x|exists=true&currentDocument.updateTime.*|currentDocument=x|currentDocument.nonsense=1)$/, why: 'parameters that cannot be read are refused, not passed over' },
  { at: /^documents over REST › by a misspelt mask$/, why: 'parameters that cannot be read are refused, not passed over' },
  { at: /^documents over REST › by a mask of the name$/, why: 'a field __name__ is refused' },
  { at: /^documents over REST › .* another time$/, theirs: /"fields"/, why: 'the emulator passes over updateTime as a parameter' },
  { at: /^documents over REST › at its time$/, theirs: /required base version \(0\)/, why: 'the emulator passes over updateTime as a parameter' },
  { at: /^addresses › (get documents\/a\?pageToken=x|POST documents:executePipeline)$/, theirs: /refused 500/, why: 'the emulator breaks' },
  { at: /^addresses › head$/, why: 'HEAD is GET without a body' },
  { at: /^addresses › POST documents:commit$/, why: 'a commit of nothing has a time too' },
  { at: /^addresses › POST documents:(write|listen|partitionQuery)$/, theirs: /refused (404|501)/, why: 'addresses that the emulator does not have' },
  { at: /^writes over REST › verified$/, why: 'a verified document is not said to have been updated' },
  { at: /^numbers of targets › the same number for/, why: 'a number of a target that is used twice ends the stream with INVALID_ARGUMENT' },
  { at: /^requests of no sense on a stream › (nothing|a target of no number and no kind|another database|a bad database)$/, why: 'a request on a stream that makes no sense is refused' },
  { at: /^two that (read and write the same|query and write what the other has queried) › both commit$/, theirs: /^10 \| 10/, why: 'where two transactions lock each other the emulator may abort both' },
  { at: /^two that (read and write the same|query and write what the other has queried) › afterwards$/, why: 'where two transactions lock each other the emulator may abort both' },
  { at: /^targets that end by themselves ›/, why: 'the emulator does not know targets that are told once' },
  { at: /^tokens › no time$/, why: 'a time that is none is refused' },
  { at: /^a stream of writes › (none|one that fails|after the failure)$/, theirs: /streamToken|the stream ended/, why: 'write streams: an answer to no writes has a time, and what ends a stream is said' },
  { at: /^streams of writes that end › (a bad database 0|another database 1)$/, why: 'the emulator does not read the names of databases on a stream' },
  { at: /^every (comparison|value).* t0[25789]/, why: 'a time that is compared with is cut to microseconds, as those that are stored' },
];
