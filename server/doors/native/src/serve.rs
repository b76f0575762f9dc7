//! The door itself: from a request of HTTP to the right answer, and back out with the headers that every answer bears.
//!
//! It holds bodies, sockets and waits, and decides nothing that the pure files beside it could.

mod backup;
mod body;
mod feed;
mod files;
mod read;
mod route;
mod since;
mod stream;
#[cfg(test)]
mod tests;
mod ttl;
mod write;

use std::borrow::Cow;
use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use hearth_auth::{Caller, Gate, Mode, Pass, Tickets, TokenError};
use hearth_core::DatabaseName;
use hearth_engine::metrics::Answered;
use hearth_engine::{Access, Database, Denied, Engine, SignedIn, ids};
use serde_json::{Value as Json, json};
use tokio::sync::{Notify, Semaphore, watch};

pub use route::{Route, routes};
pub use ttl::ttl_json;

use crate::address::{Address, Place, Scope};
use crate::json::Context;
use crate::links::{self, Links};
use crate::origin::Origins;
use crate::page;
use crate::params::Params;
use crate::problem::{Code, Problem};
use crate::respond::Form;
use crate::{drive, socket};

/// The project that `/db` means in dev as long as nobody has named another.
const PROJECT_DEFAULT: &str = "demo";
/// Longest request id that is taken over from the client, in characters.
const REQUEST_ID_CHARACTERS_MAX: usize = 64;
/// What pages of other origins may read of an answer.
const EXPOSED: &str = "ETag, Location, Link, Preference-Applied, Retry-After, X-Request-Id";
/// What pages of other origins may send.
const SENDABLE: &str =
    "Authorization, Content-Type, If-Match, If-None-Match, Idempotency-Key, Last-Event-ID, Prefer, X-Request-Id";
/// How long a browser may remember that. Source: Chromium's upper bound, two hours.
const PREFLIGHT_SECONDS: &str = "7200";
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Turns what a request shows into its caller.
pub trait Authenticate: Send + Sync {
    /// The caller behind a credential; without one, [`Caller::Anonymous`].
    fn caller(&self, mode: Mode, credential: Option<&str>, now_seconds: u64) -> Result<Caller, TokenError>;
}

impl Authenticate for Gate {
    fn caller(&self, mode: Mode, credential: Option<&str>, now_seconds: u64) -> Result<Caller, TokenError> {
        self.admit(mode, credential, now_seconds)
    }
}

/// A file that ships with the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asset {
    /// What it holds.
    pub bytes: Cow<'static, [u8]>,
    /// Its media type.
    pub media_type: &'static str,
}

/// How a peer of a dev server is treated where it is not the machine itself: put into a request's extensions by
/// whoever accepts connections. Without it the door's own mode holds.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub Mode);

/// What a door is made of.
pub struct DoorOptions {
    /// The engine.
    pub engine: Engine,
    /// Who proves callers.
    pub gate: Arc<dyn Authenticate>,
    /// How much is believed and allowed without authority.
    pub mode: Mode,
    /// Which pages may call.
    pub origins: Origins,
    /// The files under `/sdk/…` and `/demo/…`, by names such as `sdk/hearth.js`.
    pub files: fn(&str) -> Option<Asset>,
    /// The book of tickets.
    pub tickets: Tickets,
    /// Whether `/metrics` is for everybody, in serve too.
    pub metrics_open: bool,
}

/// The native door. Shared by all its connections.
pub struct Door {
    engine: Engine,
    gate: Arc<dyn Authenticate>,
    mode: Mode,
    origins: Origins,
    files: fn(&str) -> Option<Asset>,
    // Held to issue, open or close one ticket.
    tickets: Mutex<Tickets>,
    metrics_open: bool,
    links: Links,
    /// Files of backups that may be handed out beside those that are.
    downloads: Arc<Semaphore>,
    /// Streams opened by ticket, to be ended when another opening takes over.
    passes: Mutex<HashMap<Pass, Arc<Notify>>>,
    stopping: watch::Sender<bool>,
}

impl Door {
    /// A door before the engine.
    pub fn new(options: DoorOptions) -> Arc<Self> {
        let DoorOptions { engine, gate, mode, origins, files, tickets, metrics_open } = options;
        let links = Links::new(&engine);
        Arc::new(Self {
            engine,
            gate,
            mode,
            origins,
            files,
            tickets: Mutex::new(tickets),
            metrics_open,
            links,
            downloads: Arc::new(Semaphore::new(backup::DOWNLOADS_MAX)),
            passes: Mutex::default(),
            stopping: watch::Sender::new(false),
        })
    }

