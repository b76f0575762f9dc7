//! Bodies of requests, bounded by a limit that has a name.

use axum::body::Body;
use axum::http::{StatusCode, header};
use bytes::Bytes;
use serde_json::Value as Json;

use super::{Asking, Door};
use crate::json;
use crate::problem::Problem;

/// The whole body, up to the limit that has a name.
pub(super) async fn body_bytes(door: &Door, body: Body) -> Result<Bytes, Problem> {
    let limit = door.engine.limits().message_bytes_max;
    let over = || {
        let detail = format!("the body is over the limit of {limit} bytes");
        Problem::over(StatusCode::PAYLOAD_TOO_LARGE, "message_bytes_max", limit as u64, detail)
    };
    if axum::body::HttpBody::size_hint(&body).lower() > limit as u64 {
        return Err(over());
    }
    axum::body::to_bytes(body, limit).await.map_err(|error| {
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
        while let Some(error) = cause {
            if error.is::<http_body_util::LengthLimitError>() {
                return over();
            }
            cause = error.source();
        }
        Problem::invalid("the body ended before it was complete")
    })
}

/// A body that is JSON, whatever harmless type it claims: `curl -d` says it was a form.
pub(super) async fn json_body(door: &Door, asking: &Asking, body: Body) -> Result<Json, Problem> {
    let bytes = checked_bytes(door, asking, body).await?;
    json::parse(&bytes).map_err(|error| Problem::json("", error))
}

pub(super) async fn checked_bytes(door: &Door, asking: &Asking, body: Body) -> Result<Bytes, Problem> {
    let media_type = asking.header("content-type").unwrap_or("application/json");
    let essence = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let is_json = essence == "application/json" || essence.ends_with("+json");
    if !is_json && !["", "text/plain", "application/x-www-form-urlencoded"].contains(&essence.as_str()) {
        let problem = Problem::invalid(format!("a body of type {essence:?} is not understood; send application/json"));
        return Err(problem.status(StatusCode::UNSUPPORTED_MEDIA_TYPE).at("Content-Type"));
    }
    if asking.headers.get(header::CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
        let problem = Problem::invalid("bodies are taken uncompressed only");
        return Err(problem.status(StatusCode::UNSUPPORTED_MEDIA_TYPE).at("Content-Encoding"));
    }
    body_bytes(door, body).await
}
