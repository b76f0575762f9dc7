//! All sessions of a process. Each is one task, which owns its state and its stream; requests reach it through a channel
//! and are answered by it, so that nothing is locked while anything is waited for.

use std::collections::HashMap;
use std::future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use futures_util::StreamExt as _;
use hearth_engine::Engine;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::form::{Maps, Way};
use super::session::{Channel, Lie, Limits};
use super::streams::{Kind, Texts};
use crate::status::Refusal;

/// Requests that wait for a session to take them.
const REQUESTS_MAX: usize = 16;

/// All sessions.
pub(super) struct Channels {
    engine: Engine,
    limits: Limits,
    open: Open,
    // Held to add a task and to take out those that have ended. Dropping it ends the rest.
    tasks: Mutex<JoinSet<()>>,
}

/// The sessions by their ids.
// Held to look up, put in or take out one entry, never across a wait.
type Open = Arc<Mutex<HashMap<Box<str>, Entry>>>;

struct Entry {
    kind: Kind,
    requests: mpsc::Sender<Request>,
}

struct Request {
    what: What,
    answer: oneshot::Sender<Result<Answer, Lie>>,
}

/// What a session is asked.
#[derive(Debug)]
pub(super) enum What {
    Send { ack: Option<u64>, maps: Maps },
    Receive { ack: Option<u64>, way: Way },
    End,
}

/// What it answers.
#[derive(Debug)]
pub(super) enum Answer {
    /// This.
    Text(String),
    /// What comes, until it ends.
    Chunks(mpsc::Receiver<Bytes>),
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum AskError {
    #[error("Unknown SID")]
    Unknown,
    #[error(transparent)]
    Lie(#[from] Lie),
    #[error("too many sessions are open")]
    TooMany,
}

/// What a new session answers.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Opened {
    pub(super) sid: Box<str>,
    pub(super) text: String,
}

/// The end of a session's entry: whoever runs the session owns this.
struct Registered {
    open: Open,
    engine: Engine,
    sid: Box<str>,
}

impl Drop for Registered {
    fn drop(&mut self) {
        lock(&self.open).remove(&self.sid);
        self.engine.metrics().connections.dec();
    }
}

fn lock(open: &Open) -> MutexGuard<'_, HashMap<Box<str>, Entry>> {
    open.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Channels {
    pub(super) fn new(engine: Engine, limits: Limits) -> Self {
        Self { engine, limits, open: Open::default(), tasks: Mutex::default() }
    }

    /// Opens a session with its first messages. `stream` makes what stands behind it, from where its messages come.
    pub(super) fn open(
        &self,
        kind: Kind,
        maps: Maps,
        stream: impl FnOnce(mpsc::Receiver<String>) -> Texts,
    ) -> Result<Opened, AskError> {
        let (requests, received) = mpsc::channel(REQUESTS_MAX);
        let sid: Box<str> = self.engine.fresh_id().as_str().into();
        let mut open = lock(&self.open);
        if open.len() >= self.engine.limits().links_max {
            return Err(AskError::TooMany);
        }
        open.insert(sid.clone(), Entry { kind, requests });
        drop(open);
        self.engine.metrics().connections.inc();
        let registered = Registered { open: self.open.clone(), engine: self.engine.clone(), sid: sid.clone() };
        let channel = Channel::open(Duration::ZERO, self.limits, maps);
        let text = channel.opening(&sid);
        let (texts, heard) = mpsc::channel(1);
        let run = Run { channel, began: Instant::now(), requests: received, stream: stream(heard), texts, back: None };
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(async move {
            let _registered = registered;
            run.run().await;
        });
        Ok(Opened { sid, text })
    }

    /// Asks a session. One that ends meanwhile is one that is not there.
    pub(super) async fn ask(&self, kind: Kind, sid: &str, what: What) -> Result<Answer, AskError> {
        let requests = lock(&self.open).get(sid).filter(|entry| entry.kind == kind).map(|entry| entry.requests.clone());
        let requests = requests.ok_or(AskError::Unknown)?;
        let (answer, answered) = oneshot::channel();
        requests.send(Request { what, answer }).await.map_err(|_| AskError::Unknown)?;
        Ok(answered.await.map_err(|_| AskError::Unknown)??)
    }
}

/// A running session.
struct Run {
    channel: Channel,
    began: Instant,
    requests: mpsc::Receiver<Request>,
    stream: Texts,
    texts: mpsc::Sender<String>,
    /// The answer to a GET that is being written. One place: what comes while the client is slow goes together.
    back: Option<mpsc::Sender<Bytes>>,
}

/// What woke the loop.
enum Woken {
    Request(Option<Request>),
    Said(Option<Result<String, Refusal>>),
    StreamHears,
    ClientReads,
    ClientGone,
    Tick,
}

impl Run {
    async fn run(mut self) {
        loop {
            let now = self.began.elapsed();
            if self.channel.is_over(now) {
                return;
            }
            match self.wait().await {
                Woken::Request(None) => return,
                Woken::Request(Some(request)) => {
                    if !self.answer(request) {
                        return;
                    }
                }
                Woken::Said(Some(Ok(text))) => self.channel.say(&text),
                Woken::Said(Some(Err(refusal))) => self.channel.end(Some(&refusal)),
                Woken::Said(None) => self.channel.end(None),
                Woken::StreamHears => {
                    if let Some(text) = self.channel.message() {
                        // There was room, and nobody else sends. A stream that is gone has said why.
                        let _ = self.texts.try_send(text);
                    }
                }
                Woken::ClientReads => self.write(),
                Woken::ClientGone => {
                    self.back = None;
                    self.channel.gone(self.began.elapsed());
                }
                Woken::Tick => self.channel.tick(self.began.elapsed()),
            }
        }
    }

