//! Reading: a query run on a view, with its cost counted and its time bounded.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use hearth_core::codec::{DecodeError, Encoded, Record};
use hearth_core::index::{self, Scan};
use hearth_core::keys::{self, Direction};
use hearth_core::query::{Candidate, Fields, Query, Rows, Run};
use hearth_core::{DocPath, Document, FieldPath, Value, Version, codec};
use hearth_store::Blob;

use crate::clock::Clock;
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::token::Token;
use crate::view::{BackwardKeys, BackwardScan, DocumentScan, MergedScan, StateError, View};

/// Why something could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    #[error("version {at} lies in the future; the newest is {visible}")]
    NotYet { at: Version, visible: Version },
    #[error("version {at} cannot be read yet, since nothing can be written up to it: {cause}")]
    NotReached { at: Version, cause: Box<str> },
    #[error("version {at} is no longer kept; the oldest is {oldest}")]
    Forgotten { at: Version, oldest: Version },
    #[error("the result holds more than {limit} documents; set a limit")]
    TooMany { limit: usize },
    #[error("the query took longer than {} s; narrow it or set a limit", limit.as_secs())]
    Deadline { limit: Duration },
    #[error("the token was given for another query")]
    ForeignToken,
    #[error("the connection has {limit} listeners already")]
    TooManyListeners { limit: usize },
    #[error("the database is closing")]
    Closed,
    #[error(transparent)]
    State(#[from] StateError),
}

impl From<DecodeError> for ReadError {
    fn from(error: DecodeError) -> Self {
        Self::State(error.into())
    }
}

/// The result of a query.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The version at which it was run.
    pub version: Version,
    /// From where a listener or a poll goes on.
    pub token: Token,
    /// The documents in the query's order, whole; none where numbers were asked for.
    pub docs: Vec<Arc<Document>>,
    /// The numbers, in the query's order, where they were asked for.
    pub aggregates: Option<Vec<Value>>,
    /// Whether the query's limit cut something off.
    pub more: bool,
    /// Keys that were looked at.
    pub scanned: u64,
    /// Documents that were looked at.
    pub read: u64,
    /// Microseconds that it took.
    pub micros: u64,
}

/// What bounds a run, and counts it.
#[derive(Clone)]
pub(crate) struct Budget {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) limits: Arc<Limits>,
    pub(crate) metrics: Arc<Metrics>,
}

/// What a run found and what it cost.
pub(crate) struct Found {
    pub(crate) rows: Rows<Stored>,
    pub(crate) scanned: u64,
    pub(crate) read: u64,
    pub(crate) micros: u64,
}

impl Budget {
    /// Candidates between two looks at the clock.
    const DEADLINE_EVERY: u64 = 256;

    /// Runs a query, keeping `spare` rows behind its limit.
    pub(crate) fn run(&self, view: &View, query: &Query, spare: usize) -> Result<Found, ReadError> {
        self.run_bounded(view, query, spare, self.limits.result_docs_max)
    }

    /// Runs a query for its rows, without keeping their documents.
    pub(crate) fn run_for_rows(&self, view: &View, query: &Query, spare: usize) -> Result<Found, ReadError> {
        self.run_bounded(view, query, spare, 0)
    }

    /// Runs a query that may not have more rows than a result.
    fn run_bounded(&self, view: &View, query: &Query, spare: usize, docs_max: usize) -> Result<Found, ReadError> {
        let limit = self.limits.result_docs_max;
        let found = self.run_for(view, query, spare, docs_max)?;
        if found.rows.window().len() > limit {
            return Err(ReadError::TooMany { limit });
        }
        Ok(found)
    }

    /// Runs a query however many rows it has, keeping at most `docs_max` documents with them.
    pub(crate) fn run_for(
        &self,
        view: &View,
        query: &Query,
        spare: usize,
        docs_max: usize,
    ) -> Result<Found, ReadError> {
        let start = self.clock.elapsed();
        let access = index::choose(query);
        let mut candidates = Candidates::new(view, &access);
        let mut read = 0;
        let deadline = start + self.limits.query_time_max;
        let run = Run { sorted: access.sorted, spare, docs_max };
        let each = std::iter::from_fn(|| {
            read += 1;
            if read % Self::DEADLINE_EVERY == 0 && self.clock.elapsed() > deadline {
                return Some(Err(ReadError::Deadline { limit: self.limits.query_time_max }));
            }
            candidates.next().transpose()
        });
        let rows = query.run(each, run);
        // The last look found nothing.
        let read = read - 1;
        let scanned = candidates.examined();
        self.metrics.queries_run.inc();
        self.metrics.documents_read.inc_by(read);
        self.metrics.index_entries_scanned.inc_by(scanned);
        let rows = rows?;
        let micros = self.clock.elapsed().saturating_sub(start).as_micros() as u64;
        Ok(Found { rows, scanned, read, micros })
    }
}

