//! Where import and export work: a data directory that nobody uses, or a running server.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{Method, StatusCode, header};
use bytes::Bytes;
use hearth_auth::Caller;
use hearth_core::query::{Cursor, Limit, Order, Query, QuerySpec, Source};
use hearth_core::size::document_bytes;
use hearth_core::write::{Operation, Precondition, Write};
use hearth_core::{CollectionPath, DatabaseName, Direction, DocPath, FieldPath, Id, Map, Reference, Value, Version};
use hearth_engine::{CommitError, CommitRequest, Database, Engine, TtlChange, TtlPolicy};
use hearth_native::json::{self, Context, to_fields, write_fields, write_text};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value as Json;

use crate::args::PlaceArgs;
use crate::config::Settings;
use crate::exit::Exit;
use crate::fetch::{Answer, Client, FetchError, Url, public_roots};
use crate::open;

/// The project that is meant in a data directory where none was named yet.
const PROJECT_DEFAULT: &str = "demo";
/// Bytes of one answer of a server.
const ANSWER_BYTES_MAX: usize = 256 << 20;
/// How long a server on this machine may take to say that it is there.
const PROBE_TIME_MAX: Duration = Duration::from_millis(500);
/// How often a server that is busy is asked again.
const TRIES_MAX: u32 = 5;
/// Documents of one page of an export.
const PAGE_DOCS: u32 = 200;

/// A document to be written.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub(crate) path: DocPath,
    pub(crate) fields: Map,
}

impl Item {
    /// Its size, as limits count it.
    pub(crate) fn bytes(&self) -> usize {
        document_bytes(&self.path, &self.fields)
    }
}

/// Why items were not written.
#[derive(Debug)]
pub(crate) enum PutError {
    /// Something about the items; one of them by itself might go.
    Refused(String),
    /// Nothing can be written now.
    Failed(String),
}

/// A database to read from and write to.
pub(crate) enum Place {
    Directory { engine: Engine, database: Database },
    Server(Box<Remote>),
}

/// A database of a running server.
pub(crate) struct Remote {
    server: Connection,
    /// The path of the database, such as `/p/demo/db`.
    base: String,
    /// The path of what expires in it, such as `/p/demo/ttl`.
    ttl: String,
    name: DatabaseName,
}

/// Where what a command is about is to be found.
pub(crate) enum Spot {
    /// A running server, and how its address was written.
    Server(Url, String),
    /// A data directory.
    Directory,
}

/// Finds what was named; where nothing was, the server that is configured if it answers, else the data directory.
pub(crate) async fn spot(server: Option<&str>, data: Option<&Path>, settings: &Settings) -> Result<Spot, Exit> {
    if let Some(text) = server {
        let url = Url::parse(text).map_err(|error| Exit::usage(format!("--server: {error}")))?;
        return Ok(Spot::Server(url, text.into()));
    }
    if data.is_none() {
        let mut listen = settings.listen;
        if listen.ip().is_unspecified() {
            listen.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
        }
        let text = format!("http{}://{listen}", if settings.tls.is_some() { "s" } else { "" });
        let url = Url::parse(&text).map_err(Exit::failed)?;
        if answers(&url).await {
            eprintln!("hearth: using the server that runs at {text}");
            return Ok(Spot::Server(url, text));
        }
        let folder = settings.data.display();
        eprintln!("hearth: no server runs at {}; using the data directory {folder}", settings.listen);
    }
    Ok(Spot::Directory)
}

/// What opening a place must know.
pub(crate) struct Wanted<'a> {
    pub(crate) args: &'a PlaceArgs,
    pub(crate) settings: &'a Settings,
    /// Whether the data directory may be made.
    pub(crate) create: bool,
}

