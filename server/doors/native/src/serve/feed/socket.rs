//! The change feed over a WebSocket: one task between a socket and the commits.
//!
//! A reader that is behind takes commits out of history as fast as it reads. One that has caught up is told of each
//! commit at once, and what it does not take waits for it, up to a bound: then it is sent back to history.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{Message, WebSocket};
use axum::http::header;
use axum::http::request::Parts;
use axum::response::Response;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use hearth_core::Version;
use hearth_engine::{FeedPage, ReadError};
use tokio::time::Instant;

use super::{CHANGES_MAX, Reading};
use crate::address::Scope;
use crate::frame::{self, ClientMessage, Op};
use crate::json::{Context, print};
use crate::problem::{Code, Problem};
use crate::serve::stream::{Life, Wake};
use crate::serve::{Asking, Door, admit, host};
use crate::session::Close;
use crate::socket::{Happened, Incoming, Offer, Writes, accept, drain, fault, happens, part, text_message, turn_away};

/// Bytes of one message of a client, of which nothing but a ping is understood.
const MESSAGE_BYTES_MAX: usize = 4 << 10;
/// Silence after which the peer is asked for a sign of life, and how long it has for it.
const SILENCE_MAX: Duration = Duration::from_secs(20);

/// Answers the upgrade of `GET /feed`.
pub(in crate::serve) async fn upgrade(
    door: &Arc<Door>,
    mut asking: Asking,
    scope: &Scope,
    parts: &mut Parts,
) -> Result<Response, Problem> {
    same_origin(parts)?;
    let token = Offer::read(&parts.headers)?.token;
    let was_offered = token.is_some();
    match open(door, &mut asking, scope, token).await {
        Ok(reading) => {
            let upgrade = accept(parts, MESSAGE_BYTES_MAX).await?;
            let life = Life::with_silence(door, &mut asking, SILENCE_MAX);
            let queue_bytes_max = door.engine.limits().outbox_bytes_max;
            Ok(upgrade.on_upgrade(move |socket| run(socket, Telling::new(reading, queue_bytes_max), life)))
        }
        // On the socket, as with /db: of a refused upgrade a page learns nothing.
        Err(problem) if was_offered => {
            let upgrade = accept(parts, MESSAGE_BYTES_MAX).await?;
            Ok(upgrade.on_upgrade(async move |socket| turn_away(socket, &problem).await))
        }
        Err(problem) => Err(problem),
    }
}

/// Who administers does so from pages of the server itself: a browser asks nobody before it opens a socket.
fn same_origin(parts: &Parts) -> Result<(), Problem> {
    let Some(origin) = parts.headers.get(header::ORIGIN) else { return Ok(()) };
    let own = origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, authority)| authority);
    match own.is_some() && own == host(parts) {
        true => Ok(()),
        false => {
            let detail = "the feed is for programs and for pages of this server itself";
            Err(Problem::new(Code::PermissionDenied, detail).at("Origin"))
        }
    }
}

/// Nothing is looked at before the caller is known to have authority.
async fn open(door: &Arc<Door>, asking: &mut Asking, scope: &Scope, token: Option<String>) -> Result<Reading, Problem> {
    if let Some(token) = token {
        asking.caller = door.gate.caller(asking.mode, Some(&token), door.now_seconds())?;
        admit(door, asking)?;
    }
    let database = door.database(door.name(scope, false)?).await?;
    Reading::new(asking, database)
}

/// What is to be told, and what of it waits for the reader. Touches no socket.
struct Telling {
    reading: Reading,
    queue: VecDeque<Bytes>,
    queue_bytes: usize,
    queue_bytes_max: usize,
    /// Whether the reader has once been told everything: from then on commits wait for it here, not in history.
    live: bool,
    /// From where the reader knows that it can go on.
    told: Option<Version>,
}

impl Telling {
    fn new(reading: Reading, queue_bytes_max: usize) -> Self {
        Self { reading, queue: VecDeque::new(), queue_bytes: 0, queue_bytes_max, live: false, told: None }
    }

    fn pop(&mut self) -> Option<Bytes> {
        let message = self.queue.pop_front()?;
        self.queue_bytes -= message.len();
        Some(message)
    }

    fn push(&mut self, message: Bytes) {
        self.queue_bytes += message.len();
        self.queue.push_back(message);
    }

    /// Takes commits in. False: more waits than may.
    fn take(&mut self, page: &FeedPage) -> bool {
        self.reading.reset |= page.reset;
        if self.reading.reset {
            // What was before is not told: from here on nothing is missing.
            self.passed();
            self.reading.reset = false;
        }
        for commit in self.reading.narrow(page) {
            let mut out = b"{\"id\":0,\"ev\":\"commit\",".to_vec();
            print(&mut out, format_args!("\"token\":\"{}\",", self.reading.token(commit.version)));
            self.reading.write_commit(&mut out, &commit);
            out.push(b'}');
            self.push(out.into());
            self.told = Some(commit.version);
        }
        self.reading.after = page.version;
        if self.told.is_none() {
            self.passed();
        }
        let was_live = self.live;
        self.live |= self.reading.after >= self.reading.database.visible();
        // What had to be fetched from history may be as large as a page, and what is one message as large as a commit.
        !was_live || self.queue_bytes <= self.queue_bytes_max || self.queue.len() == 1
    }

