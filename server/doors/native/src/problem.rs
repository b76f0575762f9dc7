//! Problems: what went wrong, as `application/problem+json` (RFC 9457) tells it.
//!
//! This file knows the shape; which error becomes which problem stands in `status`.

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value as Json, json};

use crate::json::JsonError;

/// The kind of a problem: Firestore's canonical codes. Clients decide by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// The request makes no sense, whatever the state is.
    InvalidArgument,
    /// A precondition does not hold.
    FailedPrecondition,
    /// There is no such thing.
    NotFound,
    /// There is such a thing already.
    AlreadyExists,
    /// Something moved meanwhile; read again and retry.
    Aborted,
    /// What was asked for lies outside what is kept.
    OutOfRange,
    /// The caller may not.
    PermissionDenied,
    /// It is not known, or no longer, who the caller is.
    Unauthenticated,
    /// Too much, or too often.
    ResourceExhausted,
    /// This server cannot do that.
    Unimplemented,
    /// Certainly not done; try again.
    Unavailable,
    /// Not done in time.
    DeadlineExceeded,
    /// Nobody knows whether it was done; it will not change its mind. A code of our own.
    UnknownOutcome,
    /// The server's own fault.
    Internal,
    /// What was stored cannot be read.
    DataLoss,
}

impl Code {
    /// The code on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::InvalidArgument => "invalid-argument",
            Self::FailedPrecondition => "failed-precondition",
            Self::NotFound => "not-found",
            Self::AlreadyExists => "already-exists",
            Self::Aborted => "aborted",
            Self::OutOfRange => "out-of-range",
            Self::PermissionDenied => "permission-denied",
            Self::Unauthenticated => "unauthenticated",
            Self::ResourceExhausted => "resource-exhausted",
            Self::Unimplemented => "unimplemented",
            Self::Unavailable => "unavailable",
            Self::DeadlineExceeded => "deadline-exceeded",
            Self::UnknownOutcome => "unknown-outcome",
            Self::Internal => "internal",
            Self::DataLoss => "data-loss",
        }
    }

    /// The HTTP status that goes with it unless the problem says another.
    pub fn status(self) -> StatusCode {
        match self {
            Self::InvalidArgument | Self::OutOfRange => StatusCode::BAD_REQUEST,
            Self::FailedPrecondition => StatusCode::PRECONDITION_FAILED,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::AlreadyExists | Self::Aborted => StatusCode::CONFLICT,
            Self::PermissionDenied => StatusCode::FORBIDDEN,
            Self::Unauthenticated => StatusCode::UNAUTHORIZED,
            Self::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
            Self::Unimplemented => StatusCode::NOT_IMPLEMENTED,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::DeadlineExceeded | Self::UnknownOutcome => StatusCode::GATEWAY_TIMEOUT,
            Self::Internal | Self::DataLoss => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

/// What went wrong, for a person and for a program. Holds neither token nor key.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    /// The HTTP status.
    pub status: StatusCode,
    /// The kind.
    pub code: Code,
    /// What is true, in one sentence.
    pub detail: String,
    /// Where the fault stands: a JSON pointer, a parameter with a column, or a header.
    pub at: Option<String>,
    /// Further members of the object.
    pub members: Vec<(&'static str, Json)>,
    /// Headers that the answer bears.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

impl Problem {
    /// A problem of a kind.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self { status: code.status(), code, detail: detail.into(), at: None, members: Vec::new(), headers: Vec::new() }
    }

    /// A request that makes no sense.
    pub fn invalid(detail: impl Into<String>) -> Self {
        Self::new(Code::InvalidArgument, detail)
    }

    /// A malformed query parameter, with the column (characters from 1) where it stopped making sense.
    pub fn parameter(name: &str, column: usize, detail: impl Into<String>) -> Self {
        Self::invalid(detail).at(format!("{name}, column {column}"))
    }

    /// JSON that does not say what was expected, below `pointer` of the body.
    pub fn json(pointer: &str, error: JsonError) -> Self {
        let at = format!("{pointer}{}", error.pointer);
        let problem = Self::invalid(error.detail);
        if at.is_empty() { problem } else { problem.at(at) }
    }

    /// Something over a limit that has a name.
    pub fn over(status: StatusCode, name: &'static str, limit: u64, detail: impl Into<String>) -> Self {
        Self::invalid(detail).status(status).with("limit", json!({ "name": name, "value": limit }))
    }

    /// The same problem under another status.
    #[must_use]
    pub fn status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    /// The same problem, saying where the fault stands.
    #[must_use]
    pub fn at(mut self, place: impl Into<String>) -> Self {
        self.at = Some(place.into());
        self
    }

    /// The same problem with one more member.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<Json>) -> Self {
        self.members.push((name, value.into()));
        self
    }

    /// The same problem with one more header.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// The same problem, saying when to come again.
    #[must_use]
    pub fn retry_after_ms(self, ms: u64) -> Self {
        self.header(header::RETRY_AFTER, HeaderValue::from(ms.div_ceil(1_000).max(1))).with("retryAfterMs", ms)
    }

    /// The JSON object. `request` is the id under which the request stands in the log.
    pub fn to_json(&self, request: Option<&str>) -> Json {
        let mut object = serde_json::Map::new();
        // `code` says it all, so no kind has a page of its own.
        object.insert("type".into(), "about:blank".into());
        object.insert("title".into(), self.status.canonical_reason().unwrap_or("Problem").into());
        object.insert("status".into(), self.status.as_u16().into());
        object.insert("code".into(), self.code.name().into());
        object.insert("detail".into(), self.detail.as_str().into());
        if let Some(at) = &self.at {
            object.insert("at".into(), at.as_str().into());
        }
        for (name, value) in &self.members {
            object.insert((*name).into(), value.clone());
        }
        if let Some(request) = request {
            object.insert("request".into(), request.into());
        }
        Json::Object(object)
    }
}

/// The media type of a problem.
pub(crate) const MEDIA_TYPE: HeaderValue = HeaderValue::from_static("application/problem+json");

impl IntoResponse for Problem {
    /// The answer, but for the request's id: whoever knows that prints the problem again, from the extensions.
    fn into_response(self) -> Response {
        let mut response = Response::new(self.to_json(None).to_string().into());
        *response.status_mut() = self.status;
        response.headers_mut().insert(header::CONTENT_TYPE, MEDIA_TYPE);
        for (name, value) in &self.headers {
            response.headers_mut().append(name, value.clone());
        }
        response.extensions_mut().insert(self);
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn a_problem_is_an_object_that_says_where_and_under_which_id() {
        let problem = Problem::parameter("where", 9, "an operator is expected");
        expect![[r#"{"at":"where, column 9","code":"invalid-argument","detail":"an operator is expected","request":"r1","status":400,"title":"Bad Request","type":"about:blank"}"#]]
            .assert_eq(&problem.to_json(Some("r1")).to_string());
    }

    #[test]
    fn a_limit_is_told_with_its_name_and_value() {
        let problem = Problem::over(StatusCode::PAYLOAD_TOO_LARGE, "message_bytes_max", 10, "too much");
        expect![[r#"{"code":"invalid-argument","detail":"too much","limit":{"name":"message_bytes_max","value":10},"status":413,"title":"Payload Too Large","type":"about:blank"}"#]]
            .assert_eq(&problem.to_json(None).to_string());
    }
}
