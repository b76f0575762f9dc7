//! What clients did and what they were told, as plain data: written down while it happens, judged afterwards.

use std::collections::BTreeMap;
use std::time::Instant;

use serde_json::Value;

/// When something was asked and when the answer had come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub(crate) begun: Instant,
    pub(crate) ended: Instant,
}

/// What one write of a commit does to its document.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Effect {
    /// The document is this afterwards.
    Set(Value),
    /// The field `n` is raised; everything else stays, but the tag.
    Add(i64),
    Delete,
}

/// What became of a commit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Outcome {
    Committed(u64),
    Refused,
    /// No answer came.
    Unknown,
}

/// A commit that was asked for. Its tag stands in every document that it sets, and in `log/TAG`.
#[derive(Clone, Debug)]
pub(crate) struct Write {
    pub(crate) tag: String,
    pub(crate) effects: Vec<(String, Effect)>,
    /// What it has read, and as of which change: 0 for what did not exist.
    pub(crate) reads: Vec<(String, u64)>,
    pub(crate) span: Span,
    pub(crate) outcome: Outcome,
}

/// A document of `things` as a client was shown it: a hash of its data, and when it was changed.
///
/// Small, because a long history holds millions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// The number that is its name.
    pub(crate) thing: u16,
    pub(crate) updated: u64,
    pub(crate) data: u64,
}

/// The path of a thing.
pub(crate) fn path(thing: u16) -> String {
    format!("things/{thing:03}")
}

/// The number of a thing, where that is what the path names.
pub(crate) fn thing(path: &str) -> Option<u16> {
    path.strip_prefix("things/")?.parse().ok()
}

/// A hash of a document's data: the same for equal JSON.
pub(crate) fn hash(data: &Value) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    data.to_string().hash(&mut hasher);
    hasher.finish()
}

/// The queries that clients ask, each with a plain second reading in `check`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Question {
    /// All of `things`, by name.
    All,
    /// Those with at least this `n`, by it.
    AtLeast(i64),
    /// The so many with the highest `n`, the highest first.
    Highest(usize),
    /// How many there are, and the sum of their `n`.
    Numbers,
}

impl Question {
    pub(crate) const EVERY: [Self; 5] =
        [Self::All, Self::AtLeast(50), Self::Highest(5), Self::Numbers, Self::AtLeast(80)];

    /// As it stands behind `/db/things`.
    pub(crate) fn parameters(self) -> String {
        match self {
            Self::All => "?limit=all".into(),
            Self::AtLeast(n) => format!("?where=n+ge+{n}&orderBy=n&limit=all"),
            Self::Highest(count) => format!("?orderBy=n+desc&limit={count}"),
            Self::Numbers => "?count&sum=n".into(),
        }
    }
}

/// What a client was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    Documents(Vec<Seen>),
    Numbers { count: u64, sum: i64 },
}

/// A result as of a version: of a reading, or of a listener after an event.
#[derive(Clone, Debug)]
pub(crate) struct Result {
    /// Who it was, for the message.
    pub(crate) who: String,
    pub(crate) question: Question,
    pub(crate) version: u64,
    pub(crate) told: Told,
    /// When it was asked for: what was known to anybody then must be in it. None for an old version, and for an event.
    pub(crate) fresh_since: Option<Instant>,
    pub(crate) ended: Instant,
}

/// A single document, read as it was at some moment of the span.
#[derive(Clone, Debug)]
pub(crate) struct Look {
    pub(crate) thing: u16,
    pub(crate) found: Option<Seen>,
    pub(crate) span: Span,
}

/// All that happened.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    pub(crate) writes: Vec<Write>,
    pub(crate) results: Vec<Result>,
    pub(crate) looks: Vec<Look>,
}

impl History {
    pub(crate) fn join(&mut self, other: Self) {
        self.writes.extend(other.writes);
        self.results.extend(other.results);
        self.looks.extend(other.looks);
    }
}

/// A commit as the change feed tells it: what each document is afterwards, where it is there.
#[derive(Clone, Debug)]
pub(crate) struct Commit {
    pub(crate) version: u64,
    pub(crate) images: BTreeMap<String, Option<Value>>,
}
