//! Writing: the body is the data itself, the method says what becomes of it. Answered when it is durable.

use axum::body::Body;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hearth_core::decide::WriteError;
use hearth_core::write::{Operation, Precondition, Write};
use hearth_core::{CollectionPath, DocPath, Version};
use hearth_engine::{CommitError, CommitRequest, Committed, Database, ReadError, Subtree};
use serde_json::json;

use super::body::checked_bytes;
use super::{Asking, Door, JSON};
use crate::address::{Place, encode_path};
use crate::json::{self, Context, JsonError, Shape, Written, to_written};
use crate::poll::{document_tag, precondition};
use crate::problem::{Code, Problem};
use crate::writes::{self, keyed_id, request_key};

/// Answers `POST`, `PUT`, `PATCH` and `DELETE` below `/db`.
pub(super) async fn answer(
    door: &Door,
    asking: &Asking,
    database: Database,
    place: Place,
    body: Body,
) -> Result<Response, Problem> {
    match (place, asking.method.clone()) {
        (Place::Database, Method::DELETE) => wipe(asking, &database).await,
        (Place::Database, _) => commit(door, asking, &database, body).await,
        // Without `?recursive` its route takes no DELETE.
        (Place::Collection(path), Method::DELETE) => sweep(asking, &database, Subtree::Collection(path)).await,
        (Place::Collection(path), _) => create(door, asking, &database, path, body).await,
        (Place::Document(path), Method::DELETE) if asking.params.flag("recursive")? => {
            sweep(asking, &database, Subtree::Document(path)).await
        }
        (Place::Document(path), Method::DELETE) => delete(asking, &database, path).await,
        (Place::Document(path), Method::PATCH) => {
            asking.params.only(&[&["merge", "literal"]])?;
            let shape = if asking.params.flag("merge")? { Shape::Merge } else { Shape::Update };
            let data = data(door, asking, &database, shape, body).await?;
            let condition = match condition(asking)? {
                // An update is of what is there; a merge makes it.
                Precondition::None if shape == Shape::Update => Precondition::Exists(true),
                Precondition::Exists(false) if shape == Shape::Update => {
                    return Err(Problem::invalid("an update is of a document that exists; with ?merge it need not"));
                }
                condition => condition,
            };
            put(asking, &database, data, |written| writes::merge(path, written, condition)).await
        }
        (Place::Document(path), _) => {
            asking.params.only(&[&["literal"]])?;
            let data = data(door, asking, &database, Shape::Whole, body).await?;
            let condition = condition(asking)?;
            put(asking, &database, data, |written| writes::set(path, written, condition)).await
        }
        (Place::Group(_), _) => Err(Problem::invalid("a collection group is only read")),
    }
}

/// A body that was read, with all that an idempotency key is bound to.
struct Data {
    written: Written,
    body: Vec<u8>,
}

async fn data(door: &Door, asking: &Asking, database: &Database, shape: Shape, body: Body) -> Result<Data, Problem> {
    let body = checked_bytes(door, asking, body).await?;
    let literal = asking.params.flag("literal")?;
    let context = Context { database: database.name(), literal };
    let told = |error: JsonError| Problem::json("", error);
    let json = json::parse(&body).map_err(told)?;
    let written = to_written(&json, shape, &context).map_err(told)?;
    Ok(Data { written, body: body.to_vec() })
}

fn condition(asking: &Asking) -> Result<Precondition, Problem> {
    precondition(asking.header("if-match"), asking.header("if-none-match"))
}

