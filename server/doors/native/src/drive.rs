//! A session and the engine: the part of a connection that is the same on every link.
//!
//! It carries out what the session asks for and tells it what came of that. How messages travel is its owner's
//! business; what they mean, the session's.

#[cfg(test)]
pub(crate) mod testing;

use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use hearth_auth::Caller;
use hearth_core::Version;
use hearth_core::query::Query;
use hearth_engine::{CommitRequest, Database, Delivery, Difference, Engine, Outbox, PartLimits, ReadError, Token};
use serde_json::Value as Json;
use tokio::sync::watch;

use crate::frame::{ClientMessage, Rows};
use crate::json::{Context, event_members, part_members};
use crate::problem::{Code, Problem};
use crate::query_json::Asked;
use crate::session::{Ask, Close, Input, Limits, Liveness, Now, Opening, Output, Reply, Session};
use crate::writes;

/// Messages of one connection that are not answered yet.
const MESSAGES_MAX: usize = 256;
/// Reads of one connection that run at one time.
const READS_MAX: usize = 16;

/// Turns a credential into a caller, now.
pub(crate) type Admit = Arc<dyn Fn(&str) -> Result<Caller, Problem> + Send + Sync>;

/// Where a connection leads.
#[derive(Clone)]
pub(crate) struct Setting {
    pub(crate) engine: Engine,
    pub(crate) database: Database,
    pub(crate) admit: Admit,
    /// Becomes true when the server stops: what is held open ends before the engine does.
    pub(crate) stopping: watch::Receiver<bool>,
}

/// What is to leave on the link.
#[derive(Debug)]
pub(crate) enum Leaving {
    /// A message.
    Message(Bytes),
    /// A ping of the transport.
    Ping,
    /// The end, after what was sent before.
    Close(Close),
}

/// A session at work.
pub(crate) struct Drive {
    setting: Setting,
    session: Session,
    outbox: Outbox,
    /// What the engine is doing for this connection, begun in the order in which it was asked for; the end of the server;
    /// and ticks. All in one set, of which nothing is looked at before it is woken: a turn costs what has happened.
    running: FuturesUnordered<BoxFuture<'static, Woken>>,
    /// When the next tick is due that was asked for.
    tick_at: Duration,
}

/// What comes of something that was begun.
enum Woken {
    Reply(Reply),
    Stopping,
    /// The tick that was due then.
    Tick(Duration),
}

enum Happened {
    Woken(Woken),
    Delivery(Delivery),
    Settled(Vec<Version>),
}

