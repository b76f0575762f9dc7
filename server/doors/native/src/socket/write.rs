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
pub(crate) struct Writes {
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

    pub(crate) fn new(now: Instant) -> Self {
        Self { waiting: VecDeque::new(), bytes: 0, unsent: false, moved_at: now }
    }

    /// Whether more may be given.
    pub(crate) fn has_room(&self) -> bool {
        self.bytes < Self::BATCH_BYTES_MAX
    }

    /// Whether all that was given has left.
    pub(crate) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && !self.unsent
    }

    pub(crate) fn push(&mut self, message: Message, now: Instant) {
        if self.is_idle() {
            self.moved_at = now;
        }
        self.bytes += bytes_of(&message);
        self.waiting.push_back(message);
    }

    /// When the reader counts as too slow, unless there is progress before.
    pub(crate) fn stuck_at(&self) -> Instant {
        self.moved_at + Self::STUCK_MAX + Duration::from_secs((self.bytes / Self::RATE_MIN) as u64)
    }

    /// Writes on. Ready when something was waiting and all of it has left.
    pub(crate) fn poll<S>(&mut self, socket: &mut S, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>>
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;
    use std::task::Waker;

    /// A socket that takes so many messages before it is blocked.
    struct Pipe {
        room: usize,
        given: usize,
        flushes: usize,
    }

    impl Sink<Message> for Pipe {
        type Error = Infallible;

        fn poll_ready(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            if self.given < self.room { Poll::Ready(Ok(())) } else { Poll::Pending }
        }

        fn start_send(mut self: Pin<&mut Self>, _: Message) -> Result<(), Infallible> {
            self.given += 1;
            Ok(())
        }

        fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            self.flushes += 1;
            Poll::Ready(Ok(()))
        }

        fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }
    }

    #[test]
    fn what_waits_leaves_in_one_write_and_a_blocked_socket_keeps_its_order() {
        let (mut writes, mut pipe) = (Writes::new(Instant::now()), Pipe { room: 2, given: 0, flushes: 0 });
        let mut cx = Context::from_waker(Waker::noop());
        assert!(writes.poll(&mut pipe, &mut cx).is_pending(), "nothing waits");
        (0..3).for_each(|n| writes.push(Message::text(n.to_string()), Instant::now()));
        assert!(writes.poll(&mut pipe, &mut cx).is_pending());
        assert_eq!((pipe.given, pipe.flushes, writes.waiting.len(), writes.is_idle()), (2, 0, 1, false));
        pipe.room = 9;
        assert!(writes.poll(&mut pipe, &mut cx).is_ready());
        assert_eq!((pipe.given, pipe.flushes, writes.is_idle()), (3, 1, true));
    }

    #[test]
    fn a_batch_is_bounded_and_a_large_one_has_longer_to_leave() {
        let now = Instant::now();
        let mut writes = Writes::new(now);
        assert!(writes.has_room());
        writes.push(Message::text("x".repeat(Writes::BATCH_BYTES_MAX)), now);
        assert!(!writes.has_room());
        let seconds = (Writes::BATCH_BYTES_MAX / Writes::RATE_MIN) as u64;
        assert_eq!(writes.stuck_at(), now + Writes::STUCK_MAX + Duration::from_secs(seconds));
    }
}
