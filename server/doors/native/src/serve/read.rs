//! Reading: one `GET`, answered at once, when it changes, or as a stream.

use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hearth_auth::Caller;
use hearth_core::query::{self, Limit, Query, Source};
use hearth_core::{DatabaseName, DocPath, Document, Version};
use hearth_engine::{Access, Authorized, Database, Engine, Token, ids};
use serde_json::json;

use super::{Asking, Door, JSON, since, stream};
use crate::address::{Place, encode_path};
use crate::json::{self, Context, from_value};
use crate::params;
use crate::poll::{Tags, document_tag, held, preferred_wait, result_tag};
use crate::problem::{Code, Problem};
use crate::query_json::{Asked, values_of};
use crate::respond::{Cost, Explain, Form, ResultText};

/// What every read depends on.
pub(super) const VARY: &str = "Authorization, Accept, Prefer, Origin";
const NO_CACHE: &str = "private, no-cache";
const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");
/// Other projects that are looked through for a hint.
const HINT_PROJECTS_MAX: usize = 8;

/// Parameters of a read beside those of the query.
const WAYS: [&str; 5] = ["at", "since", "diff", "explain", "ticket"];

/// Answers a `GET` below `/db`.
pub(super) async fn answer(
    door: &Arc<Door>,
    asking: Asking,
    database: Database,
    place: Place,
) -> Result<Response, Problem> {
    if asking.params.flag("collections")? {
        return collections(&asking, &database, place).await;
    }
    let context = Context::new(database.name());
    match place {
        Place::Database => {
            asking.params.only(&[&["collections"]])?;
            about(door, &asking, &database)
        }
        Place::Document(path) => {
            asking.params.only(&[&["select"], &WAYS, &["collections"]])?;
            let asked = asking.params.asked(Source::Documents(vec![path.clone()]), &context)?;
            match asking.form() {
                Form::Json | Form::Lines | Form::Page if asking.params.one("since")?.is_none() => {
                    document(door, &asking, &database, path, asked).await
                }
                _ => ways(door, asking, database, Place::Document(path), asked, true).await,
            }
        }
        Place::Collection(ref path) => {
            asking.params.only(&[&params::QUERY, &WAYS, &["collections"]])?;
            let asked = asking.params.asked(Source::Collection(path.clone()), &context)?;
            ways(door, asking, database, place, asked, true).await
        }
        Place::Group(ref id) => {
            asking.params.only(&[&params::QUERY, &WAYS, &["collections"]])?;
            let asked = asking.params.asked(Source::Group { below: None, id: id.clone() }, &context)?;
            ways(door, asking, database, place, asked, true).await
        }
    }
}

/// Answers a query that came as a body.
pub(super) async fn answer_query(
    door: &Arc<Door>,
    asking: Asking,
    database: Database,
    place: Place,
    asked: Asked,
) -> Result<Response, Problem> {
    asking.params.only(&[&WAYS, &["literal"]])?;
    ways(door, asking, database, place, asked, false).await
}

/// Makes the query that was asked for: cursors that are documents are read first, with the caller's own rights.
pub(crate) async fn prepare(
    engine: &Engine,
    database: &Database,
    caller: &Caller,
    asked: Asked,
    at: Option<Version>,
) -> Result<Arc<Query>, Problem> {
    let mut found: Vec<Arc<Document>> = Vec::new();
    for path in asked.documents() {
        let authorized = database.authorize_get(caller, path)?;
        found.extend(database.get(&authorized, at).await?.document);
    }
    let document = |path: &DocPath| found.iter().find(|document| document.path == *path).cloned();
    asked.build(engine.limits(), database.name(), document).map(Arc::new)
}

/// `GET /db`.
fn about(door: &Door, asking: &Asking, database: &Database) -> Result<Response, Problem> {
    database.authorize_list(&asking.caller, None)?;
    let limits = door.engine.limits();
    let name = database.name();
    let body = json!({
        "project": name.project(),
        "database": name.database(),
        "version": database.visible().to_string(),
        "oldest": database.history_start().to_string(),
        "limits": {
            "doc_bytes_max": Document::BYTES_MAX,
            "commit_writes_max": limits.commit_writes_max,
            "commit_bytes_max": limits.commit_bytes_max,
            "result_docs_default": limits.result_docs_default,
            "result_docs_max": limits.result_docs_max,
            "query_ms_max": limits.query_time_max.as_millis() as u64,
            "history_ms": limits.history.as_millis() as u64,
            "listeners_per_connection_max": limits.listeners_per_connection_max,
            "message_bytes_max": limits.message_bytes_max,
            "url_bytes_max": limits.url_bytes_max,
            "wait_seconds_max": crate::poll::WAIT_SECONDS_MAX,
        },
    });
    Ok(read_headers(([JSON], body.to_string()).into_response()))
}