impl Drive {
    /// A connection that speaks for `caller`.
    pub(crate) fn new(setting: Setting, caller: Caller, liveness: Liveness) -> Self {
        let limits = setting.engine.limits();
        let limits = Limits {
            listeners_max: limits.listeners_per_connection_max,
            messages_max: MESSAGES_MAX,
            messages_bytes_max: limits.message_bytes_max,
            reads_max: READS_MAX,
            queue_bytes_max: limits.outbox_bytes_max,
        };
        let session = Session::new(now(&setting.engine), caller, limits, liveness);
        let outbox = Outbox::new(&setting.engine);
        let running = FuturesUnordered::new();
        let mut stopping = setting.stopping.clone();
        let stops: BoxFuture<'static, Woken> = Box::pin(async move {
            // An error means that the server is gone, which is as good as stopped.
            let _ = stopping.wait_for(|stopping| *stopping).await.map(drop);
            Woken::Stopping
        });
        running.push(stops);
        Self { setting, session, outbox, running, tick_at: Duration::MAX }
    }

    /// Whether messages of the client are to be left unread for now.
    pub(crate) fn is_full(&self) -> bool {
        self.session.is_full()
    }

    /// Whose authority is in force.
    pub(crate) fn caller(&self) -> &Caller {
        self.session.caller()
    }

    /// Takes a message as it came.
    pub(crate) fn message(&mut self, text: &[u8]) {
        let message = ClientMessage::parse(text, &Context::new(self.setting.database.name()));
        self.input(Input::Message(message));
    }

    /// Takes a message that was part of a larger JSON value, of about so many bytes.
    pub(crate) fn message_of(&mut self, json: &Json, bytes: usize) {
        let message = ClientMessage::read(json, bytes, &Context::new(self.setting.database.name()));
        self.input(Input::Message(message));
    }

    /// The peer gave a sign of life.
    pub(crate) fn heard(&mut self) {
        self.input(Input::Heard);
    }

    /// What leaves next, if there is anything.
    pub(crate) fn output(&mut self) -> Option<Leaving> {
        loop {
            match self.session.output()? {
                Output::Send(message) => return Some(Leaving::Message(message)),
                Output::Ping => return Some(Leaving::Ping),
                Output::Close(close) => return Some(Leaving::Close(close)),
                Output::Ask(ask) => self.carry_out(ask),
            }
        }
    }

    /// Waits until something happens, and tells the session. Nothing is lost when the wait is given up.
    ///
    /// Events are taken only when `ready`, that is when the link has room for them: what waits for a slow reader waits
    /// in the engine, which bounds it.
    pub(crate) async fn turn(&mut self, ready: bool) {
        self.ask_for_tick();
        let Self { session, outbox, running, .. } = self;
        let happened = tokio::select! {
            Some(woken) = running.next() => Happened::Woken(woken),
            delivery = outbox.next(), if ready => Happened::Delivery(delivery),
            versions = settled(session, outbox), if ready => Happened::Settled(versions),
        };
        match happened {
            Happened::Woken(Woken::Reply(reply)) => self.input(Input::Reply(reply)),
            Happened::Woken(Woken::Stopping) => self.input(Input::Closing),
            Happened::Woken(Woken::Tick(at)) => {
                // One that came too late is not the one that is waited for.
                if at == self.tick_at {
                    self.tick_at = Duration::MAX;
                }
                self.input(Input::Tick);
            }
            Happened::Delivery(delivery) => self.deliver(delivery),
            Happened::Settled(versions) => {
                while let Some(delivery) = self.outbox.try_next() {
                    self.deliver(delivery);
                }
                for version in versions {
                    self.input(Input::Passed(version));
                }
            }
        }
    }

    /// Asks for a tick when it is due before those that are on their way. One that is there too early does no harm: the
    /// session looks what time it is.
    fn ask_for_tick(&mut self) {
        let now = now(&self.setting.engine);
        let after = self.session.tick_after(now);
        let at = now.elapsed.saturating_add(after);
        if at < self.tick_at {
            self.tick_at = at;
            self.running.push(Box::pin(async move {
                tokio::time::sleep(after).await;
                Woken::Tick(at)
            }));
        }
    }

    fn input(&mut self, input: Input) {
        self.session.input(now(&self.setting.engine), input);
    }

    fn deliver(&mut self, delivery: Delivery) {
        let database = self.setting.database.name();
        let input = match delivery {
            Delivery::Events { version, events } => {
                let events = events.iter().map(|(id, event)| (*id, event_members(event, database)));
                Input::Events { version, events: events.collect() }
            }
            Delivery::Lagged(id) => Input::Lagged(id),
            Delivery::Closing => Input::Closing,
        };
        self.input(input);
    }

    fn carry_out(&mut self, ask: Ask) {
        let database = self.setting.database.clone();
        let outbox = self.outbox.clone();
        let reply: BoxFuture<'static, Reply> = match ask {
            Ask::Unlisten { id } => return database.unlisten(&outbox, id),
            Ask::Recheck { id, caller, query } => {
                let outcome = database.authorize_query(&caller, query).map(|_| ()).map_err(Problem::from);
                return self.input(Input::Reply(Reply::Rechecked { id, outcome }));
            }
            Ask::Auth { id, token } => {
                let caller = (self.setting.admit)(&token.0);
                return self.input(Input::Reply(Reply::Authed { id, caller }));
            }
            Ask::Listen { id, caller, asked, since } => {
                let limits = self.setting.engine.limits().clone();
                Box::pin(async move {
                    let opening = listen(&database, &limits, &outbox, id, &caller, *asked, since).await;
                    Reply::Opened { id, opening }
                })
            }
            Ask::CatchUp { id, query } => {
                let limits = self.setting.engine.limits().parts();
                Box::pin(async move {
                    let opening = match database.catch_up_in_parts(&outbox, id).await {
                        Ok(opening) => told(&database, limits, query, opening).await,
                        Err(error) => Err(error.into()),
                    };
                    Reply::Opened { id, opening }
                })
            }
            Ask::Part { id, rest } => Box::pin(async move { Reply::Part { id, outcome: part(&database, rest).await } }),
            Ask::Get { id, caller, asked, at } => {
                let limits = self.setting.engine.limits().clone();
                Box::pin(async move { Reply::Read { id, rows: get(&database, &limits, &caller, *asked, at).await } })
            }
            Ask::Commit { id, caller, commit } => {
                Box::pin(async move { Reply::Committed { id, outcome: commit_as(&database, &caller, *commit).await } })
            }
        };
        self.running.push(Box::pin(async move { Woken::Reply(reply.await) }));
    }
}

