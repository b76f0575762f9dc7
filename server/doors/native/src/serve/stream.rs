//! Server-sent events: a result and then each of its changes, for as long as somebody reads.
//!
//! A stream is its body: it is polled when the socket has room, and dropping it ends the listener. What a slow reader
//! has not taken waits in the engine's outbox, which is bounded.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::Response;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use hearth_auth::{Caller, TokenError};
use hearth_core::Version;
use hearth_core::query::Query;
use hearth_engine::{
    Authorized, Database, Delivery, Difference, Opening, Outbox, Part, ReadError, SharedEvent, TargetId, Token,
};
use tokio::time::{Instant, Sleep, sleep, sleep_until};

use super::read::VARY;
use super::since::before;
use super::{Asking, Door, Ticketed};
use crate::json::{self, Parts};
use crate::problem::{Code, Problem};
use crate::respond::Form;
use crate::sse;

/// A stream has one listener.
const TARGET: TargetId = 1;

/// What ends a stream from outside, and what its end must tell.
pub(super) struct Life {
    door: Arc<Door>,
    request_id: String,
    /// What may end the stream. None of it is looked at before it has happened: an event costs nothing of this.
    ends: FuturesUnordered<BoxFuture<'static, Option<Problem>>>,
    /// How long it may be silent.
    silence_max: Duration,
    /// When it has been silent for so long.
    silence: Pin<Box<Sleep>>,
    /// The ticket that opened the stream.
    _ticket: Option<Ticketed>,
}

/// Why a stream stops waiting.
pub(super) enum Wake {
    /// A sign of life is due.
    Comment,
    /// The end, and why; nothing to say to one who is listening elsewhere by now.
    End(Option<Problem>),
}

impl Life {
    pub(super) fn new(door: &Arc<Door>, asking: &mut Asking) -> Self {
        Self::with_silence(door, asking, sse::COMMENT_INTERVAL)
    }

    /// One that has something to say of its own after another silence than that of an event stream.
    pub(super) fn with_silence(door: &Arc<Door>, asking: &mut Asking, silence_max: Duration) -> Self {
        let ticket = asking.ticket.take();
        let expiries = [asking.caller.expires_seconds(), ticket.as_ref().map(|ticket| ticket.expires_seconds)];
        let left = expiries.into_iter().flatten().min().map(|end| end.saturating_sub(door.now_seconds()));
        let ends: FuturesUnordered<BoxFuture<'static, Option<Problem>>> = FuturesUnordered::new();
        let stopping = door.clone();
        ends.push(Box::pin(async move {
            stopping.stopped().await;
            Some(stops())
        }));
        if let Some(left) = left {
            let end = Instant::now() + Duration::from_secs(left);
            ends.push(Box::pin(async move {
                sleep_until(end).await;
                Some(TokenError::Expired.into())
            }));
        }
        if let Some(ticket) = &ticket {
            let taken_over = ticket.taken_over.clone();
            ends.push(Box::pin(async move {
                taken_over.notified().await;
                None
            }));
        }
        door.engine.metrics().connections.inc();
        let silence = Box::pin(sleep(silence_max));
        Self { door: door.clone(), request_id: asking.request_id.clone(), ends, silence_max, silence, _ticket: ticket }
    }

    /// Waits until the stream has something to say of its own.
    pub(super) async fn wake(&mut self) -> Wake {
        tokio::select! {
            // The end of the server is always among them.
            end = self.ends.next() => Wake::End(end.flatten()),
            () = self.silence.as_mut() => Wake::Comment,
        }
    }

    /// A sign of life, and when the next is due.
    pub(super) fn comment(&mut self) -> Bytes {
        self.rest();
        sse::comment()
    }

    /// Silence begins anew.
    pub(super) fn rest(&mut self) {
        self.silence.as_mut().reset(Instant::now() + self.silence_max);
    }

    /// The last words of the stream.
    pub(super) fn farewell(&self, problem: &Problem) -> Bytes {
        sse::problem(problem, &self.request_id)
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        self.door.engine.metrics().connections.dec();
    }
}

fn stops() -> Problem {
    Problem::new(Code::Unavailable, "the server stops").retry_after_ms(1_000)
}

/// The headers of a stream before its body.
pub(super) fn response(body: Body) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(Form::Events.media_type()));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache, no-transform"));
    headers.insert(header::VARY, HeaderValue::from_static(VARY));
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    response
}