async fn collections(asking: &Asking, database: &Database, place: Place) -> Result<Response, Problem> {
    asking.params.only(&[&["collections", "at"]])?;
    let below = match place {
        Place::Database => None,
        Place::Document(path) => Some(path),
        Place::Collection(_) | Place::Group(_) => {
            let detail = "collections stand below documents and at the root, not below a collection";
            return Err(Problem::invalid(detail).at("collections"));
        }
    };
    let authorized = database.authorize_list(&asking.caller, below)?;
    let (version, ids) = database.collections(&authorized, asking.params.version("at")?).await?;
    let ids: Vec<&str> = ids.iter().map(hearth_core::Id::as_str).collect();
    let body = json!({ "version": version.to_string(), "collections": ids });
    Ok(read_headers(([JSON], body.to_string()).into_response()))
}

/// One document, now or when it has changed.
async fn document(
    door: &Door,
    asking: &Asking,
    database: &Database,
    path: DocPath,
    asked: Asked,
) -> Result<Response, Problem> {
    let authorized = database.authorize_get(&asking.caller, path.clone())?;
    let at = asking.params.version("at")?;
    let query = prepare(&door.engine, database, &asking.caller, asked, at).await?;
    let known = asking.header("if-none-match").map(|header| Tags::parse("If-None-Match", header)).transpose()?;
    let wait = wait_of(asking).filter(|_| known.is_some() && at.is_none());
    let deadline = wait.map(|seconds| held_of(door, asking, seconds));
    let explain = explain_of(door, asking)?;
    let (mut granted, mut is_over) = (None, false);
    loop {
        let start = door.engine.clock().elapsed();
        let found = database.get(&authorized, at).await?;
        let micros = door.engine.clock().elapsed().saturating_sub(start).as_micros() as u64;
        let document = found.document.as_deref();
        let etag = HeaderValue::try_from(format!("\"{}\"", document_tag(document))).expect("digits are ASCII");
        let is_known = known.as_ref().is_some_and(|known| known.hold(document));
        let Some(deadline) = deadline.filter(|_| is_known && !is_over) else {
            // One look-up of one key, by the document's name.
            let is_there = u64::from(document.is_some());
            let cost = Cost { scanned: 1, read: is_there, returned: is_there, micros };
            let explained = explain.map(|explain| explain.to_json(Some("document"), cost));
            let response = match document {
                _ if is_known => StatusCode::NOT_MODIFIED.into_response(),
                Some(document) => {
                    let context = Context::new(database.name());
                    let mut out = Vec::new();
                    json::write_document(&mut out, document, &query.project(document), &context);
                    if let Some(explained) = explained.filter(|_| asking.form() != Form::Lines) {
                        out.pop();
                        json::print(&mut out, format_args!(",\"explain\":{explained}}}"));
                    }
                    if asking.form() == Form::Lines {
                        out.push(b'\n');
                    }
                    ([(header::CONTENT_TYPE, media_type(asking.form()))], out).into_response()
                }
                None => {
                    let problem = Problem::new(Code::NotFound, format!("no document at {path}"));
                    let told = explained.map(|explained| problem.clone().with("explain", explained));
                    told.unwrap_or(problem).into_response()
                }
            };
            return Ok(read_headers(with_wait(with(response, header::ETAG, etag), granted)));
        };
        let token = Token { version: found.version, epoch: database.epoch(), query: query.hash() };
        let watched = database.authorize_query(&asking.caller, query.clone())?;
        granted = wait;
        // Where it has changed it may have changed back: then there is still time to wait.
        is_over = wait_for_change(door, database, &watched, token, deadline).await?;
    }
}

