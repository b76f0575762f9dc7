//! WebChannel over HTTP: addresses, bodies, statuses and what browsers want to be told. It decides nothing.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use futures_util::stream;
use hearth_auth::Caller;

use super::channels::{Answer, AskError, Channels, Opened, What};
use super::form::{self, Asked, FormError};
use super::session::{Lie, Limits};
use super::streams::{self, Kind};
use crate::names;
use crate::serve::Peer;
use crate::service::Door;
use crate::status::Refusal;

/// The header that carries the session's id for a balancer's use; clients repeat it as `gsessionid`.
const SESSION_ID: HeaderName = HeaderName::from_static("x-http-session-id");
/// What a page may read of an answer's headers.
const EXPOSED: &str = "X-HTTP-Session-Id, X-Client-Wire-Protocol";
/// A byte of a message is three in a form, at most.
const FORM_FACTOR: usize = 3;

/// What answers under `/google.firestore.v1.Firestore/Listen/channel` and `…/Write/channel`.
pub(crate) fn routes(door: Arc<Door>) -> Router {
    let limits = door.engine().limits();
    let limits = Limits::new(limits.outbox_bytes_max, limits.message_bytes_max);
    let channels = Arc::new(Channels::new(door.engine().clone(), limits));
    let route = |kind| {
        let (door, channels) = (door.clone(), channels.clone());
        any(move |request: Request| async move { answer(&door, &channels, kind, request).await })
    };
    Router::new()
        .route("/google.firestore.v1.Firestore/Listen/channel", route(Kind::Listen))
        .route("/google.firestore.v1.Firestore/Write/channel", route(Kind::Write))
}

/// Why a request has no answer.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error(transparent)]
    Form(#[from] FormError),
    #[error(transparent)]
    Ask(#[from] AskError),
    #[error("the body is over the limit of {bytes_max} bytes, or broke off")]
    Body { bytes_max: usize },
    #[error("only GET and POST")]
    Method,
}

impl IntoResponse for Refused {
    /// Clients take every status but 200 for the end of the session. At `Unknown SID`, which must not be the first thing
    /// in the text, they begin a new one at once.
    fn into_response(self) -> Response {
        let (status, text) = match &self {
            Self::Ask(AskError::Unknown | AskError::Lie(Lie::Gone { .. })) => {
                (StatusCode::BAD_REQUEST, "Error: Unknown SID".to_string())
            }
            Self::Form(_) | Self::Ask(AskError::Lie(Lie::NotSaid { .. } | Lie::Gap { .. })) => {
                (StatusCode::BAD_REQUEST, format!("Error: {self}"))
            }
            Self::Ask(AskError::Lie(Lie::Full) | AskError::TooMany) => {
                (StatusCode::SERVICE_UNAVAILABLE, format!("Error: {self}"))
            }
            Self::Body { .. } => (StatusCode::PAYLOAD_TOO_LARGE, format!("Error: {self}")),
            Self::Method => (StatusCode::METHOD_NOT_ALLOWED, format!("Error: {self}")),
        };
        text_response(status, text.into())
    }
}

async fn answer(door: &Arc<Door>, channels: &Channels, kind: Kind, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let response = match parts.method {
        Method::OPTIONS => preflight(&parts.headers),
        Method::GET => serve(door, channels, kind, form::Method::Get, &parts, body).await,
        Method::POST => serve(door, channels, kind, form::Method::Post, &parts, body).await,
        _ => Refused::Method.into_response(),
    };
    share(&parts.headers, response)
}

async fn serve(
    door: &Arc<Door>,
    channels: &Channels,
    kind: Kind,
    method: form::Method,
    parts: &Parts,
    body: Body,
) -> Response {
    let served = async {
        match Asked::parse(method, parts.uri.query().unwrap_or_default())? {
            Asked::Open { database, headers } => {
                let body = read(door, body).await?;
                let mine = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
                let credential = [&body.headers, &headers]
                    .into_iter()
                    .find_map(|block| form::header(block, "authorization"))
                    .or(mine);
                let admitted = admit(door, parts, credential, &database);
                let opened = channels.open(kind, body.maps, |requests| match admitted {
                    Ok((caller, database)) => streams::open(kind, door.clone(), caller, database, requests),
                    // Only in a session can a client be told of it.
                    Err(refusal) => streams::refused(refusal),
                })?;
                Ok(opening(opened))
            }
            Asked::Send { sid, ack } => {
                let maps = read(door, body).await?.maps;
                Ok(response(channels.ask(kind, &sid, What::Send { ack, maps }).await?))
            }
            Asked::Receive { sid, ack, way } => {
                Ok(response(channels.ask(kind, &sid, What::Receive { ack, way }).await?))
            }
            Asked::End { sid } => Ok(response(channels.ask(kind, &sid, What::End).await?)),
        }
    };
    served.await.unwrap_or_else(|refused: Refused| refused.into_response())
}

/// Whose session it is, and on what.
fn admit(
    door: &Door,
    parts: &Parts,
    credential: Option<&str>,
    database: &str,
) -> Result<(Caller, hearth_core::DatabaseName), Refusal> {
    let caller = door.caller(parts.extensions.get::<Peer>().map(|peer| peer.0), credential)?;
    Ok((caller, names::database(database)?))
}

async fn read(door: &Door, body: Body) -> Result<form::Body, Refused> {
    let bytes_max = door.engine().limits().message_bytes_max.saturating_mul(FORM_FACTOR);
    let bytes = axum::body::to_bytes(body, bytes_max).await.map_err(|_| Refused::Body { bytes_max })?;
    Ok(form::Body::parse(&bytes)?)
}

// ---- answers

fn opening(opened: Opened) -> Response {
    let mut response = text_response(StatusCode::OK, opened.text.into());
    let sid = HeaderValue::try_from(&*opened.sid).expect("ids are letters and digits");
    response.headers_mut().insert(SESSION_ID, sid);
    response
}

fn response(answer: Answer) -> Response {
    let body = match answer {
        Answer::Text(text) => text.into(),
        Answer::Chunks(chunks) => Body::from_stream(stream::unfold(chunks, async |mut chunks| {
            let chunk = chunks.recv().await?;
            Some((Ok::<_, std::convert::Infallible>(chunk), chunks))
        })),
    };
    text_response(StatusCode::OK, body)
}

fn text_response(status: StatusCode, body: Body) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, "no-cache, no-store"),
        // For proxies that would gather what is to be sent at once.
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    (status, headers, body).into_response()
}

/// Lets a page of any origin read an answer: what keeps pages out stands before the door. Requests come with credentials,
/// so the origin has to be named.
fn share(asked: &HeaderMap, mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
    if let Some(origin) = asked.get(header::ORIGIN) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
    }
    response
}

/// What a browser is told before it asks.
fn preflight(asked: &HeaderMap) -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST, OPTIONS"));
    if let Some(wanted) = asked.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, wanted.clone());
    }
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("7200"));
    // A page on a public address that calls a private one.
    if asked.contains_key("access-control-request-private-network") {
        let name = HeaderName::from_static("access-control-allow-private-network");
        headers.insert(name, HeaderValue::from_static("true"));
    }
    response
}

#[cfg(test)]
mod tests;
