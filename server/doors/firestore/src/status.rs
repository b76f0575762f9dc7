//! Which error is which of Firestore's codes, and in which words: the only file of this door that decides that.
//!
//! No `_` arm: a new variant must break this build until someone has decided what Firestore would say. Apps match on
//! some of the words, so those are Firestore's own.

use hearth_core::decide::WriteError;
use hearth_core::field::{FieldPath, FieldPathError};
use hearth_core::path::{Id, IdError};
use hearth_core::query::{Operator, QueryError};
use hearth_core::value::{Value, ValueError};
use hearth_core::write::WriteShapeError;
use hearth_core::{DatabaseName, DocPath, Document, PathError, Version};
use hearth_engine::{CommitError, DatabaseError, Denied, ReadError};
use hearth_schema::rpc;

use crate::export::ExportError;

pub(crate) use tonic::Code;

/// Most bytes of a text or of bytes: what is left of a document besides its name. Source: Firestore documentation, "Usage and limits".
pub(crate) const LONG_MAX: usize = 1_048_487;

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
    /// It is over.
    Over,
    /// It was open when an earlier life of the process ended.
    Lost,
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

    /// Why a text is no collection's id.
    pub(crate) fn collection_id(text: &str, error: IdError) -> Self {
        Self::id("Collection id", "kind", text, error)
    }

    /// Why a text is no document's id.
    pub(crate) fn document_id(text: &str, error: IdError) -> Self {
        Self::id("Resource id", "name", text, error)
    }

    fn id(what: &str, element: &str, text: &str, error: IdError) -> Self {
        match error {
            IdError::TooLong { .. } => {
                Self::invalid(format!("The key path element {element} is longer than {} bytes.", Id::BYTES_MAX))
            }
            IdError::Reserved { text } => {
                Self::invalid(format!("{what} \"{text}\" is invalid because it is reserved."))
            }
            IdError::Slash => Self::invalid(format!("{what} {text:?} is invalid because it contains \"/\".")),
            IdError::Empty => Self::invalid(format!("{what} is the empty string.")),
        }
    }

    /// A path of too many collections.
    pub(crate) fn too_deep() -> Self {
        Self::invalid(format!("Key path is too long. Cannot exceed {} elements.", DocPath::DEPTH_MAX))
    }

    /// Why the name of a document's own field is none.
    pub(crate) fn field_name(error: FieldPathError) -> Self {
        match error {
            FieldPathError::EmptyName { .. } => Self::invalid("The property.name is the empty string."),
            FieldPathError::TooLong { .. } => {
                Self::invalid(format!("The property.name is longer than {} bytes.", FieldPath::NAME_BYTES_MAX))
            }
            FieldPathError::Reserved { name } => Self::invalid(format!("field name {name} is reserved")),
            FieldPathError::Empty
            | FieldPathError::Unexpected { .. }
            | FieldPathError::Unclosed { .. }
            | FieldPathError::TooDeep { .. } => Self::invalid(error.to_string()),
        }
    }

    /// Why a text is no field path. `what` names where it stands.
    pub(crate) fn field_path(what: &str, text: &str, error: FieldPathError) -> Self {
        match error {
            FieldPathError::TooLong { .. } => {
                Self::invalid(format!("property path is longer than {} bytes.", FieldPath::NAME_BYTES_MAX))
            }
            FieldPathError::Reserved { .. } => Self::invalid(format!("Invalid reserved name in field path {text}")),
            FieldPathError::Empty => Self::empty_path(),
            FieldPathError::EmptyName { .. } if text.is_empty() => Self::empty_path(),
            FieldPathError::EmptyName { .. } | FieldPathError::Unexpected { .. } | FieldPathError::Unclosed { .. } => {
                let text: String = text.chars().take(200).collect();
                Self::invalid(format!(
                    "Invalid property path \"{text}\". Unquoted property paths must match regex ([a-zA-Z_][a-zA-Z_0-9]*), and quoted property paths must match regex (`(?:[^`\\\\]|(?:\\\\.))+`) ({what}: {error})"
                ))
            }
            FieldPathError::TooDeep { .. } => {
                Self::invalid(format!("Invalid {what} {:?}: {error}", text.chars().take(200).collect::<String>()))
            }
        }
    }

    /// A field path of nothing.
    pub(crate) fn empty_path() -> Self {
        Self::invalid("Invalid empty property path string.")
    }

    /// Why a value cannot stand in the field `name` of a document.
    pub(crate) fn value(name: &str, error: ValueError) -> Self {
        match error {
            ValueError::ArrayInArray => Self::invalid("Cannot convert an array value in an array value."),
            ValueError::TooDeep => Self::invalid(format!("Property {name} contains an invalid nested entity.")),
            ValueError::FieldName(FieldPathError::Reserved { name }) => match of_another_edition(&name) {
                Some(what) => Self::invalid(format!("Value type {what} is not allowed")),
                None => Self::invalid(format!("field name '{name}' is reserved.")),
            },
            ValueError::FieldName(FieldPathError::EmptyName { .. } | FieldPathError::TooLong { .. }) => {
                Self::invalid(format!("Property {name} contains an invalid nested entity."))
            }
            ValueError::VectorTooLong { .. } => {
                Self::invalid(format!("Vectors must be at most {} dimensions.", Value::VECTOR_DIMENSIONS_MAX))
            }
            ValueError::FieldName(_) => Self::invalid(format!("{name}: {error}")),
        }
    }

    /// A text or bytes that no document can hold.
    pub(crate) fn long_value(name: &str) -> Self {
        Self::invalid(format!("The value of property \"{name}\" is longer than {LONG_MAX} bytes."))
    }

    /// A request of more bytes than are taken.
    pub(crate) fn payload(bytes_max: usize) -> Self {
        Self::invalid(format!("Request payload size exceeds the limit: {bytes_max} bytes."))
    }

    /// The refusal as one outcome among others.
    pub(crate) fn status(&self) -> rpc::Status {
        rpc::Status { code: self.code as i32, message: self.message.clone(), details: Vec::new() }
    }

    pub(crate) fn contention() -> Self {
        Self::new(Code::Aborted, "Too much contention on these documents. Please try again.")
    }

    /// Why an export was not written.
    pub(crate) fn export(error: ExportError) -> Self {
        let text = error.to_string();
        match error {
            ExportError::Name { .. } => Self::invalid(text),
            ExportError::Io { .. }
            | ExportError::Occupied { .. }
            | ExportError::Document { .. }
            | ExportError::Damaged { .. }
            | ExportError::None { .. } => Self::new(Code::FailedPrecondition, text),
            ExportError::Read(error) => error.into(),
            ExportError::Ended(_) => Self::new(Code::Internal, text),
        }
    }

    /// What a commit's error is to the clients of a database.
    pub(crate) fn commit(database: &DatabaseName, error: CommitError) -> Self {
        let text = error.to_string();
        match error {
            CommitError::Refused(error) => Self::write(database, error),
            CommitError::QueryMoved => Self::contention(),
            CommitError::TooLarge { .. } => Self::invalid("Transaction too big. Decrease transaction size."),
            CommitError::KeyReused { .. } | CommitError::TooManyWrites { .. } => Self::invalid(text),
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
            WriteError::Stale { path, expected, actual } if expected > actual => {
                Self::invalid(format!("Invalid base version, it is greater than the stored version: {}", name(&path)))
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

    /// A time that nothing can be read at any more, and why.
    pub(crate) fn too_old(why: &str) -> Self {
        Self::new(Code::FailedPrecondition, format!("The requested 'read_time' is too old. ({why})"))
    }

    fn stale(expected: Version, actual: Version) -> Self {
        let message = format!("the stored version ({actual}) does not match the required base version ({expected})");
        Self::new(Code::FailedPrecondition, message)
    }
}

/// The type that a map of one field of this name stands for where documents are those of MongoDB. Source: what
/// `@google-cloud/firestore` sends for its types, and Firestore's answers.
fn of_another_edition(name: &str) -> Option<&'static str> {
    Some(match name {
        "__int__" => "INT",
        "__decimal128__" => "DECIMAL128",
        "__oid__" => "OBJECT_ID",
        "__request_timestamp__" => "REQUEST_TIMESTAMP",
        "__regex__" => "REGEX",
        "__min__" => "MIN_VALUE",
        "__max__" => "MAX_VALUE",
        _ => return None,
    })
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
            ReadError::NotYet { .. } => Self::invalid("The requested 'read_time' cannot be in the future."),
            ReadError::Forgotten { .. } => Self::too_old(&text),
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
            TransactionError::Over => Self::invalid("The referenced transaction has expired or is no longer valid."),
            // Every client tries again what was aborted; it did nothing wrong.
            TransactionError::Lost => {
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

invalid!(PathError, FieldPathError, ValueError, WriteShapeError);

/// An operator as Firestore's messages name it.
fn operator(operator: Operator) -> &'static str {
    match operator {
        Operator::Less => "LESS_THAN",
        Operator::LessOrEqual => "LESS_THAN_OR_EQUAL",
        Operator::Greater => "GREATER_THAN",
        Operator::GreaterOrEqual => "GREATER_THAN_OR_EQUAL",
        Operator::Equal => "EQUAL",
        Operator::NotEqual => "NOT_EQUAL",
        Operator::ArrayContains => "ARRAY_CONTAINS",
        Operator::In => "IN",
        Operator::ArrayContainsAny => "ARRAY_CONTAINS_ANY",
        Operator::NotIn => "NOT_IN",
    }
}

impl From<QueryError> for Refusal {
    /// In Firestore's words where it has some: it calls a document's name `__key__`.
    fn from(error: QueryError) -> Self {
        match error {
            QueryError::EmptyComposite => Self::invalid("Composite filter must have at least one sub-filter."),
            QueryError::ListExpected { operator: op, .. } => {
                Self::invalid(format!("'{}' requires an ArrayValue.", operator(op)))
            }
            QueryError::ListEmpty { operator: op, .. } => {
                Self::invalid(format!("'{}' requires an non-empty ArrayValue.", operator(op)))
            }
            QueryError::NameValue { .. } => Self::invalid("__key__ filter value must be a Key"),
            QueryError::OrderTwice { field } => {
                Self::invalid(format!("order by clause cannot contain duplicate fields {field}"))
            }
            QueryError::CursorTooLong { .. } => Self::invalid("Cursor has too many values."),
            QueryError::CursorName { .. } => Self::invalid("Cursor __key__ value is not a document reference."),
            QueryError::FilterTooDeep
            | QueryError::TooManyConditions { .. }
            | QueryError::ListTooLong { .. }
            | QueryError::Unstorable { .. }
            | QueryError::NameOperator { .. }
            | QueryError::NameOutside { .. }
            | QueryError::CursorEmpty
            | QueryError::SelectAndAggregates
            | QueryError::TooManyAggregates { .. }
            | QueryError::TooManySelected { .. }
            | QueryError::TooManyDocuments { .. } => Self::invalid(error.to_string()),
        }
    }
}

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
            WriteError::Stale { path: path.clone(), expected: actual, actual: expected },
            Code::InvalidArgument,
            &format!("Invalid base version, it is greater than the stored version: {name}"),
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