fn now(engine: &Engine) -> Now {
    let clock = engine.clock();
    Now { elapsed: clock.elapsed(), seconds: clock.micros() / 1_000_000 }
}

/// Waits until all events of a commit are there whose answer waits for them, and says of which commits.
///
/// Looks anew whenever the task wakes. The outbox wakes it, so this stands beside [`Outbox::next`] or waits for ever.
async fn settled(session: &Session, outbox: &Outbox) -> Vec<Version> {
    poll_fn(|_| {
        let versions: Vec<Version> = session.awaited().filter(|version| !outbox.holds(*version)).collect();
        if versions.is_empty() { Poll::Pending } else { Poll::Ready(versions) }
    })
    .await
}

/// The query that is asked for: cursors that are documents stand where those documents stand at `at`.
async fn build(
    database: &Database,
    limits: &hearth_engine::Limits,
    caller: &Caller,
    asked: Asked,
    at: Option<Version>,
) -> Result<Arc<Query>, Problem> {
    let mut found = HashMap::new();
    for path in asked.documents() {
        let authorized = database.authorize_get(caller, path.clone())?;
        found.insert(path, database.get(&authorized, at).await?.document);
    }
    asked.build(limits, database.name(), |path| found.get(path).cloned().flatten()).map(Arc::new)
}

async fn listen(
    database: &Database,
    limits: &hearth_engine::Limits,
    outbox: &Outbox,
    id: u64,
    caller: &Caller,
    asked: Asked,
    since: Option<Token>,
) -> Result<Opening, Problem> {
    let query = build(database, limits, caller, asked, None).await?;
    let authorized = database.authorize_query(caller, query.clone())?;
    let opening = database.listen_in_parts(authorized, outbox, id, since.as_ref()).await?;
    told(database, limits.parts(), query, opening).await
}

async fn told(
    database: &Database,
    limits: PartLimits,
    query: Arc<Query>,
    opening: hearth_engine::Opening<Difference>,
) -> Result<Opening, Problem> {
    Ok(match opening {
        hearth_engine::Opening::Whole { answer, reset } => {
            Opening::Whole { rows: Rows::new(query, answer, database.name().clone(), limits), reset }
        }
        hearth_engine::Opening::Since(difference) => {
            let version = difference.version();
            let (members, rest) = part(database, difference).await?;
            Opening::Since { query, version, members, rest }
        }
    })
}

/// The members of the next part of a difference, and what is left of that.
async fn part(database: &Database, difference: Difference) -> Result<(Bytes, Option<Difference>), Problem> {
    match database.part(difference).await {
        Ok((part, rest)) => Ok((part_members(&part, None, database.name()), rest)),
        // The client begins anew, and is then told everything.
        Err(error @ ReadError::Forgotten { .. }) => Err(Problem::new(Code::Unavailable, error.to_string())),
        Err(error) => Err(error.into()),
    }
}

async fn get(
    database: &Database,
    limits: &hearth_engine::Limits,
    caller: &Caller,
    asked: Asked,
    at: Option<Version>,
) -> Result<Rows, Problem> {
    let query = build(database, limits, caller, asked, at).await?;
    let authorized = database.authorize_query(caller, query.clone())?;
    let answer = database.query(&authorized, at).await?;
    Ok(Rows::new(query, answer, database.name().clone(), limits.parts()))
}

async fn commit_as(database: &Database, caller: &Caller, commit: CommitRequest) -> Result<(Version, Bytes), Problem> {
    let authorized = database.authorize_commit(caller, commit)?;
    let committed = database.commit(authorized).await?;
    let results = writes::results_json(&committed.results, &Context::new(database.name()));
    Ok((committed.version, results.into()))
}