    /// Ends everything that is held open: streams say why, long polls are answered. New requests are still answered.
    pub fn stop(&self) {
        self.stopping.send_replace(true);
    }

    /// Returns when the door stops.
    pub(crate) async fn stopped(&self) {
        // An error means that the door is gone, which is as good as stopped.
        let _ = self.stopping.subscribe().wait_for(|stopping| *stopping).await;
    }

    pub(crate) fn now_seconds(&self) -> u64 {
        self.engine.clock().micros() / 1_000_000
    }

    fn tickets(&self) -> MutexGuard<'_, Tickets> {
        self.tickets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn passes(&self) -> MutexGuard<'_, HashMap<Pass, Arc<Notify>>> {
        self.passes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_dev(&self) -> bool {
        self.mode == Mode::Dev
    }

    /// The full name of a database, where `/db` may mean the default project.
    fn name(&self, scope: &Scope, is_write: bool) -> Result<DatabaseName, Problem> {
        let project = match (&scope.project, self.engine.default_project()) {
            (Some(project), _) => {
                scope.name(project)?;
                // The first project that a client names becomes the one that `/db` means.
                if self.is_dev() {
                    self.engine.claim_default_project(project);
                }
                project.clone()
            }
            (None, Some(default)) => default,
            (None, None) if self.is_dev() && is_write => self.engine.claim_default_project(PROJECT_DEFAULT),
            (None, None) if self.is_dev() => PROJECT_DEFAULT.into(),
            (None, None) => {
                let detail = "this server has no default project; name one as in /p/PROJECT/db";
                return Err(Problem::new(Code::NotFound, detail));
            }
        };
        Ok(scope.name(&project)?)
    }

    /// Opens a database, on a thread that may block where it is not open yet.
    async fn database(&self, name: DatabaseName) -> Result<Database, Problem> {
        let engine = self.engine.clone();
        if engine.is_open(&name) {
            return Ok(engine.database(&name)?);
        }
        match tokio::task::spawn_blocking(move || engine.database(&name)).await {
            Ok(database) => Ok(database?),
            Err(_) => Err(Problem::new(Code::Internal, "the database could not be opened")),
        }
    }

    fn setting(self: &Arc<Self>, database: Database, mode: Mode) -> drive::Setting {
        let door = self.clone();
        let admit = move |credential: &str| Ok(door.gate.caller(mode, Some(credential), door.now_seconds())?);
        let stopping = self.stopping.subscribe();
        drive::Setting { engine: self.engine.clone(), database, admit: Arc::new(admit), stopping }
    }
}

/// Everything of the native API, at the addresses of `docs/`. Whoever binds the port adds nothing.
pub fn router(door: Arc<Door>) -> Router {
    Router::new().fallback(move |request: Request| {
        let door = door.clone();
        async move { answer(&door, request).await }
    })
}

/// A request, as far as it is understood before anything is asked of the engine.
struct Asking {
    request_id: String,
    method: Method,
    /// The path as it came, for what is to be found beside it.
    path: String,
    params: Params,
    headers: HeaderMap,
    mode: Mode,
    caller: Caller,
    ticket: Option<Ticketed>,
}

/// What a ticket gave beside the caller. Dropping it says that its stream has ended.
struct Ticketed {
    door: Arc<Door>,
    pass: Pass,
    expires_seconds: u64,
    /// Another opening of the same ticket has taken over.
    taken_over: Arc<Notify>,
}

impl Drop for Ticketed {
    fn drop(&mut self) {
        self.door.passes().remove(&self.pass);
        self.door.tickets().closed(self.pass);
    }
}

impl Asking {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    fn form(&self) -> Form {
        Form::accepted(self.header("accept"))
    }

    fn is_head(&self) -> bool {
        self.method == Method::HEAD
    }
}

