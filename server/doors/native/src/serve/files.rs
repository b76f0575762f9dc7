//! What is there without a database: the root, health, counters, pages and the files that ship with the program.

use std::borrow::Cow;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use hearth_auth::{Caller, Mode};
use hearth_core::DatabaseName;
use hearth_engine::{Denied, ProgressNow};
use serde_json::{Value as Json, json};

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

/// `GET /health`; with `?ready` a status of its own where requests are not answered yet, or no longer.
pub(super) fn health(door: &Door, asking: &Asking) -> Result<Response, Problem> {
    asking.params.only(&[&["ready"]])?;
    let health = Health {
        stopping: *door.stopping.borrow(),
        opening: door.engine.opening(),
        read_only: door.engine.read_only(),
        clock_held: door.engine.is_clock_held(),
        disk_free_bytes: door.engine.disk_free_bytes(),
        disk_free_bytes_min: door.engine.limits().disk_free_bytes_min,
    };
    // Names of databases, and of files in what a disk said, are not for strangers.
    let in_detail = asking.caller == Caller::Admin || (asking.mode == Mode::Dev && door.is_dev());
    let code = match health.is_ready() || (!health.stopping && !asking.params.flag("ready")?) {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    };
    Ok((code, [JSON], health.to_json(in_detail).to_string()).into_response())
}

/// How a server is.
struct Health {
    stopping: bool,
    opening: Vec<(DatabaseName, ProgressNow)>,
    read_only: Vec<(DatabaseName, Arc<str>)>,
    clock_held: bool,
    disk_free_bytes: Option<u64>,
    disk_free_bytes_min: u64,
}

impl Health {
    fn is_ready(&self) -> bool {
        !self.stopping && self.opening.is_empty()
    }

    fn status(&self) -> &'static str {
        match () {
            () if self.stopping => "stopping",
            () if !self.read_only.is_empty() => "read-only",
            () if !self.opening.is_empty() => "opening",
            () => "serving",
        }
    }

    /// What somebody should see to.
    fn alarms(&self) -> Vec<&'static str> {
        let is_full = self.disk_free_bytes.is_some_and(|free| free <= self.disk_free_bytes_min);
        let all = [("log-failed", !self.read_only.is_empty()), ("clock-held", self.clock_held), ("disk-full", is_full)];
        all.into_iter().filter(|alarm| alarm.1).map(|alarm| alarm.0).collect()
    }

    fn to_json(&self, in_detail: bool) -> Json {
        let mut body = json!({
            "status": self.status(),
            "version": env!("CARGO_PKG_VERSION"),
            "alarms": self.alarms(),
        });
        // The one that is least far: when it is there, all are.
        if let Some(percent) = self.opening.iter().map(|(_, progress)| progress.percent()).min() {
            body["opening"] = json!({ "databases": self.opening.len(), "percent": percent });
        }
        if in_detail {
            let named = |name: &DatabaseName| json!({ "project": name.project(), "database": name.database() });
            let with = |name: &DatabaseName, key: &str, value: Json| {
                let mut named = named(name);
                named[key] = value;
                named
            };
            let opening = self.opening.iter().map(|(name, progress)| with(name, "percent", progress.percent().into()));
            let read_only = self.read_only.iter().map(|(name, cause)| with(name, "cause", cause.as_ref().into()));
            body["detail"] = json!({
                "opening": opening.collect::<Vec<_>>(),
                "read_only": read_only.collect::<Vec<_>>(),
                "disk_free_bytes": self.disk_free_bytes,
            });
        }
        body
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    fn check(change: impl FnOnce(&mut Health), in_detail: bool, want: Expect) {
        let mut health = Health {
            stopping: false,
            opening: Vec::new(),
            read_only: Vec::new(),
            clock_held: false,
            disk_free_bytes: Some(100),
            disk_free_bytes_min: 10,
        };
        change(&mut health);
        let mut json = health.to_json(in_detail);
        json.as_object_mut().unwrap().remove("version").expect("it says which hearth this is");
        want.assert_eq(&format!("{} {json}", if health.is_ready() { "ready" } else { "not ready" }));
    }

    fn name() -> DatabaseName {
        DatabaseName::parse("shop", "eu").unwrap()
    }

    fn opening(health: &mut Health) {
        let progress = |bytes_done| ProgressNow { bytes_done, bytes_total: 4, documents: 0 };
        health.opening = vec![(name(), progress(3)), (name(), progress(1))];
    }

    #[test]
    fn what_is_to_be_seen_to_is_an_alarm() {
        check(|_| {}, false, expect![[r#"ready {"alarms":[],"status":"serving"}"#]]);
        check(|health| health.stopping = true, false, expect![[r#"not ready {"alarms":[],"status":"stopping"}"#]]);
        check(
            |health| (health.clock_held, health.disk_free_bytes) = (true, Some(10)),
            false,
            expect![[r#"ready {"alarms":["clock-held","disk-full"],"status":"serving"}"#]],
        );
        check(
            |health| health.read_only = vec![(name(), "it broke".into())],
            false,
            expect![[r#"ready {"alarms":["log-failed"],"status":"read-only"}"#]],
        );
        check(
            opening,
            false,
            expect![[r#"not ready {"alarms":[],"opening":{"databases":2,"percent":25},"status":"opening"}"#]],
        );
    }

    #[test]
    fn names_and_causes_are_told_to_those_who_may_know() {
        check(
            |health| {
                opening(health);
                health.opening.truncate(1);
                health.read_only = vec![(name(), "it broke".into())];
            },
            true,
            expect![[
                r#"not ready {"alarms":["log-failed"],"detail":{"disk_free_bytes":100,"opening":[{"database":"eu","percent":75,"project":"shop"}],"read_only":[{"cause":"it broke","database":"eu","project":"shop"}]},"opening":{"databases":1,"percent":75},"status":"read-only"}"#
            ]],
        );
    }
}
