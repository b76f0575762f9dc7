//! What waits to be written to a socket: gathered, so that it leaves in one write, and watched for progress.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::extract::ws::Message;
use futures_util::Sink;
use tokio::time::Instant;

/// Messages on their way to a socket.
#[derive(Debug)]
pub(super) struct Writes {
    waiting: VecDeque<Message>,
    /// Bytes given since all had left.
    bytes: usize,
    /// Whether the socket may hold something that has not left.
    unsent: bool,
    /// When there last was progress.
    moved_at: Instant,
}

impl Writes {
    /// Bytes beyond which no more is gathered for one write.
    const BATCH_BYTES_MAX: usize = 256 << 10;
    /// How long writing may make no progress.
    const STUCK_MAX: Duration = Duration::from_secs(30);
    /// The slowest reader that is waited for, in bytes a second: how far a large message is, a socket does not tell.
    const RATE_MIN: usize = 16 << 10;

    pub(super) fn new(now: Instant) -> Self {
        Self { waiting: VecDeque::new(), bytes: 0, unsent: false, moved_at: now }
    }

    /// Whether more may be given.
    pub(super) fn has_room(&self) -> bool {
        self.bytes < Self::BATCH_BYTES_MAX
    }

    /// Whether all that was given has left.
    pub(super) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && !self.unsent
    }

    pub(super) fn push(&mut self, message: Message, now: Instant) {
        if self.is_idle() {
            self.moved_at = now;
        }
        self.bytes += bytes_of(&message);
        self.waiting.push_back(message);
    }

    /// When the reader counts as too slow, unless there is progress before.
    pub(super) fn stuck_at(&self) -> Instant {
        self.moved_at + Self::STUCK_MAX + Duration::from_secs((self.bytes / Self::RATE_MIN) as u64)
    }

    /// Writes on. Ready when something was waiting and all of it has left.
    pub(super) fn poll<S>(&mut self, socket: &mut S, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>>
    where
        S: Sink<Message> + Unpin,
    {
        let mut socket = Pin::new(socket);
        if self.is_idle() {
            return Poll::Pending;
        }
        while !self.waiting.is_empty() {
            ready!(socket.as_mut().poll_ready(cx))?;
            if let Some(message) = self.waiting.pop_front() {
                self.unsent = true;
                self.moved_at = Instant::now();
                socket.as_mut().start_send(message)?;
            }
        }
        ready!(socket.as_mut().poll_flush(cx))?;
        self.unsent = false;
        self.bytes = 0;
        Poll::Ready(Ok(()))
    }
}

fn bytes_of(message: &Message) -> usize {
    match message {
        Message::Text(text) => text.len(),
        Message::Binary(bytes) | Message::Ping(bytes) | Message::Pong(bytes) => bytes.len(),
        Message::Close(_) => 0,
    }
}