    async fn wait(&mut self) -> Woken {
        let wakes_at = self.began + self.channel.wakes_at();
        let back = self.back.as_ref();
        tokio::select! {
            request = self.requests.recv() => Woken::Request(request),
            said = self.stream.next(), if self.channel.has_room() => Woken::Said(said),
            () = room(Some(&self.texts)), if self.channel.has_message() => Woken::StreamHears,
            () = room(back), if self.channel.has_news() => Woken::ClientReads,
            () = gone(back) => Woken::ClientGone,
            () = tokio::time::sleep_until(wakes_at) => Woken::Tick,
        }
    }

    /// Answers a request; whether the session goes on.
    fn answer(&mut self, request: Request) -> bool {
        let now = self.began.elapsed();
        let (answer, goes_on) = match request.what {
            What::Send { ack, maps } => (self.channel.send(now, ack, maps).map(Answer::Text), true),
            What::Receive { ack, way } => {
                let answer = self.channel.receive(now, ack, way).map(|()| {
                    let (back, chunks) = mpsc::channel(1);
                    // The one before ends here.
                    self.back = Some(back);
                    Answer::Chunks(chunks)
                });
                (answer, true)
            }
            What::End => (Ok(Answer::Text(String::new())), false),
        };
        // One who has hung up is found out when he is written to.
        let _ = request.answer.send(answer);
        goes_on
    }

    fn write(&mut self) {
        let Some(written) = self.channel.write(self.began.elapsed()) else { return };
        if let Some(back) = &self.back {
            // There was room, and nobody else sends. What a client that is gone has missed is kept.
            let _ = back.try_send(written.chunk.into());
        }
        if written.is_last {
            self.back = None;
        }
    }
}

/// Waits until something can be sent; for ever, where nobody will receive it.
async fn room<T>(sender: Option<&mpsc::Sender<T>>) {
    match sender {
        Some(sender) if sender.reserve().await.is_ok() => {}
        Some(_) | None => future::pending().await,
    }
}

async fn gone<T>(sender: Option<&mpsc::Sender<T>>) {
    match sender {
        Some(sender) => sender.closed().await,
        None => future::pending().await,
    }
}

#[cfg(test)]
mod tests;
