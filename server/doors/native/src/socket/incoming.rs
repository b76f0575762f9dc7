//! When a socket is looked at for what has come: only after it has woken, not whenever its task has.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker, ready};

use futures_util::task::AtomicWaker;
use futures_util::{Stream, StreamExt as _};

/// The reading side of one socket. A look clears the socket's buffer and goes through all of its layers, which for a
/// listener that only listens would be in vain after every event.
pub(crate) struct Incoming {
    bell: Arc<Bell>,
    waker: Waker,
}

/// Rung by the socket; wakes the task that reads it.
struct Bell {
    rung: AtomicBool,
    task: AtomicWaker,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.rung.store(true, Ordering::Release);
        self.task.wake();
    }
}

impl Default for Incoming {
    fn default() -> Self {
        // Nobody has looked yet.
        let bell = Arc::new(Bell { rung: AtomicBool::new(true), task: AtomicWaker::new() });
        Self { waker: bell.clone().into(), bell }
    }
}

impl Incoming {
    /// The next that has come. To be polled with the same socket each time, by one task.
    pub(crate) fn poll<S: Stream + Unpin>(&mut self, socket: &mut S, cx: &mut Context<'_>) -> Poll<Option<S::Item>> {
        // Registered before the look, so that what comes in between is not missed.
        self.bell.task.register(cx.waker());
        if !self.bell.rung.swap(false, Ordering::AcqRel) {
            return Poll::Pending;
        }
        let next = ready!(socket.poll_next_unpin(&mut Context::from_waker(&self.waker)));
        // More may have come with it, of which the socket wakes nobody.
        self.bell.rung.store(true, Ordering::Release);
        Poll::Ready(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::Pin;

    /// A socket that counts how often it is looked at.
    #[derive(Default)]
    struct Pipe {
        items: Vec<u32>,
        looks: usize,
        waker: Option<Waker>,
    }

    impl Stream for Pipe {
        type Item = u32;

        fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<u32>> {
            self.looks += 1;
            self.waker = Some(cx.waker().clone());
            self.items.pop().map_or(Poll::Pending, |item| Poll::Ready(Some(item)))
        }
    }

    #[derive(Default)]
    struct Task(AtomicBool);

    impl Wake for Task {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::Release);
        }
    }

    #[test]
    fn a_socket_that_has_not_woken_is_not_looked_at_and_nothing_of_what_came_together_is_left() {
        let (mut incoming, mut pipe) = (Incoming::default(), Pipe { items: vec![2, 1], ..Pipe::default() });
        let task = Arc::new(Task::default());
        let waker = task.clone().into();
        let mut cx = Context::from_waker(&waker);
        assert_eq!(incoming.poll(&mut pipe, &mut cx), Poll::Ready(Some(1)));
        assert_eq!(incoming.poll(&mut pipe, &mut cx), Poll::Ready(Some(2)));
        (0..3).for_each(|_| assert!(incoming.poll(&mut pipe, &mut cx).is_pending()));
        assert_eq!(pipe.looks, 3);
        pipe.items.push(3);
        pipe.waker.take().unwrap().wake();
        assert!(task.0.load(Ordering::Acquire), "the task is woken");
        assert_eq!(incoming.poll(&mut pipe, &mut cx), Poll::Ready(Some(3)));
    }
}
