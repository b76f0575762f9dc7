//! What callers ask of the writer, and what they are told.

use hearth_core::Version;
use hearth_core::decide::{DocumentRead, WriteError};
use hearth_core::entry::RequestKey;
use hearth_core::query::Query;
use hearth_core::write::{Write, WriteResult};
use std::sync::Arc;

/// Writes that take effect together or not at all.
#[derive(Clone, Debug, Default)]
pub struct CommitRequest {
    /// Makes the commit happen once, however often it is asked for.
    pub key: Option<RequestKey>,
    /// Documents that were read: the commit stands only if they are unchanged.
    pub reads: Vec<DocumentRead>,
    /// Queries that were run: the commit stands only if their results are unchanged.
    pub queries: Vec<QueryRead>,
    /// What is to be done, in order.
    pub writes: Vec<Write>,
}

/// A query whose result a commit rests on. Validated by its predicate: a change counts when the document before or
/// after it matches and stands where it could be seen.
#[derive(Clone, Debug)]
pub struct QueryRead {
    /// The query.
    pub query: Arc<Query>,
    /// The version at which it was run.
    pub version: Version,
    /// The row key of the last document that a limit let through.
    pub last_returned: Option<Box<[u8]>>,
    /// Whether the limit was reached.
    pub filled: bool,
}

/// A commit that is durable.
#[derive(Clone, Debug, PartialEq)]
pub struct Committed {
    /// Its number.
    pub version: Version,
    /// One for each write, in order.
    pub results: Vec<WriteResult>,
    /// Whether this is the answer to an earlier request with the same idempotency key.
    pub replayed: bool,
}

/// Why a commit did not take effect; or, with [`CommitError::Unknown`], why nobody knows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    #[error(transparent)]
    Refused(#[from] WriteError),
    #[error("a query that this commit rests on has another result by now; read again and retry")]
    QueryMoved,
    #[error("the idempotency key {key:?} was used with another request; choose a new one")]
    KeyReused { key: Box<str> },
    #[error("a commit of {count} writes is over the limit of {limit}")]
    TooManyWrites { count: usize, limit: usize },
    #[error("a commit of {bytes} bytes is over the limit of {limit}")]
    TooLarge { bytes: usize, limit: usize },
    #[error("too many commits are waiting; try again in {retry_after_ms} ms")]
    Overloaded { retry_after_ms: u64 },
    #[error("{cause}; the commit was not applied and may be tried again")]
    NotApplied { cause: Arc<str> },
    #[error("{cause}; whether the commit took effect is not known until the server has started again")]
    Unknown { cause: Arc<str> },
    #[error("the database takes no writes: {cause}")]
    ReadOnly { cause: Arc<str> },
    #[error("the database is closing; the commit was not applied")]
    Closed,
}
