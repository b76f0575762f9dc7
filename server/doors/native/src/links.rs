//! Links over HTTP, for those whom no WebSocket reaches: `POST /links` opens one, `POST /links/ID` sends into it.
//!
//! A link is one task (a poll link) or one body (an SSE link) that owns its session; requests reach it through a
//! channel and are answered by it, so nothing is locked while anything is waited for.

mod kept;
mod poll;
mod sends;
mod sse;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hearth_auth::{Caller, Scope};
use hearth_core::DatabaseName;
use hearth_engine::Engine;
use serde_json::json;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use crate::drive::{Drive, Setting};
use crate::poll::preferred_wait;
use crate::problem::{Code, Problem};
use crate::session::Liveness;
use sends::{Numbered, Posted, Sends, Step};

/// Requests that wait for a link to take them.
const REQUESTS_MAX: usize = 4;
/// How long a request may wait for that.
const REQUEST_WAIT_MAX: Duration = Duration::from_secs(30);
/// A poll link without contact for so long is closed.
const IDLE_MAX: Duration = Duration::from_secs(30);

/// All links of a process.
#[derive(Clone)]
pub(crate) struct Links {
    inside: Arc<Inside>,
}

struct Inside {
    engine: Engine,
    links_max: usize,
    idle_max: Duration,
    // Held to look up, put in or take out one entry, never across a wait.
    open: Mutex<HashMap<Box<str>, Entry>>,
    // Held to add a task and to take out those that have ended. Dropping it ends the rest.
    tasks: Mutex<JoinSet<()>>,
}

#[derive(Clone)]
struct Entry {
    database: DatabaseName,
    requests: mpsc::Sender<Request>,
}

/// What a link is asked over HTTP.
struct Request {
    /// Whose request it is.
    scope: Scope,
    what: What,
    answer: oneshot::Sender<Answer>,
}

enum What {
    /// `POST /links/ID`, with the wait that is asked for.
    Post(Posted, Option<Duration>),
    /// `DELETE /links/ID`.
    End,
}

/// How a link answers.
#[derive(Debug)]
enum Answer {
    /// The messages were taken, or the link was ended.
    Done,
    /// A poll: the body.
    Polled(Vec<u8>),
    /// Not for this caller.
    NotFound,
    /// Too much waits already; nothing was taken.
    Busy,
    /// The request is wrong and the link is over.
    Refused(Problem),
}

/// The end of a link's entry: what owns the link owns this.
struct Registered {
    inside: Arc<Inside>,
    id: Box<str>,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.inside.open().remove(&self.id);
        self.inside.engine.metrics().connections.dec();
    }
}

impl Inside {
    fn open(&self) -> MutexGuard<'_, HashMap<Box<str>, Entry>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Links {
    /// No links yet.
    pub(crate) fn new(engine: &Engine) -> Self {
        Self::idling(engine, IDLE_MAX)
    }

    fn idling(engine: &Engine, idle_max: Duration) -> Self {
        let (engine, links_max) = (engine.clone(), engine.limits().links_max);
        let inside = Inside { engine, links_max, idle_max, open: Mutex::default(), tasks: Mutex::default() };
        Self { inside: Arc::new(inside) }
    }

    fn register(&self, setting: &Setting) -> Result<(Registered, mpsc::Receiver<Request>), Problem> {
        let (requests, received) = mpsc::channel(REQUESTS_MAX);
        let id: Box<str> = setting.engine.fresh_id().as_str().into();
        let mut open = self.inside.open();
        if open.len() >= self.inside.links_max {
            return Err(Problem::new(Code::Unavailable, "too many links are open").retry_after_ms(5_000));
        }
        open.insert(id.clone(), Entry { database: setting.database.name().clone(), requests });
        drop(open);
        setting.engine.metrics().connections.inc();
        Ok((Registered { inside: self.inside.clone(), id }, received))
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.inside.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(task);
    }
}