async fn answer(door: &Arc<Door>, request: Request) -> Response {
    let (mut parts, body) = request.into_parts();
    let given = parts.headers.get(&REQUEST_ID).and_then(|value| value.to_str().ok());
    let request_id = given.filter(|id| is_sane(id)).map_or_else(|| ids::fresh_id().to_string(), ToOwned::to_owned);
    let origin = parts.headers.get(header::ORIGIN).and_then(|value| value.to_str().ok()).map(ToOwned::to_owned);
    let host = host(&parts).map(ToOwned::to_owned);
    let (method, path) = (parts.method.clone(), parts.uri.path().to_owned());
    let is_shared =
        Address::parse(&path, method == Method::POST).ok().flatten().is_none_or(|address| route::of(&address).shared);

    let mut response = match understand(door, &mut parts, body, &request_id).await {
        Ok(response) => response,
        Err(problem) => problem.into_response(),
    };
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        *response.body_mut() = problem.to_json(Some(&request_id)).to_string().into();
        if problem.code == Code::Internal || problem.code == Code::DataLoss {
            tracing::error!(request = request_id, detail = problem.detail, "a request failed");
        }
    }
    let status = response.status();
    let metrics = door.engine.metrics();
    metrics.http_requests.get_or_create(&Answered { status: status.as_u16() }).inc();
    // Without the query of the address: tickets stand in there, and what people look for.
    tracing::debug!(request = request_id, %method, path, status = status.as_u16(), "answered");
    let headers = response.headers_mut();
    headers.insert(REQUEST_ID, HeaderValue::try_from(request_id).expect("a sane id consists of letters and digits"));
    if status != StatusCode::SWITCHING_PROTOCOLS {
        headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
        headers.entry(header::VARY).or_insert(HeaderValue::from_static("Origin"));
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    }
    // On every status, or a page could not tell a refusal from a dead network.
    let allowed =
        origin.as_deref().filter(|_| is_shared).and_then(|origin| door.origins.allow(host.as_deref(), origin));
    if let Some(allowed) = allowed.and_then(|origin| HeaderValue::try_from(origin).ok()) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
    }
    match status {
        // A length would be taken for that of what was not sent (RFC 9110 §8.6); of this body nobody knows it.
        StatusCode::NOT_MODIFIED => {
            response.map(|_| Body::from_stream(futures_util::stream::empty::<Result<Bytes, Infallible>>()))
        }
        _ if method == Method::HEAD => without_body(response),
        _ => response,
    }
}

/// The answer to `HEAD`: the headers of the answer to `GET`. A long body is not made for its length.
fn without_body(response: Response) -> Response {
    let (mut parts, body) = response.into_parts();
    if let Some(length) = axum::body::HttpBody::size_hint(&body).exact() {
        parts.headers.entry(header::CONTENT_LENGTH).or_insert(HeaderValue::from(length));
    }
    Response::from_parts(parts, Body::empty())
}