/// The ways of reading a result.
async fn ways(
    door: &Arc<Door>,
    asking: Asking,
    database: Database,
    place: Place,
    asked: Asked,
    is_get: bool,
) -> Result<Response, Problem> {
    let at = asking.params.version("at")?;
    let form = asking.form();
    let patches = match asking.params.one("diff")? {
        None => false,
        Some("fields") => true,
        Some(_) => return Err(Problem::parameter("diff", 1, "only fields is understood")),
    };
    // A stream that a browser takes up again asks with its old address and a newer id.
    let given = match (form, asking.header("last-event-id").filter(|id| !id.is_empty())) {
        (Form::Events, Some(id)) => Some((id, "Last-Event-ID")),
        _ => asking.params.one("since")?.map(|since| (since, "since")),
    };
    let since =
        given.map(|(text, name)| Token::parse(text).map_err(|error| Problem::from(error).at(name))).transpose()?;
    if at.is_some() && (since.is_some() || form == Form::Events) {
        return Err(Problem::invalid("at reads one version; what changes has none").at("at"));
    }
    let query = prepare(&door.engine, &database, &asking.caller, asked, at).await?;
    let authorized = database.authorize_query(&asking.caller, query.clone())?;
    if form == Form::Events {
        return stream::answer(door, asking, database, authorized, since, patches).await;
    }
    match since {
        Some(token) => since::changes(door, &asking, &database, &authorized, token, patches).await,
        None => result(door, &asking, &database, &authorized, &place, at, is_get).await,
    }
}

/// A whole result, unless the caller knows it.
async fn result(
    door: &Door,
    asking: &Asking,
    database: &Database,
    query: &Authorized<Arc<Query>>,
    place: &Place,
    at: Option<Version>,
    is_get: bool,
) -> Result<Response, Problem> {
    let known = asking.header("if-none-match").map(|header| Tags::parse("If-None-Match", header)).transpose()?;
    let known = known.map(|known| known.tokens(&asking.caller)).unwrap_or_default();
    let mut applied = None;
    if let Some(at) = at {
        // A version stays as it is, so the tag alone tells.
        let token = Token { version: at, epoch: database.epoch(), query: query.hash() };
        if known.contains(&token) {
            return Ok(not_modified(&token, &asking.caller, None));
        }
    } else if let Some(newer) = known.iter().find_map(|token| database.unchanged(query, token)) {
        let Some(seconds) = wait_of(asking) else { return Ok(not_modified(&newer, &asking.caller, None)) };
        let deadline = held_of(door, asking, seconds);
        if wait_for_change(door, database, query, newer, deadline).await? {
            let newest = database.unchanged(query, &newer).unwrap_or(newer);
            return Ok(not_modified(&newest, &asking.caller, Some(seconds)));
        }
        applied = Some(seconds);
    }
    let answer = database.query(query, at).await?;
    let tag = HeaderValue::try_from(result_tag(&answer.token, &asking.caller)).expect("tokens are ASCII");
    let next = next_page(asking, database.name(), query, &answer, is_get);
    let hint = match place {
        Place::Collection(_) if answer.docs.is_empty() && answer.aggregates.is_none() && door.is_dev() => {
            hint(door, asking, database.name(), place).await
        }
        _ => None,
    };
    let form = if answer.aggregates.is_some() { Form::Json } else { asking.form() };
    let text = ResultText {
        query: Arc::clone(query),
        database: database.name().clone(),
        answer,
        hint,
        explain: explain_of(door, asking)?,
        lines: form == Form::Lines,
    };
    let mut response = with(Response::new(text.into_body()), header::ETAG, tag);
    response.headers_mut().insert(header::CONTENT_TYPE, media_type(form));
    if let Some(next) = next {
        response.headers_mut().insert(header::LINK, next);
    }
    Ok(read_headers(with_wait(response, applied)))
}

/// Whether the reader wants to be told how its answer came about. What allowed it is told in dev and to admins only.
fn explain_of(door: &Door, asking: &Asking) -> Result<Option<Explain>, Problem> {
    let rule = match (door.engine.access(), &asking.caller) {
        (Access::Open, _) => Some("open"),
        (Access::Closed { .. }, Caller::Admin) => Some("admin"),
        (Access::Closed { .. }, Caller::User(_) | Caller::Anonymous) => None,
    };
    Ok(asking.params.flag("explain")?.then_some(Explain { rule }))
}