/// Answers with the result of a query, and with what becomes of it.
pub(super) async fn answer(
    door: &Arc<Door>,
    mut asking: Asking,
    database: Database,
    query: Authorized<Arc<Query>>,
    since: Option<Token>,
    patches: bool,
) -> Result<Response, Problem> {
    if asking.is_head() {
        return Ok(response(Body::empty()));
    }
    let life = Life::new(door, &mut asking);
    let outbox = Outbox::new(&door.engine);
    let opening = match database.listen_in_parts(query.clone(), &outbox, TARGET, since.as_ref()).await {
        // A token of another query is like one of a lost history: start anew.
        Err(ReadError::ForeignToken) => match database.listen_in_parts(query.clone(), &outbox, TARGET, None).await? {
            Opening::Whole { answer, .. } => Opening::Whole { answer, reset: true },
            since => since,
        },
        opening => opening?,
    };
    let (query, caller) = (Arc::clone(&query), query.caller().clone());
    let mut stream = Stream {
        life,
        database,
        query,
        caller,
        outbox,
        patches,
        ready: VecDeque::from([sse::opening()]),
        parts: None,
        difference: None,
        ended: false,
    };
    stream.open(opening, since.map(|token| token.version));
    let body = futures_util::stream::unfold(stream, |mut stream| async move {
        let bytes = stream.next().await?;
        Some((Ok::<_, Infallible>(bytes), stream))
    });
    Ok(response(Body::from_stream(body)))
}

struct Stream {
    life: Life,
    database: Database,
    query: Arc<Query>,
    caller: Caller,
    outbox: Outbox,
    patches: bool,
    /// What is to be sent next.
    ready: VecDeque<Bytes>,
    /// What is left of a whole result; encoded as it leaves.
    parts: Option<Parts>,
    /// What is left of a difference, read as it leaves, and the version before it where that is known.
    difference: Option<(Difference, Option<Version>)>,
    ended: bool,
}

impl Stream {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(bytes) = self.ready.pop_front() {
                return Some(bytes);
            }
            if self.ended {
                return None;
            }
            if (self.parts.is_some() || self.difference.is_some())
                && let Some(wake) = self.life.wake().now_or_never()
            {
                // A slow reader is not told for longer than it may be.
                self.woken(wake);
                continue;
            }
            if let Some(parts) = &mut self.parts {
                let token = parts.token().to_string();
                match parts.next() {
                    Some(part) => return Some(sse::event(part.last.then_some(token.as_str()), &part.members)),
                    None => self.parts = None,
                }
            }
            if let Some((difference, before)) = self.difference.take() {
                match self.database.part(difference).await {
                    Ok((part, rest)) => {
                        self.difference = rest.map(|rest| (rest, before));
                        return Some(self.part(&part, before).await);
                    }
                    Err(error) => self.end(Some(error.into())),
                }
                continue;
            }
            tokio::select! {
                delivery = self.outbox.next() => self.deliver(delivery).await,
                wake = self.life.wake() => self.woken(wake),
            }
        }
    }

    fn woken(&mut self, wake: Wake) {
        match wake {
            Wake::Comment => {
                let comment = self.life.comment();
                self.ready.push_back(comment);
            }
            Wake::End(problem) => self.end(problem),
        }
    }

    fn end(&mut self, problem: Option<Problem>) {
        self.ready.extend(problem.map(|problem| self.life.farewell(&problem)));
        self.ended = true;
    }

    async fn deliver(&mut self, delivery: Delivery) {
        match delivery {
            Delivery::Events { version, events } => {
                // A live event is one commit, so what was before it is what was just before its version.
                let before = Version::from_micros(version.micros().saturating_sub(1));
                for (_, event) in events {
                    self.event(&event, before).await;
                }
            }
            Delivery::Lagged(target) => match self.database.catch_up_in_parts(&self.outbox, target).await {
                Ok(opening) => self.open(opening, None),
                Err(error) => self.end(Some(error.into())),
            },
            Delivery::Closing => self.end(Some(stops())),
        }
    }

    /// Tells a beginning. `before` is the version from which the reader goes on, where it is known.
    fn open(&mut self, opening: Opening<Difference>, before: Option<Version>) {
        match opening {
            Opening::Whole { answer, reset } => {
                let limits = self.life.door.engine.limits().parts();
                self.parts = Some(Parts::new(self.query.clone(), self.database.name().clone(), answer, reset, limits));
            }
            Opening::Since(difference) => self.difference = Some((difference, before)),
        }
    }

    async fn part(&mut self, part: &Part, at: Option<Version>) -> Bytes {
        let before = match at {
            Some(at) if self.patches => Some(before(&self.database, &self.caller, &part.event, at).await),
            _ => None,
        };
        let members = json::part_members(part, before.as_ref(), self.database.name());
        let token = part.event.token.to_string();
        sse::event(part.last.then_some(token.as_str()), &members)
    }

    async fn event(&mut self, event: &SharedEvent, at: Version) {
        let members = if self.patches {
            let before = before(&self.database, &self.caller, event, at).await;
            json::patch_members(event, &before, self.database.name())
        } else {
            json::event_members(event, self.database.name())
        };
        self.ready.push_back(sse::event(Some(&event.token.to_string()), &members));
    }
}