impl Place {
    /// Opens what was named; where nothing was, the server that is configured if it answers, else the data directory.
    pub(crate) async fn open(wanted: Wanted<'_>) -> Result<Self, Exit> {
        let Wanted { args, settings, create } = wanted;
        match spot(args.server.as_deref(), args.data.as_deref(), settings).await? {
            Spot::Server(url, text) => {
                let remote = Remote::open(&url, &text, args, settings).await?;
                Ok(Self::Server(Box::new(remote)))
            }
            Spot::Directory => Self::directory(&settings.data, args, settings, create).await,
        }
    }

    async fn directory(folder: &Path, args: &PlaceArgs, settings: &Settings, create: bool) -> Result<Self, Exit> {
        if !create && !folder.join("CREATED").exists() {
            return Err(Exit::start(format!("{} is no data directory; name one with --data", folder.display())));
        }
        let engine = open::for_tools(folder, settings)?;
        let project = match settings.project.clone().or(engine.default_project()) {
            Some(project) => project,
            None if create => engine.claim_default_project(PROJECT_DEFAULT),
            None => PROJECT_DEFAULT.into(),
        };
        let name = DatabaseName::parse(&project, args.database.as_deref().unwrap_or(DatabaseName::DEFAULT));
        let name = name.map_err(Exit::usage)?;
        if !create && !engine.database_names().contains(&name) {
            let names: Vec<String> = engine.database_names().iter().map(ToString::to_string).collect();
            return Err(Exit::failed(format!(
                "there is no {name} in {}; it holds {}",
                folder.display(),
                names.join(", ")
            )));
        }
        let opening = engine.clone();
        let database = tokio::task::spawn_blocking(move || opening.database(&name)).await.map_err(Exit::start)?;
        Ok(Self::Directory { engine, database: database.map_err(Exit::start)? })
    }

    /// A database of an engine that is open anyway.
    pub(crate) fn of(engine: Engine, database: Database) -> Self {
        Self::Directory { engine, database }
    }

    /// The database.
    pub(crate) fn name(&self) -> &DatabaseName {
        match self {
            Self::Directory { database, .. } => database.name(),
            Self::Server(remote) => &remote.name,
        }
    }

    /// Sets documents, all or none.
    pub(crate) async fn put(&mut self, items: &[Item]) -> Result<(), PutError> {
        match self {
            Self::Directory { database, .. } => put_directly(database, items).await,
            Self::Server(remote) => remote.put(items).await,
        }
    }

    /// The documents behind `after`, in the order of their paths, at `at`; and at which version that is. Without a
    /// collection: all documents.
    pub(crate) async fn page(
        &mut self,
        collection: Option<&CollectionPath>,
        after: Option<&DocPath>,
        at: Option<Version>,
    ) -> Result<(Version, Vec<Item>), Exit> {
        match self {
            Self::Directory { database, .. } => page_directly(database, collection, after, at).await,
            Self::Server(remote) => remote.page(collection, after, at).await,
        }
    }

    /// What expires, by the names of collection groups; changed first where something is to be.
    pub(crate) async fn ttl(&mut self, change: Option<TtlChange>) -> Result<Vec<TtlPolicy>, Exit> {
        match self {
            Self::Directory { engine, database } => {
                let access = database.authorize_ttl(&Caller::Admin).map_err(Exit::failed)?;
                let Some(change) = change else { return Ok(database.ttl_policies(&access)) };
                let (engine, database) = (engine.clone(), database.clone());
                let changed = tokio::task::spawn_blocking(move || engine.change_ttl(&access, &database, &change));
                changed.await.map_err(Exit::failed)?.map_err(Exit::failed)
            }
            Self::Server(remote) => remote.ttl(change).await,
        }
    }

    /// Closes what was opened.
    pub(crate) async fn close(self) -> Result<(), Exit> {
        match self {
            Self::Directory { engine, .. } => {
                tokio::task::spawn_blocking(move || engine.close()).await.map_err(Exit::failed)
            }
            Self::Server(_) => Ok(()),
        }
    }
}

