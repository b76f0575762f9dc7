//! Which error is which of Firestore's codes, and in which words: the only file of this door that decides that.
//!
//! No `_` arm: a new variant must break this build until someone has decided what Firestore would say. Apps match on
//! some of the words, so those are Firestore's own.

use hearth_core::decide::WriteError;
use hearth_core::field::FieldPathError;
use hearth_core::query::QueryError;
use hearth_core::value::ValueError;
use hearth_core::write::WriteShapeError;
use hearth_core::{DatabaseName, DocPath, Document, PathError, Version};
use hearth_engine::{CommitError, DatabaseError, Denied, ReadError};
use hearth_schema::rpc;

pub(crate) use tonic::Code;

/// Why a request was refused, as a client is told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code:?}: {message}")]
pub struct Refusal {
    /// The canonical code.
    pub code: Code,
    /// For people; some apps match on it.
    pub message: String,
}

/// Why a transaction's id leads nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TransactionError {
    /// It was never handed out here, or not for this caller and database.
    Unknown,
    /// It is over, or of an earlier life of the process.
    Over,
    /// Too many are open.
    TooMany,
}

impl Refusal {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(Code::InvalidArgument, message)
    }

    /// The refusal as one outcome among others.
    pub(crate) fn status(&self) -> rpc::Status {
        rpc::Status { code: self.code as i32, message: self.message.clone(), details: Vec::new() }
    }

    pub(crate) fn contention() -> Self {
        Self::new(Code::Aborted, "Too much contention on these documents. Please try again.")
    }

    /// What a commit's error is to the clients of a database.
    pub(crate) fn commit(database: &DatabaseName, error: CommitError) -> Self {
        let text = error.to_string();
        match error {
            CommitError::Refused(error) => Self::write(database, error),
            CommitError::QueryMoved => Self::contention(),
            CommitError::KeyReused { .. } | CommitError::TooManyWrites { .. } | CommitError::TooLarge { .. } => {
                Self::invalid(text)
            }
            // Said only of what was certainly not applied: clients try again by themselves.
            CommitError::Overloaded { .. }
            | CommitError::NotApplied { .. }
            | CommitError::ReadOnly { .. }
            | CommitError::Closed => Self::new(Code::Unavailable, text),
            CommitError::Unknown { .. } => Self::new(Code::DeadlineExceeded, text),
        }
    }

    fn write(database: &DatabaseName, error: WriteError) -> Self {
        let name = |path: &DocPath| crate::names::print(database, path);
        let text = error.to_string();
        match error {
            WriteError::NotFound { path } => {
                Self::new(Code::NotFound, format!("No document to update: {}", name(&path)))
            }
            WriteError::AlreadyExists { path } => {
                Self::new(Code::AlreadyExists, format!("Document already exists: {}", name(&path)))
            }
            WriteError::Stale { expected, actual, .. } => Self::stale(expected, actual),
            WriteError::Gone { expected, .. } => Self::stale(expected, Version::ZERO),
            WriteError::Moved { .. } => Self::contention(),
            WriteError::TooLarge { path, bytes } => Self::invalid(format!(
                "Document '{}' cannot be written because its size ({} bytes) exceeds the maximum allowed size of {} bytes.",
                name(&path),
                grouped(bytes),
                grouped(Document::BYTES_MAX),
            )),
            WriteError::TooMuch { .. } | WriteError::Value { .. } => Self::invalid(text),
        }
    }

    fn stale(expected: Version, actual: Version) -> Self {
        let message = format!("the stored version ({actual}) does not match the required base version ({expected})");
        Self::new(Code::FailedPrecondition, message)
    }
}

/// A number with commas between its thousands.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.char_indices() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

impl From<Refusal> for tonic::Status {
    fn from(refusal: Refusal) -> Self {
        Self::new(refusal.code, refusal.message)
    }
}

impl From<Denied> for Refusal {
    /// Web apps match on these words, whoever asks.
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::SignIn | Denied::Forbidden => {
                Self::new(Code::PermissionDenied, "Missing or insufficient permissions.")
            }
        }
    }
}