/// Answers `POST /links`. `path` is the request's own, under which the link will stand.
pub(crate) fn open(
    links: &Links,
    setting: Setting,
    caller: Caller,
    path: &str,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Response, Problem> {
    let first = sends::read_opening(body)?;
    let polls = wait(headers).is_some();
    if !polls && !accepts_events(headers) {
        let detail = "a link is opened with Accept: text/event-stream, or with Prefer: wait=0 to be polled";
        return Err(Problem::invalid(detail).status(StatusCode::NOT_ACCEPTABLE).at("Accept"));
    }
    let (registered, requests) = links.register(&setting)?;
    let (id, bytes_max) = (registered.id.clone(), setting.engine.limits().outbox_bytes_max);
    let line = Line { registered, requests, opener: caller.scope(), sends: Sends::begin(first) };
    let drive = Drive::new(setting, caller, Liveness::Link);
    if !polls {
        return Ok(sse::answer(line, drive));
    }
    links.spawn(poll::run(line, drive, bytes_max, links.inside.idle_max));
    let location = HeaderValue::try_from(format!("{}/{id}", path.trim_end_matches('/')));
    let location = location.map_err(|_| Problem::invalid("the address is not ASCII"))?;
    let body = json!({ "link": id, "frames": [] }).to_string();
    Ok((StatusCode::CREATED, [(header::LOCATION, location), JSON, NO_STORE], body).into_response())
}

/// Answers `POST /links/ID`.
pub(crate) async fn send(
    links: &Links,
    database: &DatabaseName,
    caller: &Caller,
    id: &str,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Response, Problem> {
    let wait = wait(headers);
    let posted = sends::read_posted(body)?;
    let answer = ask(links, database, caller, id, What::Post(posted, wait)).await?;
    match answer {
        Answer::Done => Ok((StatusCode::ACCEPTED, [NO_STORE]).into_response()),
        Answer::Polled(body) => {
            let applied = HeaderValue::try_from(format!("wait={}", wait.unwrap_or_default().as_secs()));
            let applied = applied.map_err(|_| Problem::invalid("no such wait").at("Prefer"))?;
            Ok(([JSON, (PREFERENCE_APPLIED, applied), NO_STORE], body).into_response())
        }
        Answer::NotFound => Err(not_found()),
        Answer::Busy => Err(busy()),
        Answer::Refused(problem) => Err(problem),
    }
}

/// Answers `DELETE /links/ID`.
pub(crate) async fn end(
    links: &Links,
    database: &DatabaseName,
    caller: &Caller,
    id: &str,
) -> Result<Response, Problem> {
    match ask(links, database, caller, id, What::End).await? {
        Answer::Done | Answer::Polled(_) => Ok(StatusCode::NO_CONTENT.into_response()),
        Answer::NotFound => Err(not_found()),
        Answer::Busy => Err(busy()),
        Answer::Refused(problem) => Err(problem),
    }
}

/// Asks a link and waits for what it answers. A link that ends meanwhile is one that is not there.
async fn ask(links: &Links, database: &DatabaseName, caller: &Caller, id: &str, what: What) -> Result<Answer, Problem> {
    let entry = links.inside.open().get(id).filter(|entry| entry.database == *database).cloned();
    let entry = entry.ok_or_else(not_found)?;
    let (answer, answered) = oneshot::channel();
    let wait_max = match &what {
        What::Post(_, Some(wait)) => REQUEST_WAIT_MAX + *wait,
        What::Post(_, None) | What::End => REQUEST_WAIT_MAX,
    };
    let asked = async {
        entry.requests.send(Request { scope: caller.scope(), what, answer }).await.map_err(|_| not_found())?;
        drop(entry);
        answered.await.map_err(|_| not_found())
    };
    tokio::time::timeout(wait_max, asked).await.map_err(|_| busy())?
}

fn busy() -> Problem {
    Problem::new(Code::Unavailable, "the link takes nothing at present").retry_after_ms(1_000)
}

fn not_found() -> Problem {
    Problem::new(Code::NotFound, "there is no such link, or no longer; open another")
}

const JSON: (header::HeaderName, HeaderValue) = (header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
const NO_STORE: (header::HeaderName, HeaderValue) = (header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
const PREFERENCE_APPLIED: header::HeaderName = header::HeaderName::from_static("preference-applied");

/// The wait that is asked for, cut to what is granted.
fn wait(headers: &HeaderMap) -> Option<Duration> {
    let values = headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
    preferred_wait(values).map(Duration::from_secs)
}

fn accepts_events(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    values
        .flat_map(|value| value.split(','))
        .any(|one| one.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("text/event-stream")))
}

/// The client's end of a link.
struct Line {
    registered: Registered,
    requests: mpsc::Receiver<Request>,
    /// Whose link it is.
    opener: Scope,
    sends: Sends<oneshot::Sender<Answer>>,
}

/// What became of the messages that wait.
enum Taken {
    /// There were none that the session has room for.
    Nothing,
    /// The session was told of some, or a request was answered.
    Some,
    /// One is missing, and the link is over. Whoever sent it into the link was told, unless it was with a poll.
    Gap(Problem),
}

impl Line {
    /// Whether a request is one of the link's own caller: who opened it, or for whom it speaks by now.
    fn admits(&self, scope: &Scope, drive: Option<&Drive>) -> bool {
        *scope == self.opener || drive.is_some_and(|drive| *scope == drive.caller().scope())
    }

    /// Takes the messages of a request in, which is answered when the session has them.
    fn post(&mut self, messages: Vec<Numbered>, answer: oneshot::Sender<Answer>) {
        match self.sends.is_behind() {
            // A client that is gone does not miss its answer, here and everywhere.
            true => drop(answer.send(Answer::Busy)),
            false => self.sends.push(messages, Some(answer)),
        }
    }

    /// Gives the session what it has room for.
    fn take(&mut self, drive: &mut Drive) -> Taken {
        let mut taken = Taken::Nothing;
        while !drive.is_full() {
            match self.sends.next() {
                None => break,
                Some(Step::Take(message, bytes)) => drive.message_of(&message, bytes),
                Some(Step::Done(answer)) => drop(answer.send(Answer::Done)),
                Some(Step::Gap(answer, problem)) => {
                    if let Some(answer) = answer {
                        drop(answer.send(Answer::Refused(problem.clone())));
                    }
                    return Taken::Gap(problem);
                }
            }
            taken = Taken::Some;
        }
        taken
    }
}