async fn put_directly(database: &Database, items: &[Item]) -> Result<(), PutError> {
    let write = |item: &Item| {
        let set = Operation::Set(item.fields.clone());
        Write::build(item.path.clone(), set, Precondition::None, Vec::new())
    };
    let writes: Result<Vec<Write>, _> = items.iter().map(write).collect();
    let writes = writes.map_err(|error| PutError::Refused(error.to_string()))?;
    let request = CommitRequest { writes, ..CommitRequest::default() };
    let request = database.authorize_commit(&Caller::Admin, request);
    let request = request.map_err(|error| PutError::Failed(error.to_string()))?;
    match database.commit(request).await {
        Ok(_) => Ok(()),
        Err(error) => Err(match error {
            CommitError::Refused(_) | CommitError::TooLarge { .. } | CommitError::TooManyWrites { .. } => {
                PutError::Refused(error.to_string())
            }
            CommitError::QueryMoved
            | CommitError::KeyReused { .. }
            | CommitError::Overloaded { .. }
            | CommitError::NotApplied { .. }
            | CommitError::Unknown { .. }
            | CommitError::ReadOnly { .. }
            | CommitError::Closed => PutError::Failed(error.to_string()),
        }),
    }
}

async fn page_directly(
    database: &Database,
    collection: Option<&CollectionPath>,
    after: Option<&DocPath>,
    at: Option<Version>,
) -> Result<(Version, Vec<Item>), Exit> {
    let source = collection.map_or(Source::Below(None), |collection| Source::Collection(collection.clone()));
    let reference =
        |path: &DocPath| Value::Reference(Reference { database: database.name().clone(), path: path.clone() });
    let query = Query::build(QuerySpec {
        orders: vec![Order { field: FieldPath::name(), direction: Direction::Ascending }],
        start: after.map(|path| Cursor { values: vec![reference(path)], before: false }),
        limit: Some(Limit::First(PAGE_DOCS)),
        ..QuerySpec::all(source)
    });
    let query = Arc::new(query.map_err(Exit::failed)?);
    let query = database.authorize_query(&Caller::Admin, query).map_err(Exit::failed)?;
    let answer = database.query(&query, at).await.map_err(Exit::failed)?;
    let item =
        |document: &Arc<hearth_core::Document>| Item { path: document.path.clone(), fields: document.fields.clone() };
    Ok((answer.version, answer.docs.iter().map(item).collect()))
}

/// Whether one of ours is there.
async fn answers(url: &Url) -> bool {
    let (health, roots) = (url.at("/health"), public_roots());
    let answer = tokio::time::timeout(PROBE_TIME_MAX, crate::fetch::get(&health, &roots, 1 << 10)).await;
    let Ok(Ok(answer)) = answer else { return false };
    serde_json::from_slice::<Json>(&answer.body).is_ok_and(|json| json.get("status").is_some())
}

/// A running server and what it is shown.
pub(crate) struct Connection {
    client: Client,
    url: Url,
    token: Option<String>,
}

impl Connection {
    /// Connects. Without a token the admin key is shown, if there is one.
    pub(crate) async fn open(url: &Url, token: Option<&String>, settings: &Settings) -> Result<Self, FetchError> {
        let client = Client::connect(url, &public_roots()).await?;
        let token = token.cloned().or_else(|| settings.admin_key.as_ref().map(|key| key.0.clone()));
        Ok(Self { client, url: url.clone(), token })
    }

    /// Asks, and again where the server is busy. The error is what the server says.
    pub(crate) async fn ask(&mut self, method: Method, path: &str, body: Bytes) -> Result<Json, String> {
        self.try_ask(method, path, body).await.map_err(|refused| refused.detail)
    }

    pub(crate) async fn try_ask(&mut self, method: Method, path: &str, body: Bytes) -> Result<Json, Refused> {
        let answer = self.send(method, path, body, None).await?;
        serde_json::from_slice(&answer.body).map_err(|error| Refused::of(format!("the answer is not JSON: {error}")))
    }

    /// Gets what stands at a path into a file, which is made or replaced.
    pub(crate) async fn download(&mut self, path: &str, file: &Path) -> Result<(), Refused> {
        self.send(Method::GET, path, Bytes::new(), Some(file)).await.map(drop)
    }