fn is_sane(id: &str) -> bool {
    (1..=REQUEST_ID_CHARACTERS_MAX).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

/// The host that was asked for: of the header, or in HTTP/2 of the address.
fn host(parts: &Parts) -> Option<&str> {
    match parts.headers.get(header::HOST) {
        Some(host) => host.to_str().ok(),
        None => parts.uri.authority().map(axum::http::uri::Authority::as_str),
    }
}

async fn understand(door: &Arc<Door>, parts: &mut Parts, body: Body, request_id: &str) -> Result<Response, Problem> {
    let address_text = parts.uri.path_and_query().map_or("/", |text| text.as_str()).to_owned();
    let limit = door.engine.limits().url_bytes_max;
    if address_text.len() > limit {
        let detail = format!("an address of {} bytes is over the limit of {limit}", address_text.len());
        return Err(Problem::over(StatusCode::URI_TOO_LONG, "url_bytes_max", limit as u64, detail));
    }
    // RFC 9112 §3.2. Whoever reads the other of two would be told of a name that nobody has checked.
    if parts.headers.get_all(header::HOST).iter().nth(1).is_some() {
        return Err(Problem::invalid("a request names one host").at("Host"));
    }
    let origin = parts.headers.get(header::ORIGIN).map(|value| value.to_str().unwrap_or("?"));
    door.origins.check(host(parts), origin)?;

    let method = parts.method.clone();
    let asks_for_post = parts.headers.get(header::ACCESS_CONTROL_REQUEST_METHOD).is_some_and(|asked| asked == "POST");
    let is_post = method == Method::POST || (method == Method::OPTIONS && asks_for_post);
    let address = Address::parse(parts.uri.path(), is_post);
    if method == Method::OPTIONS {
        let is_recursive = Params::parse(parts.uri.query().unwrap_or(""))?.flag("recursive")?;
        return options(address?, is_recursive, &parts.headers);
    }

    let mode = parts.extensions.get::<Peer>().map_or(door.mode, |peer| peer.0);
    let path = parts.uri.path().to_owned();
    let params = Params::parse(parts.uri.query().unwrap_or(""))?;
    let mut asking = Asking {
        request_id: request_id.into(),
        method,
        path,
        params,
        headers: parts.headers.clone(),
        mode,
        caller: Caller::Anonymous,
        ticket: None,
    };
    let upgrades = asking.header("upgrade").is_some_and(|upgrade| upgrade.eq_ignore_ascii_case("websocket"));
    prove(door, &mut asking, &address_text)?;
    // Without authority nothing is learned, not even which addresses there are.
    let is_open = match &address {
        Ok(Some(address)) if route::of(address).open => true,
        Ok(Some(Address::File(_))) => door.is_dev() || grants_something(door.engine.access()),
        Ok(Some(Address::Metrics)) => door.metrics_open,
        // The token of a WebSocket comes as its first message; until then the engine refuses its session everything,
        // unless it is open to all and only the peer is not trusted.
        Ok(Some(Address::Data(_, Place::Database))) => upgrades && !is_exposed(door, &asking),
        // Its token may come as a subprotocol, and is judged before anything else is.
        Ok(Some(Address::Feed(_))) => upgrades && socket::offers_token(&parts.headers),
        _ => false,
    };
    if !is_open {
        admit(door, &asking)?;
    }
    let Some(address) = address? else {
        let detail = format!("there is nothing at {}; data is below /db", asking.path);
        return Err(Problem::new(Code::NotFound, detail));
    };
    let route = route::with(&address, asking.params.flag("recursive")?);
    if !route.takes(&asking.method) {
        let mut detail = format!("{} does not take {}", route.pattern, asking.method);
        if asking.method == Method::DELETE && matches!(address, Address::Data(_, Place::Collection(_))) {
            detail.push_str("; with ?recursive it deletes all documents and everything below them");
        }
        let problem = Problem::new(Code::Unimplemented, detail);
        let allow = HeaderValue::try_from(route.allow()).expect("methods are ASCII");
        return Err(problem.status(StatusCode::METHOD_NOT_ALLOWED).header(header::ALLOW, allow));
    }
    let is_write = !matches!(asking.method, Method::GET | Method::HEAD) && !matches!(address, Address::Query(..));

    match address {
        Address::Root => files::root(&asking),
        Address::Health => files::health(door, &asking),
        Address::Metrics => files::metrics(door, &asking),
        Address::File(name) => files::file(door, &asking, &name),
        Address::Tickets => ticket(door, &asking, body).await,
        Address::Data(scope, Place::Database) if upgrades => {
            let database = door.database(door.name(&scope, false)?).await?;
            socket::upgrade(door.setting(database, mode), asking.caller, parts).await
        }
        Address::Data(scope, place) => {
            let name = door.name(&scope, is_write)?;
            if asking.form() == Form::Page && matches!(asking.method, Method::GET | Method::HEAD) {
                return Ok(files::html(page::live(&place, &name)));
            }
            let database = door.database(name).await?;
            if is_write {
                write::answer(door, &asking, database, place, body).await
            } else {
                read::answer(door, asking, database, place).await
            }
        }
        Address::Query(scope, place) => {
            let database = door.database(door.name(&scope, false)?).await?;
            let body = body::json_body(door, &asking, body).await?;
            let context = Context { database: database.name(), literal: asking.params.flag("literal")? };
            let asked = crate::query_json::parse_body(&place, &body, &context)?;
            read::answer_query(door, asking, database, place, asked).await
        }
        Address::Feed(scope) if upgrades => feed::upgrade(door, asking, &scope, parts).await,
        Address::Feed(scope) => {
            let database = door.database(door.name(&scope, false)?).await?;
            feed::answer(door, asking, database).await
        }
        Address::Ttl(scope, group) => {
            let database = door.database(door.name(&scope, is_write)?).await?;
            ttl::answer(door, &asking, database, group, body).await
        }
        Address::Backups => backup::list(door, &asking),
        Address::Backup(scope, part) => {
            // One that is not there is not made.
            let name = scope.name(scope.project.as_deref().unwrap_or_default())?;
            if !door.engine.database_names().contains(&name) {
                let detail = format!("there is no database {} in project {}", name.database(), name.project());
                return Err(Problem::new(Code::NotFound, detail));
            }
            let database = door.database(name).await?;
            backup::answer(door, &asking, database, part).await
        }
        Address::Links(scope, id) => {
            let name = door.name(&scope, false)?;
            match id {
                None => {
                    let body = body::body_bytes(door, body).await?;
                    let setting = door.setting(door.database(name).await?, mode);
                    links::open(&door.links, setting, asking.caller, &asking.path, &asking.headers, &body)
                }
                Some(id) if asking.method == Method::DELETE => {
                    links::end(&door.links, &name, &asking.caller, &id).await
                }
                Some(id) => {
                    let body = body::body_bytes(door, body).await?;
                    links::send(&door.links, &name, &asking.caller, &id, &asking.headers, &body).await
                }
            }
        }
    }
}

/// Finds out who asks: by ticket, by header, or nobody in particular.
fn prove(door: &Arc<Door>, asking: &mut Asking, address: &str) -> Result<(), Problem> {
    if asking.params.one("ticket")?.is_some() {
        let streams = asking.method == Method::GET && asking.form() == Form::Events;
        let Some((address, ticket)) = hearth_auth::ticket::split(address).filter(|_| streams) else {
            let detail = "a ticket opens event streams only; send GET with Accept: text/event-stream";
            return Err(Problem::invalid(detail).at("ticket"));
        };
        let opened = door.tickets().open(ticket, &address, door.now_seconds())?;
        if let Some(other) = opened.ends.and_then(|pass| door.passes().remove(&pass)) {
            other.notify_one();
        }
        let taken_over = Arc::new(Notify::new());
        door.passes().insert(opened.pass, taken_over.clone());
        let (pass, expires_seconds) = (opened.pass, opened.expires_seconds);
        asking.caller = opened.caller;
        asking.ticket = Some(Ticketed { door: door.clone(), pass, expires_seconds, taken_over });
        return Ok(());
    }
    let credential = match asking.headers.get(header::AUTHORIZATION) {
        None => None,
        Some(value) => Some(hearth_auth::gate::credential(value.to_str().map_err(|_| TokenError::Malformed)?)?),
    };
    asking.caller = door.gate.caller(asking.mode, credential, door.now_seconds())?;
    Ok(())
}

/// Refuses those who have no authority at all. What the others may is the engine's to say.
fn admit(door: &Door, asking: &Asking) -> Result<(), Problem> {
    let is_exposed = is_exposed(door, asking);
    match &asking.caller {
        Caller::Anonymous if is_exposed || door.engine.access() != Access::Open => Err(Denied::SignIn.into()),
        Caller::User(_) if is_exposed => Err(Denied::Forbidden.into()),
        Caller::User(_) if !grants_something(door.engine.access()) => Err(Denied::Forbidden.into()),
        Caller::Anonymous | Caller::User(_) | Caller::Admin => Ok(()),
    }
}

/// Whether a peer from elsewhere asks a dev server: of its open access it gets nothing, only the key counts.
fn is_exposed(door: &Door, asking: &Asking) -> bool {
    asking.mode == Mode::Serve && door.engine.access() == Access::Open
}

fn grants_something(access: Access) -> bool {
    match access {
        Access::Open => true,
        Access::Closed { signed_in } => signed_in != SignedIn::Nothing,
    }
}

/// The answer to `OPTIONS`: what there is, and for a browser what it may do.
fn options(address: Option<Address>, is_recursive: bool, headers: &HeaderMap) -> Result<Response, Problem> {
    let route = address.as_ref().map(|address| route::with(address, is_recursive));
    let Some(route) = route else {
        return Err(Problem::new(Code::NotFound, "there is nothing at this address; data is below /db"));
    };
    let mut response = StatusCode::NO_CONTENT.into_response();
    let allow = HeaderValue::try_from(route.allow()).expect("methods are ASCII");
    response.headers_mut().insert(header::ALLOW, allow.clone());
    if route.shared && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD) {
        let answer = response.headers_mut();
        answer.insert(header::ACCESS_CONTROL_ALLOW_METHODS, allow);
        answer.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(SENDABLE));
        answer.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(PREFLIGHT_SECONDS));
    }
    Ok(response)
}

async fn ticket(door: &Arc<Door>, asking: &Asking, body: Body) -> Result<Response, Problem> {
    asking.params.only(&[])?;
    let body = body::json_body(door, asking, body).await?;
    let address = match body.as_object().map(|object| (object.get("for"), object.len())) {
        Some((Some(Json::String(address)), 1)) => address,
        _ => return Err(Problem::invalid("{\"for\": address} is expected")),
    };
    let issued = door.tickets().issue(ids::random(), door.now_seconds(), address, &asking.caller)?;
    let answer = json!({
        "ticket": issued.text,
        "opens_before": issued.opens_before_seconds,
        "expires": issued.expires_seconds,
    });
    Ok((StatusCode::CREATED, [JSON], answer.to_string()).into_response())
}

const JSON: (HeaderName, HeaderValue) = (header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