    /// Tells from where to go on, where no commit does: what concerns the reader may be rare, and history ends.
    fn passed(&mut self) {
        let version = self.reading.after;
        if self.told.replace(version) == Some(version) && !self.reading.reset {
            return;
        }
        let mut out = Vec::new();
        let token = self.reading.token(version);
        print(
            &mut out,
            format_args!(
                "{{\"id\":0,\"ev\":\"passed\",\"version\":\"{version}\",\"token\":\"{token}\",\"reset\":{}}}",
                self.reading.reset
            ),
        );
        self.push(out.into());
    }

    /// Ends it: what waits is dropped, since it can be had from history.
    fn end(&mut self, problem: &Problem) {
        self.queue.clear();
        self.queue_bytes = 0;
        self.push(frame::problem(0, problem));
    }

    /// The next commits, where they are to be fetched now.
    fn fetch(&self, has_room: bool) -> Option<BoxFuture<'static, Result<FeedPage, ReadError>>> {
        let due = self.told.is_none() || self.reading.after < self.reading.database.visible();
        if !due || !(self.live || (has_room && self.queue.is_empty())) {
            return None;
        }
        let (database, access, after) =
            (self.reading.database.clone(), self.reading.access.clone(), self.reading.after);
        Some(Box::pin(async move { database.feed(&access, after, CHANGES_MAX).await }))
    }
}

async fn run(mut socket: WebSocket, mut telling: Telling, mut life: Life) {
    let (mut incoming, mut writes) = (Incoming::default(), Writes::new(Instant::now()));
    let mut end: Option<Close> = None;
    let mut fetching: Option<BoxFuture<'static, Result<FeedPage, ReadError>>> = None;
    let mut pinged = false;
    loop {
        while writes.has_room()
            && let Some(message) = telling.pop()
        {
            writes.push(text_message(message), Instant::now());
        }
        let idle = writes.is_idle();
        if let Some(close) = end.filter(|_| idle) {
            return part(socket, close).await;
        }
        // While the farewell is on its way, nothing else is done.
        let open = end.is_none();
        let reading = open && writes.has_room();
        if fetching.is_none() && open {
            fetching = telling.fetch(writes.has_room());
        }
        let (database, after) = (telling.reading.database.clone(), telling.reading.after);
        // A reader that is behind is not woken by commits: it goes on when it has room.
        let waits = open && fetching.is_none() && after >= database.visible();
        let stuck = writes.stuck_at();
        let page = async {
            match &mut fetching {
                Some(fetching) => fetching.await,
                None => std::future::pending().await,
            }
        };
        let happened = tokio::select! {
            happened = happens(&mut socket, &mut incoming, &mut writes, reading) => happened,
            () = tokio::time::sleep_until(stuck), if !idle => Happened::Stuck,
            page = page, if open => {
                fetching = None;
                let ended = match page {
                    Ok(page) if telling.take(&page) => continue,
                    Ok(_) => Problem::new(
                        Code::Unavailable,
                        format!("the reader is more than {} bytes behind; open again from the last token", telling.queue_bytes_max),
                    ),
                    Err(error) => error.into(),
                };
                telling.end(&ended);
                end = Some(Close::of(&ended));
                continue;
            }
            () = database.committed_after(after), if waits => continue,
            wake = life.wake(), if open => {
                match wake {
                    Wake::Comment if pinged => end = Some(Close::new(Close::LATER, "no sign of life")),
                    Wake::Comment => {
                        telling.passed();
                        writes.push(Message::Ping(Default::default()), Instant::now());
                        pinged = true;
                        life.rest();
                    }
                    Wake::End(problem) => {
                        let problem = problem.unwrap_or_else(|| Problem::new(Code::Aborted, "read elsewhere"));
                        telling.end(&problem);
                        end = Some(match problem.code {
                            Code::Unavailable => Close::new(Close::RESTART, "restart"),
                            _ => Close::of(&problem),
                        });
                    }
                }
                continue;
            }
        };
        match happened {
            Happened::Written => {}
            // A close frame would wait behind what is stuck.
            Happened::Stuck | Happened::Read(None) => return,
            Happened::Read(Some(Ok(message))) => {
                (pinged, end) = (false, end.or(hear(&mut telling, &message)));
                life.rest();
                if matches!(message, Message::Close(_)) {
                    return drain(socket).await;
                }
            }
            Happened::Read(Some(Err(error))) => match fault(error) {
                Some(close) => return part(socket, close).await,
                None => return,
            },
        }
    }
}

/// Takes a message of the client. Of a feed there is nothing to ask, so all but a ping ends it.
fn hear(telling: &mut Telling, message: &Message) -> Option<Close> {
    let text = match message {
        Message::Text(text) => text,
        Message::Binary(_) => return Some(Close::new(Close::BINARY, "hearth.v1 is text")),
        Message::Ping(_) | Message::Pong(_) | Message::Close(_) => return None,
    };
    let database = telling.reading.database.name().clone();
    match ClientMessage::parse(text.as_bytes(), &Context::new(&database)) {
        Ok(ClientMessage { op: Op::Ping, .. }) => {
            telling.push(frame::pong());
            None
        }
        Ok(_) | Err(_) => {
            let problem = Problem::invalid("a feed takes no messages but {\"id\":0,\"op\":\"ping\"}");
            telling.end(&problem);
            Some(Close::of(&problem))
        }
    }
}
