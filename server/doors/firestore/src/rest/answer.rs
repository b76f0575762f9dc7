//! Answers of the REST skin: messages as JSON, many of them as one array, refusals, and what browsers want to be told.

use std::io;
use std::pin::Pin;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use futures_util::stream::{self, Peekable, StreamExt as _};
use serde::Serialize;

use crate::service::Answers;
use crate::status::{Code, Refusal};

/// An array is sent in pieces of about this size, so that a large result is never whole in memory as text.
const PIECE_BYTES: usize = 64 << 10;

/// The headers that SDKs send, for a preflight that does not name any.
const HEADERS_ALLOWED: &str = "authorization, content-type, google-cloud-resource-prefix, x-client-version, \
    x-firebase-appcheck, x-firebase-client, x-firebase-gmpid, x-goog-api-client, x-goog-api-key, x-goog-request-params, \
    x-goog-user-project";

/// One message.
pub(crate) fn one<T: Serialize>(message: &T) -> Response {
    match serde_json::to_vec(message) {
        Ok(bytes) => json(StatusCode::OK, Body::from(bytes)),
        Err(error) => refused(&Refusal::new(Code::Internal, error.to_string()), false),
    }
}

/// Messages as one array, made while they are sent.
pub(crate) async fn many<T: Serialize + Send + 'static>(answers: Answers<T>) -> Result<Response, Refusal> {
    let mut pieces = Pieces { answers: answers.peekable(), is_begun: false, is_over: false };
    let first = pieces.next().await?.unwrap_or_default();
    let body = match pieces.is_over {
        true => Body::from(first),
        false => {
            let rest = stream::try_unfold(pieces, async |mut pieces| {
                // The connection breaks at an error: better than an array that looks whole.
                let piece = pieces.next().await.map_err(io::Error::other)?;
                Ok::<_, io::Error>(piece.map(|piece| (piece, pieces)))
            });
            Body::from_stream(stream::iter([Ok(first)]).chain(rest))
        }
    };
    Ok(json(StatusCode::OK, body))
}

/// A refusal as JSON.
pub(crate) fn error(refusal: &Refusal) -> serde_json::Value {
    serde_json::json!({"error": {
        "code": http_status(refusal.code).as_u16(),
        "message": refusal.message,
        "status": canonical(refusal.code),
    }})
}

/// A refusal, as an array where that is what the method answers.
pub(crate) fn refused(refusal: &Refusal, is_streaming: bool) -> Response {
    let status = http_status(refusal.code);
    let error = error(refusal);
    let body = if is_streaming { serde_json::json!([error]) } else { error };
    json(status, Body::from(body.to_string()))
}

fn json(status: StatusCode, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json; charset=UTF-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// Lets a page of any origin read an answer. `asked` are the headers of its request.
pub(crate) fn share(asked: &HeaderMap, mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.append(header::VARY, HeaderValue::from_static("origin"));
    if let Some(origin) = asked.get(header::ORIGIN) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        // Nothing here is a browser's to send by itself, so this gives nothing away; some SDKs ask with it.
        headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    }
    response
}

/// What a browser is told before it asks.
pub(crate) fn preflight(asked: &HeaderMap) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    let methods = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE");
    let wanted = asked.get(header::ACCESS_CONTROL_REQUEST_HEADERS).cloned();
    let allowed = wanted.unwrap_or(HeaderValue::from_static(HEADERS_ALLOWED));
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, allowed);
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("3600"));
    headers.append(header::VARY, HeaderValue::from_static("access-control-request-headers"));
    response
}

/// Source: google/rpc/code.proto, "HTTP Mapping".
fn http_status(code: Code) -> StatusCode {
    match code {
        Code::Ok => StatusCode::OK,
        Code::Cancelled => StatusCode::from_u16(499).expect("three digits make a status"),
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => StatusCode::BAD_REQUEST,
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::AlreadyExists | Code::Aborted => StatusCode::CONFLICT,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::Unknown | Code::Internal | Code::DataLoss => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// The name of a code, as JSON bears it.
fn canonical(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

/// The text of an array, piece by piece.
struct Pieces<T> {
    answers: Peekable<Answers<T>>,
    is_begun: bool,
    is_over: bool,
}

impl<T: Serialize> Pieces<T> {
    async fn next(&mut self) -> Result<Option<Bytes>, Refusal> {
        if self.is_over {
            return Ok(None);
        }
        let mut piece = Vec::with_capacity(1 << 10);
        if !self.is_begun {
            self.is_begun = true;
            piece.push(b'[');
        }
        while piece.len() < PIECE_BYTES {
            let Some(answer) = self.answers.next().await.transpose()? else { break };
            serde_json::to_writer(&mut piece, &answer)
                .map_err(|error| Refusal::new(Code::Internal, error.to_string()))?;
            if Pin::new(&mut self.answers).peek().await.is_some() {
                piece.extend_from_slice(b",\n");
            }
        }
        if Pin::new(&mut self.answers).peek().await.is_none() {
            self.is_over = true;
            piece.push(b']');
        }
        Ok(Some(piece.into()))
    }
}