/// The idempotency key of a request, bound to everything that it asks for.
fn key(asking: &Asking, body: &[u8]) -> Result<Option<hearth_core::entry::RequestKey>, Problem> {
    let Some(key) = asking.headers.get("idempotency-key") else { return Ok(None) };
    let wrong = |problem: Problem| problem.at("Idempotency-Key");
    let key = key.to_str().map_err(|_| wrong(Problem::invalid("an idempotency key is ASCII here")))?;
    let header = |name| asking.header(name).unwrap_or_default().as_bytes();
    let params = asking.params.print(&[], &[]);
    let parts: [&[u8]; 6] = [
        asking.method.as_str().as_bytes(),
        asking.path.as_bytes(),
        params.as_bytes(),
        header("if-match"),
        header("if-none-match"),
        body,
    ];
    request_key(key, &parts).map(Some).map_err(wrong)
}

async fn run(asking: &Asking, database: &Database, request: CommitRequest) -> Result<Committed, Problem> {
    let authorized = database.authorize_commit(&asking.caller, request)?;
    database.commit(authorized).await.map_err(|error| refusal(asking, error))
}

/// What a header demanded and did not get is `412`, whatever else it would be.
fn refusal(asking: &Asking, error: CommitError) -> Problem {
    let demanded = asking.headers.contains_key(header::IF_MATCH) || asking.headers.contains_key(header::IF_NONE_MATCH);
    match error {
        CommitError::Refused(error @ (WriteError::NotFound { .. } | WriteError::AlreadyExists { .. })) if demanded => {
            let mut problem = Problem::from(error);
            (problem.status, problem.code) = (StatusCode::PRECONDITION_FAILED, Code::FailedPrecondition);
            problem
        }
        error => error.into(),
    }
}

/// `DELETE /db?wipe`: takes away everything. Without the word it is refused, since an address cut short, or a variable
/// that was empty, would say the same.
async fn wipe(asking: &Asking, database: &Database) -> Result<Response, Problem> {
    asking.params.only(&[&["wipe"]])?;
    let authorized = database.authorize_wipe(&asking.caller)?;
    if !asking.params.flag("wipe")? {
        let (project, database) = (database.name().project(), database.name().database());
        let detail = format!("this takes away every document of {project}/{database}; if that is meant, say ?wipe");
        return Err(Problem::invalid(detail).at("wipe"));
    }
    let version = database.wipe(&authorized).await.map_err(|error| refusal(asking, error))?;
    tracing::warn!(name = %database.name(), %version, "the database was wiped by request");
    Ok(([JSON], json!({ "version": version.to_string() }).to_string()).into_response())
}

/// `POST /db`.
async fn commit(door: &Door, asking: &Asking, database: &Database, body: Body) -> Result<Response, Problem> {
    asking.params.only(&[&["literal"]])?;
    let context = Context { database: database.name(), literal: asking.params.flag("literal")? };
    let bytes = checked_bytes(door, asking, body).await?;
    let body = json::parse(&bytes).map_err(|error| Problem::json("", error))?;
    let mut request = writes::to_commit(&body, &context)?;
    if let Some(key) = key(asking, &bytes)? {
        if request.key.is_some() {
            return Err(Problem::invalid("the key stands in the header and in the body; leave one out").at("/key"));
        }
        request.key = Some(key);
    }
    let committed = run(asking, database, request).await?;
    let mut out = format!("{{\"version\":\"{}\",\"results\":", committed.version).into_bytes();
    out.extend_from_slice(&writes::results_json(&committed.results, &context));
    out.push(b'}');
    Ok(([JSON], out).into_response())
}

/// `POST` to a collection: a document under an id of its own.
async fn create(
    door: &Door,
    asking: &Asking,
    database: &Database,
    collection: CollectionPath,
    body: Body,
) -> Result<Response, Problem> {
    asking.params.only(&[&["literal"]])?;
    if condition(asking)? != Precondition::None {
        return Err(Problem::invalid("what is created under a fresh id has no condition").at("If-Match"));
    }
    let data = data(door, asking, database, Shape::Whole, body).await?;
    let key = key(asking, &data.body)?;
    let id = match &key {
        Some(key) => {
            let (name, scope) = (database.name().to_string(), asking.caller.scope());
            keyed_id(&[name.as_bytes(), scope.as_str().as_bytes(), collection.as_str().as_bytes(), key.key.as_bytes()])
        }
        None => door.engine.fresh_id(),
    };
    let path = collection.doc(&id)?;
    let write = writes::set(path.clone(), data.written, Precondition::Exists(false))?;
    let committed =
        run(asking, database, CommitRequest { key, writes: vec![write], ..CommitRequest::default() }).await?;
    let mut response = written(asking, database, &path, &committed).await?;
    *response.status_mut() = StatusCode::CREATED;
    let location = format!("{}/{}", asking.path, encode_path(id.as_str()));
    let location = HeaderValue::try_from(location).map_err(|_| Problem::invalid("the address is not ASCII"))?;
    response.headers_mut().insert(header::LOCATION, location);
    Ok(response)
}

