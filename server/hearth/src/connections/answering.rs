//! How far a connection is with a request: the stream under it asks, the service above it knows.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use axum::BoxError;
use axum::body::Body;
use axum::http::{HeaderMap, Response, StatusCode, header};
use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};

use super::unfinished::Held;

/// What one connection of HTTP/1.1 knows of its request.
#[derive(Clone, Debug, Default)]
pub(super) struct Answering {
    // Held to note one step.
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    requests: usize,
    /// Whether the last request has come whole.
    is_whole: bool,
    /// Who waits for the end of all answers.
    waits: Option<Waker>,
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// A request was begun, and its end was not read yet.
    Hearing,
    /// A request that came whole is being answered.
    Answering,
    /// There is none.
    Over,
}

impl Answering {
    /// A request has come; it is answered when the last of what this returns is dropped.
    pub(super) fn begin(&self) -> Arc<UnderWay> {
        let mut state = self.state();
        state.requests += 1;
        state.is_whole = false;
        Arc::new(UnderWay(self.clone()))
    }

    /// How far it is. Whoever asks before it is over is woken when it is.
    pub(super) fn stage(&self, context: &Context<'_>) -> Stage {
        let mut state = self.state();
        state.waits = (state.requests > 0).then(|| context.waker().clone());
        match (state.requests, state.is_whole) {
            (0, _) => Stage::Over,
            (_, true) => Stage::Answering,
            (_, false) => Stage::Hearing,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request that is being answered.
#[derive(Debug)]
pub(super) struct UnderWay(Answering);

impl UnderWay {
    /// All of the request has been read.
    fn is_whole(&self) {
        let mut state = self.0.state();
        state.is_whole = true;
        // The wait for the rest becomes one for the answer.
        if let Some(waker) = state.waits.take() {
            waker.wake();
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.requests -= 1;
        if let Some(waker) = state.waits.take() {
            waker.wake();
        }
    }
}

/// The body of a request.
pub(super) struct Asked {
    body: Incoming,
    /// Until it has come whole.
    under_way: Option<Arc<UnderWay>>,
    /// What is held of it, where others share the connection.
    held: Option<Held>,
}

impl Asked {
    pub(super) fn new(body: Incoming, under_way: Option<Arc<UnderWay>>, held: Option<Held>) -> Self {
        let mut asked = Self { body, under_way, held };
        asked.note_end(asked.body.is_end_stream());
        asked
    }

    fn note_end(&mut self, is_end: bool) {
        if is_end && let Some(under_way) = self.under_way.take() {
            under_way.is_whole();
        }
    }
}

impl HttpBody for Asked {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        let is_end = frame.is_none() || self.body.is_end_stream();
        self.note_end(is_end && !matches!(frame, Some(Err(_))));
        let data = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref());
        let too_much = data.zip(self.held.as_mut()).and_then(|(data, held)| held.add(data).err());
        Poll::Ready(match too_much {
            Some(too_much) => Some(Err(too_much.into())),
            None => frame.map(|frame| frame.map_err(Into::into)),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Lets a request be under way until all of its answer was handed on. Not where the answer has no end: there nobody waits for
/// it, and who stops speaking has left.
pub(super) fn until_sent(response: Response<Body>, under_way: Option<Arc<UnderWay>>) -> Response<Body> {
    match under_way {
        Some(under_way) if has_end(response.status(), response.headers()) => {
            response.map(|body| Body::new(Sending { body, _under_way: under_way }))
        }
        Some(_) | None => response,
    }
}

fn has_end(status: StatusCode, headers: &HeaderMap) -> bool {
    let events =
        headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
    status != StatusCode::SWITCHING_PROTOCOLS && !events
}

/// The body of an answer.
struct Sending {
    body: Body,
    _under_way: Arc<UnderWay>,
}

impl HttpBody for Sending {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