    async fn send(&mut self, method: Method, path: &str, body: Bytes, to: Option<&Path>) -> Result<Answer, Refused> {
        let mut headers = vec![
            (header::ACCEPT, "application/json".to_string()),
            (header::CONTENT_TYPE, "application/json".to_string()),
        ];
        headers.extend(self.token.as_ref().map(|token| (header::AUTHORIZATION, format!("Bearer {token}"))));
        for tries_left in (0..TRIES_MAX).rev() {
            // It was idle for long, and the server has other connections to keep.
            if self.client.is_closed() {
                let connected = Client::connect(&self.url, &public_roots()).await;
                self.client = connected.map_err(|error| Refused::of(error.to_string()))?;
            }
            let sent = match to {
                None => self.client.send(method.clone(), path, &headers, body.clone(), ANSWER_BYTES_MAX).await,
                Some(file) => self.client.download(path, &headers, file).await,
            };
            let answer = sent.map_err(|error| Refused::of(error.to_string()))?;
            if answer.status.is_success() {
                return Ok(answer);
            }
            let is_busy = matches!(answer.status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
            if is_busy && tries_left > 0 {
                let after = answer.headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
                tokio::time::sleep(Duration::from_secs(after.unwrap_or(1).min(30))).await;
                continue;
            }
            let problem: Json = serde_json::from_slice(&answer.body).unwrap_or_default();
            let said = |member: &str| problem.get(member).and_then(Json::as_str);
            let hint = match answer.status {
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                    "; show the admin key with --token or HEARTH_ADMIN_KEY"
                }
                _ => "",
            };
            let (number, detail) = (answer.status.as_u16(), said("detail").unwrap_or("no more is said"));
            return Err(Refused {
                status: Some(answer.status),
                code: said("code").unwrap_or_default().into(),
                detail: format!("the server says {number}: {detail}{hint}"),
            });
        }
        Err(Refused::of("the server is busy".into()))
    }
}

/// Why a server did not do what it was asked.
#[derive(Clone, Debug)]
pub(crate) struct Refused {
    /// None where it was not the server that said so.
    pub(crate) status: Option<StatusCode>,
    /// The name of what is wrong, of the server.
    pub(crate) code: String,
    pub(crate) detail: String,
}

impl Refused {
    fn of(detail: String) -> Self {
        Self { status: None, code: String::new(), detail }
    }
}

impl Remote {
    async fn open(url: &Url, text: &str, args: &PlaceArgs, settings: &Settings) -> Result<Self, Exit> {
        let server = Connection::open(url, args.token.as_ref(), settings).await;
        let server = server.map_err(|error| Exit::failed(format!("the server at {text}: {error}")))?;
        let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let project = args.project.as_ref().map_or(String::new(), |project| format!("/p/{}", encode(project)));
        let database = args.database.as_ref().map_or(String::new(), |name| format!("@{}", encode(name)));
        let name = DatabaseName::parse(PROJECT_DEFAULT, DatabaseName::DEFAULT).map_err(Exit::failed)?;
        let at = |what: &str| format!("{}{project}/{what}{database}", url.base());
        let mut remote = Self { server, base: at("db"), ttl: at("ttl"), name };
        let answer = remote.server.ask(Method::GET, &remote.base, Bytes::new()).await.map_err(Exit::failed)?;
        let name = |member: &str| answer.get(member).and_then(Json::as_str).unwrap_or_default();
        remote.name = DatabaseName::parse(name("project"), name("database"))
            .map_err(|_| Exit::failed(format!("what answers at {text} is no hearth")))?;
        Ok(remote)
    }

