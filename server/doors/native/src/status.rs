//! Which error is which problem: the only file of this door that decides codes and statuses of inner errors.
//!
//! No `_` arm: a new variant must break this build until someone has decided what the native API says.

use axum::http::{HeaderValue, StatusCode, header};
use hearth_core::decide::WriteError;
use hearth_core::query::QueryError;
use hearth_core::write::WriteShapeError;
use hearth_core::{Document, FieldPathError, PathError};

use crate::problem::{Code, Problem};

impl From<PathError> for Problem {
    fn from(error: PathError) -> Self {
        match error {
            PathError::Segment { .. }
            | PathError::NotADocument { .. }
            | PathError::NotACollection { .. }
            | PathError::TooDeep { .. }
            | PathError::TooLong { .. }
            | PathError::Database { .. }
            | PathError::NotAName { .. } => Self::invalid(error.to_string()),
        }
    }
}

impl From<FieldPathError> for Problem {
    fn from(error: FieldPathError) -> Self {
        Self::invalid(error.to_string())
    }
}

impl From<QueryError> for Problem {
    fn from(error: QueryError) -> Self {
        let at = match &error {
            QueryError::EmptyComposite
            | QueryError::FilterTooDeep
            | QueryError::TooManyConditions { .. }
            | QueryError::ListExpected { .. }
            | QueryError::ListEmpty { .. }
            | QueryError::ListTooLong { .. }
            | QueryError::Unstorable { .. }
            | QueryError::NameOperator { .. }
            | QueryError::NameValue { .. }
            | QueryError::NameOutside { .. } => Some("where"),
            QueryError::OrderTwice { .. } => Some("orderBy"),
            QueryError::CursorEmpty | QueryError::CursorTooLong { .. } | QueryError::CursorName { .. } => {
                Some("cursor")
            }
            QueryError::SelectAndAggregates | QueryError::TooManySelected { .. } => Some("select"),
            QueryError::TooManyAggregates { .. } => Some("aggregates"),
            QueryError::TooManyDocuments { .. } => None,
        };
        let problem = Self::invalid(error.to_string());
        match at {
            Some(at) => problem.at(at),
            None => problem,
        }
    }
}

impl From<WriteShapeError> for Problem {
    fn from(error: WriteShapeError) -> Self {
        match &error {
            WriteShapeError::Value { path, .. }
            | WriteShapeError::Overlap { path, .. }
            | WriteShapeError::Name { path }
            | WriteShapeError::NotANumber { path, .. }
            | WriteShapeError::TransformsWithout { path, .. } => {
                let path = path.to_string();
                Self::invalid(error.to_string()).with("path", path)
            }
        }
    }
}

impl From<WriteError> for Problem {
    fn from(error: WriteError) -> Self {
        let (problem, path) = match &error {
            WriteError::NotFound { path } => (Self::new(Code::NotFound, error.to_string()), path),
            WriteError::AlreadyExists { path } => (Self::new(Code::AlreadyExists, error.to_string()), path),
            WriteError::Stale { path, actual, .. } => {
                (Self::new(Code::FailedPrecondition, error.to_string()).with("updated", actual.to_string()), path)
            }
            WriteError::Gone { path, .. } => {
                let problem = Self::new(Code::FailedPrecondition, error.to_string());
                (problem.with("updated", serde_json::Value::Null), path)
            }
            WriteError::Moved { path } => (Self::new(Code::Aborted, error.to_string()), path),
            WriteError::TooLarge { path, .. } => {
                let limit = Document::BYTES_MAX as u64;
                (Self::over(StatusCode::PAYLOAD_TOO_LARGE, "document_bytes_max", limit, error.to_string()), path)
            }
            WriteError::Value { path, .. } => (Self::invalid(error.to_string()), path),
        };
        let path = path.to_string();
        problem.with("path", path)
    }
}

impl From<hearth_auth::TokenError> for Problem {
    /// Says why, never with the token: RFC 6750 §3.
    fn from(error: hearth_auth::TokenError) -> Self {
        use hearth_auth::TokenError as Error;
        let why = match error {
            Error::UnknownKey { may_arrive: true } | Error::KeysNotLoaded => {
                return Self::new(Code::Unavailable, error.to_string()).retry_after_ms(1_000);
            }
            Error::Scheme | Error::TooLong { .. } | Error::Malformed => "invalid_request",
            Error::Unsigned
            | Error::UnknownIssuer
            | Error::NotConfigured
            | Error::Algorithm
            | Error::UnknownKey { may_arrive: false }
            | Error::BadSignature
            | Error::Expired
            | Error::NotYetValid
            | Error::Claim { .. }
            | Error::Audience
            | Error::Subject => "invalid_token",
        };
        unauthenticated(why, &error.to_string())
    }
}

/// A `401` that says why. `why` is one of RFC 6750's codes, `detail` has no quotes.
pub(crate) fn unauthenticated(why: &str, detail: &str) -> Problem {
    let quoted = detail.replace(['"', '\\'], "'");
    let challenge = HeaderValue::try_from(format!("Bearer error=\"{why}\", error_description=\"{quoted}\""));
    let problem = Problem::new(Code::Unauthenticated, detail);
    problem.header(header::WWW_AUTHENTICATE, challenge.unwrap_or(HeaderValue::from_static("Bearer")))
}