/// `PUT` and `PATCH`.
async fn put(
    asking: &Asking,
    database: &Database,
    data: Data,
    write: impl FnOnce(Written) -> Result<Write, hearth_core::write::WriteShapeError>,
) -> Result<Response, Problem> {
    let key = key(asking, &data.body)?;
    let write = write(data.written)?;
    let path = write.path().clone();
    let committed =
        run(asking, database, CommitRequest { key, writes: vec![write], ..CommitRequest::default() }).await?;
    written(asking, database, &path, &committed).await
}

async fn delete(asking: &Asking, database: &Database, path: DocPath) -> Result<Response, Problem> {
    asking.params.only(&[])?;
    let write = Write::build(path, Operation::Delete, condition(asking)?, Vec::new())?;
    let key = key(asking, b"")?;
    run(asking, database, CommitRequest { key, writes: vec![write], ..CommitRequest::default() }).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// `DELETE` with `?recursive`: for those who administer. It can be repeated as it is, so it has neither key nor condition.
async fn sweep(asking: &Asking, database: &Database, subtree: Subtree) -> Result<Response, Problem> {
    asking.params.only(&[&["recursive"]])?;
    for name in ["If-Match", "If-None-Match", "Idempotency-Key"] {
        if asking.headers.contains_key(name) {
            let detail = "a recursive delete has no condition and may be repeated as it is; leave the header out";
            return Err(Problem::invalid(detail).at(name));
        }
    }
    let authorized = database.authorize_subtree(&asking.caller, subtree)?;
    let deleted = database.delete_subtree(&authorized).await?;
    let body = json!({ "deleted": deleted.docs, "version": deleted.version.to_string() });
    Ok(([JSON], body.to_string()).into_response())
}

/// The document as the commit left it: `201` where the commit made it. Where it may not be read, or is no longer kept
/// as it was, its path and version.
async fn written(
    asking: &Asking,
    database: &Database,
    path: &DocPath,
    committed: &Committed,
) -> Result<Response, Problem> {
    let updated = committed.results.first().and_then(|result| result.updated).unwrap_or(committed.version);
    let found = match database.authorize_get(&asking.caller, path.clone()) {
        Ok(authorized) => match database.get(&authorized, Some(committed.version)).await {
            Ok(found) => found.document,
            Err(ReadError::Forgotten { .. } | ReadError::NotYet { .. }) => None,
            Err(error) => return Err(error.into()),
        },
        Err(_) => None,
    };
    let Some(document) = found else {
        let body = json!({ "path": path.as_str(), "updated": updated.to_string() });
        return Ok(([JSON, etag(updated)], body.to_string()).into_response());
    };
    let mut out = Vec::new();
    json::write_document(&mut out, &document, &document.fields, &Context::new(database.name()));
    let tag = HeaderValue::try_from(format!("\"{}\"", document_tag(Some(&document)))).expect("digits are ASCII");
    let status = if document.created == committed.version { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, [JSON, (header::ETAG, tag)], out).into_response())
}

fn etag(version: Version) -> (header::HeaderName, HeaderValue) {
    (header::ETAG, HeaderValue::try_from(format!("\"{version}\"")).expect("digits are ASCII"))
}