    async fn put(&mut self, items: &[Item]) -> Result<(), PutError> {
        let context = Context::new(&self.name);
        let mut body = b"{\"writes\":[".to_vec();
        for (index, item) in items.iter().enumerate() {
            body.extend_from_slice(if index > 0 { b",{\"set\":" } else { b"{\"set\":" });
            write_text(&mut body, item.path.as_str());
            body.extend_from_slice(b",\"data\":");
            write_fields(&mut body, &item.fields, &context);
            body.push(b'}');
        }
        body.extend_from_slice(b"]}");
        let asked = self.server.try_ask(Method::POST, &self.base, body.into()).await;
        asked.map(|_| ()).map_err(|refused| match refused.status {
            Some(StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE | StatusCode::CONFLICT) => {
                PutError::Refused(refused.detail)
            }
            _ => PutError::Failed(refused.detail),
        })
    }

    async fn ttl(&mut self, change: Option<TtlChange>) -> Result<Vec<TtlPolicy>, Exit> {
        let encode = |group: &Id| format!("{}/{}", self.ttl, utf8_percent_encode(group.as_str(), NON_ALPHANUMERIC));
        let (method, path, body) = match &change {
            None => (Method::GET, self.ttl.clone(), Bytes::new()),
            Some(TtlChange::Remove(group)) => (Method::DELETE, encode(group), Bytes::new()),
            Some(TtlChange::Set(TtlPolicy { group, field })) => {
                let body = serde_json::json!({ "field": field.to_string() });
                (Method::PUT, encode(group), body.to_string().into())
            }
        };
        let answer = self.server.ask(method, &path, body).await.map_err(Exit::failed)?;
        let strange = || Exit::failed("the server's answer holds no policies");
        let policy = |policy: &Json| {
            let member = |name: &str| policy.get(name).and_then(Json::as_str);
            let (group, field) = (Id::parse(member("group")?).ok()?, FieldPath::parse(member("field")?).ok()?);
            Some(TtlPolicy { group, field })
        };
        let policies = answer.get("policies").and_then(Json::as_array).ok_or_else(strange)?;
        policies.iter().map(policy).collect::<Option<_>>().ok_or_else(strange)
    }

    async fn page(
        &mut self,
        collection: Option<&CollectionPath>,
        after: Option<&DocPath>,
        at: Option<Version>,
    ) -> Result<(Version, Vec<Item>), Exit> {
        let encode = |text: &str| format!("/{}", utf8_percent_encode(text, NON_ALPHANUMERIC));
        let segments: String = collection.map(|path| path.segments().map(encode).collect()).unwrap_or_default();
        let at = at.map_or(String::new(), |at| format!("?at={at}"));
        let mut query = serde_json::json!({ "orderBy": [["__name__", "asc"]], "limit": PAGE_DOCS });
        if let Some(after) = after {
            query["startAfter"] = serde_json::json!([{ "$ref": after.as_str() }]);
        }
        let (path, body) = (format!("{}{segments}/~query{at}", self.base), query.to_string());
        let answer = self.server.ask(Method::POST, &path, body.into()).await.map_err(Exit::failed)?;
        let context = Context::new(&self.name);
        let strange = || Exit::failed("the server's answer is no result");
        let version = answer.get("version").and_then(Json::as_str).and_then(|text| text.parse().ok());
        let version = version.map(Version::from_micros);
        let docs = answer.get("docs").and_then(Json::as_array).ok_or_else(strange)?;
        let item = |doc: &Json| {
            let path = doc.get("path").and_then(Json::as_str).and_then(|path| DocPath::parse(path).ok());
            let fields = doc.get("data").and_then(|data| to_fields(data, &context).ok());
            Some(Item { path: path?, fields: fields? })
        };
        let items: Option<Vec<Item>> = docs.iter().map(item).collect();
        Ok((version.ok_or_else(strange)?, items.ok_or_else(strange)?))
    }
}

/// Writes a document as `{"path": …, "data": …}`.
pub(crate) fn write_item(out: &mut Vec<u8>, item: &Item, context: &json::Context<'_>) {
    out.extend_from_slice(b"{\"path\":");
    write_text(out, item.path.as_str());
    out.extend_from_slice(b",\"data\":");
    write_fields(out, &item.fields, context);
    out.push(b'}');
}