/// Waits until something may have changed. True: it was in vain.
pub(super) async fn wait_for_change(
    door: &Door,
    database: &Database,
    query: &Authorized<Arc<Query>>,
    token: Token,
    deadline: tokio::time::Instant,
) -> Result<bool, Problem> {
    tokio::select! {
        changed = database.changed(query, &token) => changed.map(|()| false).map_err(Problem::from),
        () = tokio::time::sleep_until(deadline) => Ok(true),
        () = door.stopped() => Ok(true),
    }
}

pub(super) fn wait_of(asking: &Asking) -> Option<u64> {
    preferred_wait(asking.headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok()))
}

/// When a held request is answered at the latest: never after its caller's authority has ended.
pub(super) fn held_of(door: &Door, asking: &Asking, seconds: u64) -> tokio::time::Instant {
    let held = held(seconds, u64::from_be_bytes(ids::random()));
    let left = asking.caller.expires_seconds().map(|end| end.saturating_sub(door.now_seconds()));
    tokio::time::Instant::now() + left.map_or(held, |left| held.min(Duration::from_secs(left)))
}

/// Where the next page is: behind the last document, at the same version.
fn next_page(
    asking: &Asking,
    database: &DatabaseName,
    query: &Query,
    answer: &hearth_engine::Answer,
    is_get: bool,
) -> Option<HeaderValue> {
    let last = answer.docs.last().filter(|_| answer.more && is_get)?;
    if matches!(query.limit(), Some(Limit::Last(_))) {
        return None;
    }
    let context = Context::new(database);
    let values = values_of(last, query.orders(), database).ok()?;
    let cursor: Vec<_> = values.iter().map(|value| from_value(value, &context)).collect();
    let cursor = serde_json::Value::from(cursor).to_string();
    let drop = ["startAt", "startAfter", "offset", "at", "ticket"];
    let params = asking.params.print(&drop, &[("startAfter", cursor), ("at", answer.version.to_string())]);
    HeaderValue::try_from(format!("<{}?{params}>; rel=\"next\"", asking.path)).ok()
}

/// In dev, where a collection is empty: the address of one of the same name in another project.
async fn hint(door: &Door, asking: &Asking, own: &DatabaseName, place: &Place) -> Option<String> {
    let Place::Collection(path) = place else { return None };
    let others = door.engine.database_names().into_iter();
    let others = others.filter(|name| name.database() == own.database() && name.project() != own.project());
    for name in others.take(HINT_PROJECTS_MAX) {
        let project = name.project().to_owned();
        let other = door.database(name).await.ok()?;
        let mut spec = query::QuerySpec::all(Source::Collection(path.clone()));
        spec.limit = Some(Limit::First(1));
        let query = Arc::new(Query::build(spec).ok()?);
        let authorized = other.authorize_query(&asking.caller, query).ok()?;
        if other.query(&authorized, None).await.is_ok_and(|answer| !answer.docs.is_empty()) {
            let database = match own.database() {
                DatabaseName::DEFAULT => String::new(),
                named => format!("@{named}"),
            };
            return Some(format!("/p/{project}/db{database}/{}", encode_path(path.as_str())));
        }
    }
    None
}

fn not_modified(token: &Token, caller: &Caller, applied: Option<u64>) -> Response {
    let tag = HeaderValue::try_from(result_tag(token, caller)).expect("tokens are ASCII");
    read_headers(with_wait(with(StatusCode::NOT_MODIFIED.into_response(), header::ETAG, tag), applied))
}

fn with(mut response: Response, name: HeaderName, value: HeaderValue) -> Response {
    response.headers_mut().insert(name, value);
    response
}

pub(super) fn with_wait(response: Response, applied: Option<u64>) -> Response {
    match applied.and_then(|seconds| HeaderValue::try_from(format!("wait={seconds}")).ok()) {
        Some(value) => with(response, PREFERENCE_APPLIED, value),
        None => response,
    }
}

/// The headers that every read bears.
pub(super) fn read_headers(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::VARY, HeaderValue::from_static(VARY));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(NO_CACHE));
    response
}

fn media_type(form: Form) -> HeaderValue {
    match form {
        Form::Lines => HeaderValue::from_static(Form::Lines.media_type()),
        Form::Json | Form::Events | Form::Page => HeaderValue::from_static(Form::Json.media_type()),
    }
}
