//! Which error is which problem: the only file of this door that decides codes and statuses of inner errors.
//!
//! No `_` arm: a new variant must break this build until someone has decided what the native API says.

use axum::http::{HeaderValue, StatusCode, header};
use hearth_core::decide::WriteError;
use hearth_core::query::QueryError;
use hearth_core::write::WriteShapeError;
use hearth_core::{Document, FieldPathError, PathError};
use hearth_engine::{
    BackupError, CommitError, CopyError, DatabaseError, Denied, NotDeleted, ReadError, SubtreeError, TTL_POLICIES_MAX,
    TtlError,
};

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
            WriteError::TooLarge { path, .. } | WriteError::TooMuch { path } => {
                let limit = Document::BYTES_MAX as u64;
                (Self::over(StatusCode::PAYLOAD_TOO_LARGE, "doc_bytes_max", limit, error.to_string()), path)
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

impl From<hearth_auth::TicketError> for Problem {
    fn from(error: hearth_auth::TicketError) -> Self {
        use hearth_auth::TicketError as Error;
        match error {
            Error::Address => Self::invalid(error.to_string()).at("/for"),
            Error::Claims => Self::invalid(error.to_string()),
            Error::Unknown | Error::TooLate | Error::Expired | Error::OtherAdminKey => {
                unauthenticated("invalid_token", &error.to_string())
            }
            Error::OtherAddress => Self::new(Code::PermissionDenied, error.to_string()),
            Error::TooMany => Self::new(Code::ResourceExhausted, error.to_string()).retry_after_ms(10_000),
        }
    }
}

impl From<hearth_engine::TokenError> for Problem {
    fn from(error: hearth_engine::TokenError) -> Self {
        Self::invalid(error.to_string())
    }
}

impl From<Denied> for Problem {
    fn from(denied: Denied) -> Self {
        match denied {
            // Nothing was shown, so nothing is wrong with it: RFC 6750 §3.1 wants no error code then.
            Denied::SignIn => Self::new(Code::Unauthenticated, denied.to_string())
                .header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")),
            Denied::Forbidden => Self::new(Code::PermissionDenied, denied.to_string()),
        }
    }
}

impl From<NotDeleted> for Problem {
    /// What was deleted before stays so; asked again, it goes on.
    fn from(error: NotDeleted) -> Self {
        let problem = match error.cause {
            SubtreeError::Read(cause) => Self::from(cause),
            SubtreeError::Commit(cause) => Self::from(cause),
        };
        match error.deleted.docs {
            0 => problem,
            docs => problem.with("deleted", docs).with("version", error.deleted.version.to_string()),
        }
    }
}

impl From<TtlError> for Problem {
    fn from(error: TtlError) -> Self {
        match error {
            TtlError::TooMany => {
                let limit = serde_json::json!({ "name": "ttl_policies_max", "value": TTL_POLICIES_MAX });
                Self::new(Code::ResourceExhausted, error.to_string()).with("limit", limit)
            }
            TtlError::NoPolicy { .. } => Self::new(Code::NotFound, error.to_string()),
            TtlError::Name => Self::invalid(error.to_string()).at("/field"),
            TtlError::Closed => Self::new(Code::Unavailable, error.to_string()).retry_after_ms(1_000),
            TtlError::Home(_) => Self::new(Code::Internal, error.to_string()),
        }
    }
}

impl From<DatabaseError> for Problem {
    fn from(error: DatabaseError) -> Self {
        match error {
            DatabaseError::UnknownProject { .. } => Self::new(Code::NotFound, error.to_string()),
            DatabaseError::TooMany { .. } => {
                Self::new(Code::ResourceExhausted, error.to_string()).retry_after_ms(1_000)
            }
            DatabaseError::Closed | DatabaseError::Opening { .. } => {
                Self::new(Code::Unavailable, error.to_string()).retry_after_ms(1_000)
            }
            // Nothing was done, and it will be when the clock has come so far, or somebody has seen to it.
            DatabaseError::ClockBehind { .. } => Self::new(Code::Unavailable, error.to_string()).retry_after_ms(60_000),
            DatabaseError::Damaged { .. } => Self::new(Code::DataLoss, error.to_string()),
        }
    }
}

impl From<ReadError> for Problem {
    fn from(error: ReadError) -> Self {
        match &error {
            ReadError::NotYet { visible, .. } => {
                let visible = visible.to_string();
                Self::invalid(error.to_string()).at("at").with("version", visible)
            }
            ReadError::Forgotten { oldest, .. } => {
                let oldest = oldest.to_string();
                Self::new(Code::OutOfRange, error.to_string()).at("at").with("oldest", oldest)
            }
            ReadError::TooMany { limit } => {
                let limit = *limit as u64;
                Self::over(StatusCode::BAD_REQUEST, "result_docs_max", limit, error.to_string()).at("limit")
            }
            ReadError::Deadline { .. } => Self::new(Code::DeadlineExceeded, error.to_string()),
            ReadError::ForeignToken => Self::invalid(error.to_string()).at("since"),
            ReadError::TooManyListeners { limit } => {
                let limit = serde_json::json!({ "name": "listeners_per_connection_max", "value": limit });
                Self::new(Code::ResourceExhausted, error.to_string()).with("limit", limit)
            }
            ReadError::Closed | ReadError::NotReached { .. } => {
                Self::new(Code::Unavailable, error.to_string()).retry_after_ms(1_000)
            }
            ReadError::State(_) => Self::new(Code::DataLoss, error.to_string()),
        }
    }
}

impl From<BackupError> for Problem {
    fn from(error: BackupError) -> Self {
        let told = error.to_string();
        match error {
            BackupError::InMemory => Self::new(Code::FailedPrecondition, told),
            BackupError::NoSnapshot { .. } => Self::new(Code::NotFound, told),
            BackupError::NoSuchPart { .. } => Self::invalid(told),
            BackupError::Log(CopyError::Dropped { .. }) => Self::new(Code::OutOfRange, told),
            BackupError::Log(CopyError::Foreign { .. }) => Self::new(Code::FailedPrecondition, told),
            BackupError::Log(CopyError::Log(_)) | BackupError::Snapshots(_) => Self::new(Code::DataLoss, told),
            BackupError::Log(CopyError::Write(_)) => Self::new(Code::Internal, told),
            BackupError::Closed => Self::new(Code::Unavailable, told).retry_after_ms(1_000),
        }
    }
}

impl From<CommitError> for Problem {
    fn from(error: CommitError) -> Self {
        let told = error.to_string();
        match error {
            CommitError::Refused(error) => error.into(),
            CommitError::QueryMoved => Self::new(Code::Aborted, told),
            CommitError::KeyReused { .. } => {
                Self::new(Code::FailedPrecondition, told).status(StatusCode::UNPROCESSABLE_ENTITY).at("Idempotency-Key")
            }
            CommitError::TooManyWrites { limit, .. } => {
                Self::over(StatusCode::PAYLOAD_TOO_LARGE, "commit_writes_max", limit as u64, told)
            }
            CommitError::TooLarge { limit, .. } => {
                Self::over(StatusCode::PAYLOAD_TOO_LARGE, "commit_bytes_max", limit as u64, told)
            }
            CommitError::Overloaded { retry_after_ms } => {
                Self::new(Code::ResourceExhausted, told).retry_after_ms(retry_after_ms)
            }
            CommitError::NotApplied { .. } => Self::new(Code::Unavailable, told).retry_after_ms(1_000),
            CommitError::Unknown { .. } => Self::new(Code::UnknownOutcome, told),
            CommitError::ReadOnly { .. } => Self::new(Code::Unavailable, told),
            CommitError::Closed => Self::new(Code::Unavailable, told).retry_after_ms(1_000),
        }
    }
}

/// A `401` that says why. `why` is one of RFC 6750's codes, `detail` has no quotes.
pub(crate) fn unauthenticated(why: &str, detail: &str) -> Problem {
    let quoted = detail.replace(['"', '\\'], "'");
    let challenge = HeaderValue::try_from(format!("Bearer error=\"{why}\", error_description=\"{quoted}\""));
    let problem = Problem::new(Code::Unauthenticated, detail);
    problem.header(header::WWW_AUTHENTICATE, challenge.unwrap_or(HeaderValue::from_static("Bearer")))
}