impl Found {
    /// The answer to be told.
    pub(crate) fn answer(self, query: &Query, token: Token) -> Result<Answer, ReadError> {
        let aggregates = self.rows.tally().map(|tally| tally.values(query.aggregates()));
        let more = self.rows.is_cut_by(query);
        let documents = self.rows.into_window().filter_map(|(_, stored)| stored).map(|stored| stored.document());
        Ok(Answer {
            version: token.version,
            token,
            docs: documents.collect::<Result<_, _>>()?,
            aggregates,
            more,
            scanned: self.scanned,
            read: self.read,
            micros: self.micros,
        })
    }
}

/// A document as the state keeps it: single fields are decoded when they are asked for.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    path: DocPath,
    record: Blob,
}

impl Stored {
    fn encoded(&self) -> Result<Encoded<'_>, DecodeError> {
        match Record::read(&self.record)? {
            Record::Document(encoded) => Ok(encoded),
            // Scans hand out documents only.
            Record::Tombstone => Err(DecodeError::Tag { what: "a document", tag: 0 }),
        }
    }

    pub(crate) fn document(&self) -> Result<Arc<Document>, DecodeError> {
        let document = codec::decode_record(&self.path, &self.record)?;
        document.ok_or(DecodeError::Tag { what: "a document", tag: 0 })
    }
}

impl Fields for Stored {
    type Error = DecodeError;

    fn get(&self, path: &FieldPath) -> Result<Option<Cow<'_, Value>>, DecodeError> {
        Ok(self.encoded()?.get(path)?.map(Cow::Owned))
    }
}

impl Candidate for Stored {
    fn path(&self) -> &DocPath {
        &self.path
    }

    fn updated(&self) -> Version {
        self.encoded().map_or(Version::ZERO, |encoded| encoded.updated())
    }
}

/// Where candidates come from.
enum Candidates<'a> {
    Points { view: &'a View, left: std::vec::IntoIter<DocPath>, examined: u64 },
    Forward(DocumentScan<'a>),
    Backward(BackwardScan<'a>),
    Group { view: &'a View, entries: MergedScan<'a>, prefix_bytes: usize },
    GroupBackward { view: &'a View, entries: BackwardKeys<'a>, prefix_bytes: usize },
}

impl<'a> Candidates<'a> {
    fn new(view: &'a View, access: &index::Access) -> Self {
        let forward = access.direction == Direction::Ascending;
        match &access.scan {
            Scan::Documents(paths) => Self::Points { view, left: paths.clone().into_iter(), examined: 0 },
            Scan::Collection { path, range } => {
                let prefix = Some(keys::collection(path).len());
                match forward {
                    true => Self::Forward(view.scan(&range.from, &range.to, prefix)),
                    false => Self::Backward(view.scan_back(&range.from, &range.to, prefix)),
                }
            }
            Scan::Below { range } if forward => Self::Forward(view.scan(&range.from, &range.to, None)),
            Scan::Below { range } => Self::Backward(view.scan_back(&range.from, &range.to, None)),
            Scan::Group { id, range } => {
                let prefix = keys::group(id.as_str());
                let from = [prefix.as_slice(), &range.from].concat();
                let to = [prefix.as_slice(), &range.to].concat();
                let prefix_bytes = prefix.len();
                match forward {
                    true => Self::Group { view, entries: view.group_keys(&from, &to), prefix_bytes },
                    false => Self::GroupBackward { view, entries: view.group_keys_back(&from, &to), prefix_bytes },
                }
            }
        }
    }

    fn examined(&self) -> u64 {
        match self {
            Self::Points { examined, .. } => *examined,
            Self::Forward(scan) => scan.examined(),
            Self::Backward(scan) => scan.examined(),
            Self::Group { entries, .. } => entries.examined(),
            Self::GroupBackward { entries, .. } => entries.examined(),
        }
    }

    fn next(&mut self) -> Result<Option<Stored>, ReadError> {
        loop {
            let found = match self {
                Self::Points { view, left, examined } => {
                    let Some(path) = left.next() else { return Ok(None) };
                    *examined += 1;
                    view.live_record(&keys::doc(&path))?.map(|record| Stored { path, record })
                }
                Self::Forward(scan) => {
                    let Some((key, record)) = scan.next()? else { return Ok(None) };
                    Some(Stored { path: keys::decode_doc(&key).map_err(StateError::from)?, record })
                }
                Self::Backward(scan) => {
                    let Some((key, record)) = scan.next()? else { return Ok(None) };
                    Some(Stored { path: keys::decode_doc(&key).map_err(StateError::from)?, record })
                }
                Self::Group { view, entries, prefix_bytes } => {
                    let Some((key, _)) = entries.next()? else { return Ok(None) };
                    group_member(view, &key, *prefix_bytes)?
                }
                Self::GroupBackward { view, entries, prefix_bytes } => {
                    let Some(key) = entries.next()? else { return Ok(None) };
                    group_member(view, &key, *prefix_bytes)?
                }
            };
            if found.is_some() {
                return Ok(found);
            }
        }
    }
}

/// The document that an entry of a group's index names, unless it is deleted.
fn group_member(view: &View, key: &[u8], prefix_bytes: usize) -> Result<Option<Stored>, StateError> {
    let doc_key = View::group_doc_key(key, prefix_bytes);
    let Some(record) = view.live_record(doc_key)? else { return Ok(None) };
    Ok(Some(Stored { path: keys::decode_doc(doc_key)?, record }))
}
