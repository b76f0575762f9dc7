//! What is there without a database: the root, health, counters, pages and the files that ship with the program.

use std::borrow::Cow;

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use hearth_auth::Caller;
use hearth_engine::Denied;
use serde_json::json;

use super::{Asking, Asset, Door, JSON, read};
use crate::page;
use crate::problem::{Code, Problem};
use crate::respond::Form;

pub(super) fn root(asking: &Asking) -> Result<Response, Problem> {
    asking.params.only(&[])?;
    match asking.form() {
        Form::Page => Ok(html(page::welcome().into())),
        Form::Json | Form::Lines | Form::Events => {
            Ok(([(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"))], "Ok").into_response())
        }
    }
}

pub(super) fn health(door: &Door) -> Response {
    let stopping = *door.stopping.borrow();
    let (code, status) = match () {
        () if stopping => (StatusCode::SERVICE_UNAVAILABLE, "stopping"),
        () if !door.engine.read_only().is_empty() => (StatusCode::OK, "read-only"),
        () => (StatusCode::OK, "serving"),
    };
    let body = json!({ "status": status, "version": env!("CARGO_PKG_VERSION") });
    (code, [JSON], body.to_string()).into_response()
}

pub(super) fn metrics(door: &Door, asking: &Asking) -> Result<Response, Problem> {
    if !door.metrics_open && !door.is_dev() && asking.caller != Caller::Admin {
        return Err(Denied::Forbidden.into());
    }
    let media_type = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    Ok(([(header::CONTENT_TYPE, media_type)], door.engine.metrics().render()).into_response())
}

pub(super) fn file(door: &Door, asking: &Asking, name: &str) -> Result<Response, Problem> {
    let Some(Asset { bytes, media_type }) = (door.files)(name) else {
        return Err(Problem::new(Code::NotFound, format!("there is no file {name:?}")));
    };
    let tag = format!("\"{:x}\"", crate::writes::hash64(&[&bytes]));
    let known = asking.header("if-none-match").is_some_and(|known| known.split(',').any(|one| one.trim() == tag));
    let etag = HeaderValue::try_from(tag).expect("hexadecimal digits are ASCII");
    let no_cache = HeaderValue::from_static("no-cache");
    if known {
        return Ok(
            (StatusCode::NOT_MODIFIED, [(header::ETAG, etag), (header::CACHE_CONTROL, no_cache)]).into_response()
        );
    }
    let bytes = match bytes {
        Cow::Borrowed(bytes) => Bytes::from_static(bytes),
        Cow::Owned(bytes) => bytes.into(),
    };
    let mut response = Response::new(Body::from(bytes));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(header::ETAG, etag);
    headers.insert(header::CACHE_CONTROL, no_cache);
    if media_type.starts_with("text/html") {
        headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(page::POLICY));
    }
    Ok(response)
}

pub(super) fn html(text: String) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(Form::Page.media_type())),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(page::POLICY)),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        (header::VARY, HeaderValue::from_static(read::VARY)),
    ];
    (headers, text).into_response()
}
