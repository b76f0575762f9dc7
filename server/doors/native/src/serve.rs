//! The door itself: from a request of HTTP to the right answer, and back out with the headers that every answer bears.
//!
//! It holds bodies, sockets and waits, and decides nothing that the pure files beside it could.

mod feed;
mod read;
mod route;
mod stream;
#[cfg(test)]
mod tests;
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
use tokio::sync::{Notify, watch};

pub use route::{Route, routes};

use crate::address::{Address, Place, Scope};
use crate::json::{self, Context};
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

/// What a ticket gave beside the caller.
struct Ticketed {
    pass: Pass,
    expires_seconds: u64,
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
    let is_head = parts.method == Method::HEAD;
    let is_shared = Address::parse(parts.uri.path(), parts.method == Method::POST)
        .ok()
        .flatten()
        .is_none_or(|address| route::of(&address).shared);

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
        _ if is_head => without_body(response),
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
    let origin = parts.headers.get(header::ORIGIN).map(|value| value.to_str().unwrap_or("?"));
    door.origins.check(host(parts), origin)?;

    let method = parts.method.clone();
    let asks_for_post = parts.headers.get(header::ACCESS_CONTROL_REQUEST_METHOD).is_some_and(|asked| asked == "POST");
    let is_post = method == Method::POST || (method == Method::OPTIONS && asks_for_post);
    let address = Address::parse(parts.uri.path(), is_post);
    if method == Method::OPTIONS {
        return options(address?, &parts.headers);
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
        _ => false,
    };
    if !is_open {
        admit(door, &asking)?;
    }
    let Some(address) = address? else {
        let detail = format!("there is nothing at {}; data is below /db", asking.path);
        return Err(Problem::new(Code::NotFound, detail));
    };
    let route = route::of(&address);
    if !route.takes(&asking.method) {
        let problem = Problem::new(Code::Unimplemented, format!("{} does not take {}", route.pattern, asking.method));
        let allow = HeaderValue::try_from(route.allow()).expect("methods are ASCII");
        return Err(problem.status(StatusCode::METHOD_NOT_ALLOWED).header(header::ALLOW, allow));
    }
    if asking.ticket.is_some() && asking.form() != Form::Events {
        return Err(Problem::invalid("a ticket opens event streams only; send Accept: text/event-stream").at("ticket"));
    }
    let is_write = !matches!(asking.method, Method::GET | Method::HEAD) && !matches!(address, Address::Query(..));

    match address {
        Address::Root => root(&asking),
        Address::Health => Ok(health(door)),
        Address::Metrics => metrics(door, &asking),
        Address::File(name) => file(door, &asking, &name),
        Address::Tickets => ticket(door, &asking, body).await,
        Address::Data(scope, Place::Database) if upgrades => {
            let database = door.database(door.name(&scope, false)?).await?;
            socket::upgrade(door.setting(database, mode), asking.caller, parts).await
        }
        Address::Data(scope, place) => {
            let name = door.name(&scope, is_write)?;
            if asking.form() == Form::Page && matches!(asking.method, Method::GET | Method::HEAD) {
                return Ok(html(page::live(&place, &name)));
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
            let body = json_body(door, &asking, body).await?;
            let context = Context { database: database.name(), literal: asking.params.flag("literal")? };
            let asked = crate::query_json::parse_body(&place, &body, &context)?;
            read::answer_query(door, asking, database, place, asked).await
        }
        Address::Feed(scope) => {
            let database = door.database(door.name(&scope, false)?).await?;
            feed::answer(door, asking, database).await
        }
        Address::Links(scope, id) => {
            let name = door.name(&scope, false)?;
            match id {
                None => {
                    let body = body_bytes(door, body).await?;
                    let setting = door.setting(door.database(name).await?, mode);
                    links::open(&door.links, setting, asking.caller, &asking.path, &asking.headers, &body)
                }
                Some(id) if asking.method == Method::DELETE => {
                    links::end(&door.links, &name, &asking.caller, &id).await
                }
                Some(id) => {
                    let body = body_bytes(door, body).await?;
                    links::send(&door.links, &name, &asking.caller, &id, &asking.headers, &body).await
                }
            }
        }
    }
}

/// Finds out who asks: by ticket, by header, or nobody in particular.
fn prove(door: &Arc<Door>, asking: &mut Asking, address: &str) -> Result<(), Problem> {
    if asking.params.one("ticket")?.is_some() {
        let reads = matches!(asking.method, Method::GET | Method::HEAD);
        let Some((address, ticket)) = hearth_auth::ticket::split(address).filter(|_| reads) else {
            return Err(Problem::invalid("a ticket opens event streams only").at("ticket"));
        };
        let opened = door.tickets().open(ticket, &address, door.now_seconds())?;
        if let Some(other) = opened.ends.and_then(|pass| door.passes().remove(&pass)) {
            other.notify_one();
        }
        asking.caller = opened.caller;
        asking.ticket = Some(Ticketed { pass: opened.pass, expires_seconds: opened.expires_seconds });
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
fn options(address: Option<Address>, headers: &HeaderMap) -> Result<Response, Problem> {
    let route = address.as_ref().map(route::of);
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

fn root(asking: &Asking) -> Result<Response, Problem> {
    asking.params.only(&[])?;
    match asking.form() {
        Form::Page => Ok(html(page::welcome().into())),
        Form::Json | Form::Lines | Form::Events => {
            Ok(([(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"))], "Ok").into_response())
        }
    }
}

fn health(door: &Door) -> Response {
    let stopping = *door.stopping.borrow();
    let (code, status) = match () {
        () if stopping => (StatusCode::SERVICE_UNAVAILABLE, "stopping"),
        () if !door.engine.read_only().is_empty() => (StatusCode::OK, "read-only"),
        () => (StatusCode::OK, "serving"),
    };
    let body = json!({ "status": status, "version": env!("CARGO_PKG_VERSION") });
    (code, [JSON], body.to_string()).into_response()
}

fn metrics(door: &Door, asking: &Asking) -> Result<Response, Problem> {
    if !door.metrics_open && !door.is_dev() && asking.caller != Caller::Admin {
        return Err(Denied::Forbidden.into());
    }
    let media_type = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    Ok(([(header::CONTENT_TYPE, media_type)], door.engine.metrics().render()).into_response())
}

fn file(door: &Door, asking: &Asking, name: &str) -> Result<Response, Problem> {
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

async fn ticket(door: &Arc<Door>, asking: &Asking, body: Body) -> Result<Response, Problem> {
    asking.params.only(&[])?;
    let body = json_body(door, asking, body).await?;
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

fn html(text: String) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(Form::Page.media_type())),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(page::POLICY)),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        (header::VARY, HeaderValue::from_static(read::VARY)),
    ];
    (headers, text).into_response()
}

/// The whole body, up to the limit that has a name.
async fn body_bytes(door: &Door, body: Body) -> Result<Bytes, Problem> {
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
async fn json_body(door: &Door, asking: &Asking, body: Body) -> Result<Json, Problem> {
    let bytes = checked_bytes(door, asking, body).await?;
    json::parse(&bytes).map_err(|error| Problem::json("", error))
}

async fn checked_bytes(door: &Door, asking: &Asking, body: Body) -> Result<Bytes, Problem> {
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