impl From<hearth_auth::TokenError> for Refusal {
    fn from(error: hearth_auth::TokenError) -> Self {
        use hearth_auth::TokenError as Error;
        let text = error.to_string();
        match error {
            // The key may be on its way: the same token is good a moment later.
            Error::UnknownKey { may_arrive: true } | Error::KeysNotLoaded => Self::new(Code::Unavailable, text),
            Error::Scheme
            | Error::TooLong { .. }
            | Error::Malformed
            | Error::Unsigned
            | Error::UnknownIssuer
            | Error::NotConfigured
            | Error::Algorithm
            | Error::UnknownKey { may_arrive: false }
            | Error::BadSignature
            | Error::Expired
            | Error::NotYetValid
            | Error::Claim { .. }
            | Error::Audience
            | Error::Subject => Self::new(Code::Unauthenticated, text),
        }
    }
}

impl From<DatabaseError> for Refusal {
    fn from(error: DatabaseError) -> Self {
        let text = error.to_string();
        match error {
            DatabaseError::UnknownProject { .. } => Self::new(Code::NotFound, text),
            DatabaseError::TooMany { .. } => Self::new(Code::ResourceExhausted, text),
            // Nothing was done, and it will be when the clock has come so far, or somebody has seen to it.
            DatabaseError::Opening { .. } | DatabaseError::Closed | DatabaseError::ClockBehind { .. } => {
                Self::new(Code::Unavailable, text)
            }
            DatabaseError::Damaged { .. } => Self::new(Code::DataLoss, text),
        }
    }
}

impl From<ReadError> for Refusal {
    fn from(error: ReadError) -> Self {
        let text = error.to_string();
        match error {
            ReadError::NotYet { .. } => Self::invalid("read_time cannot be in the future"),
            ReadError::Forgotten { .. } => Self::new(Code::FailedPrecondition, text),
            ReadError::TooMany { .. } | ReadError::TooManyListeners { .. } => Self::new(Code::ResourceExhausted, text),
            ReadError::Deadline { .. } => Self::new(Code::DeadlineExceeded, text),
            ReadError::ForeignToken => Self::invalid(text),
            ReadError::Closed | ReadError::NotReached { .. } => Self::new(Code::Unavailable, text),
            ReadError::State(_) => Self::new(Code::DataLoss, text),
        }
    }
}

impl From<TransactionError> for Refusal {
    fn from(error: TransactionError) -> Self {
        match error {
            TransactionError::Unknown => Self::invalid("Invalid transaction."),
            TransactionError::Over => {
                Self::new(Code::Aborted, "The referenced transaction has expired or is no longer valid.")
            }
            TransactionError::TooMany => {
                Self::new(Code::ResourceExhausted, "Too many transactions are open; finish some and try again.")
            }
        }
    }
}

macro_rules! invalid {
    ($($error:ty),*) => {
        $(impl From<$error> for Refusal {
            /// Whatever is wrong with what a client sent, its code is the same.
            fn from(error: $error) -> Self {
                Self::invalid(error.to_string())
            }
        })*
    };
}

invalid!(PathError, FieldPathError, QueryError, ValueError, WriteShapeError);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn apps_find_the_words_that_they_match_on() {
        let database = DatabaseName::parse("p", "(default)").unwrap();
        let path = DocPath::parse("rooms/a").unwrap();
        let check = |error: WriteError, code: Code, want: &str| {
            let refusal = Refusal::commit(&database, CommitError::Refused(error));
            assert_eq!((refusal.code, refusal.message.as_str()), (code, want));
        };
        let name = "projects/p/databases/(default)/documents/rooms/a";
        check(WriteError::NotFound { path: path.clone() }, Code::NotFound, &format!("No document to update: {name}"));
        check(
            WriteError::AlreadyExists { path: path.clone() },
            Code::AlreadyExists,
            &format!("Document already exists: {name}"),
        );
        let (expected, actual) = (Version::from_micros(7), Version::from_micros(9));
        check(
            WriteError::Stale { path: path.clone(), expected, actual },
            Code::FailedPrecondition,
            "the stored version (9) does not match the required base version (7)",
        );
        check(
            WriteError::TooLarge { path, bytes: 1_048_684 },
            Code::InvalidArgument,
            &format!(
                "Document '{name}' cannot be written because its size (1,048,684 bytes) exceeds the maximum allowed size of 1,048,576 bytes."
            ),
        );
        assert_eq!(Refusal::from(Denied::SignIn).message, "Missing or insufficient permissions.");
    }
}
