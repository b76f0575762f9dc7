//! The crew: who does the work of an engine beside answering.
//!
//! A worker does its work step by step and shares nothing but channels and what is made for sharing. In production
//! each has a thread that loops over its steps and waits between them. A simulation takes the steps itself, on one
//! thread, in the order that a seed says.

use std::io;
use std::sync::mpsc::{Receiver, RecvError, RecvTimeoutError, SyncSender, TryRecvError, TrySendError};
use std::time::Duration;

use tokio::sync::mpsc as tokio_mpsc;

/// Whether a step may wait for others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// Until there is something to do.
    Wait,
    /// Not at all: with nothing to do, it says so.
    Try,
}

/// What came of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Something was done.
    Worked,
    /// There was nothing to do, or no room for the outcome. Never at [`Pace::Wait`].
    Nothing,
    /// The worker is done for good, and to be dropped.
    Over,
}

/// Somebody with a task of its own.
pub trait Worker: Send {
    /// Does the next part of the work.
    fn step(&mut self, pace: Pace) -> Turn;
}

/// Work that may take long, for any thread.
pub type Job = Box<dyn FnOnce() + Send>;

/// Who runs jobs and workers.
pub trait Crew: Send + Sync + 'static {
    /// Runs a job, now or soon, away from the thread that asks.
    fn job(&self, job: Job);

    /// Has a worker take its steps until it is over.
    fn hire(&self, name: String, worker: Box<dyn Worker>) -> io::Result<Box<dyn Hired>>;
}

/// A worker at its work.
pub trait Hired: Send {
    /// Whether it is over.
    fn is_over(&self) -> bool;

    /// Waits until it is over. Says whether it ended as it should, and not in a panic.
    fn join(self: Box<Self>) -> bool;
}

/// Threads: one for each worker, and a pool for the jobs.
pub(crate) struct Threads {
    pool: Box<dyn Fn(Job) + Send + Sync>,
}

impl Threads {
    /// Threads beside a pool.
    pub(crate) fn new(pool: impl Fn(Job) + Send + Sync + 'static) -> Self {
        Self { pool: Box::new(pool) }
    }
}

impl Crew for Threads {
    fn job(&self, job: Job) {
        (self.pool)(job);
    }

    fn hire(&self, name: String, mut worker: Box<dyn Worker>) -> io::Result<Box<dyn Hired>> {
        let run = move || while worker.step(Pace::Wait) != Turn::Over {};
        Ok(Box::new(std::thread::Builder::new().name(name).spawn(run)?))
    }
}

impl Hired for std::thread::JoinHandle<()> {
    fn is_over(&self) -> bool {
        self.is_finished()
    }

    fn join(self: Box<Self>) -> bool {
        std::thread::JoinHandle::join(*self).is_ok()
    }
}

/// What a worker found where it takes its work from.
pub(crate) enum Found<T> {
    Work(T),
    Nothing,
    /// Nobody will bring any more.
    Closed,
}

/// What became of something that was handed on.
pub(crate) enum Handed<T> {
    Over,
    /// There is no room for it yet.
    Full(T),
    /// Nobody takes it any more.
    Closed,
}

impl Pace {
    /// Takes the next from another worker.
    pub(crate) fn receive<T>(self, from: &Receiver<T>) -> Found<T> {
        let received = match self {
            Self::Wait => from.recv().map_err(|RecvError| TryRecvError::Disconnected),
            Self::Try => from.try_recv(),
        };
        match received {
            Ok(work) => Found::Work(work),
            Err(TryRecvError::Empty) => Found::Nothing,
            Err(TryRecvError::Disconnected) => Found::Closed,
        }
    }

    /// The same, and no longer than this. [`Found::Nothing`] where it has passed, or nobody waits.
    pub(crate) fn receive_within<T>(self, from: &Receiver<T>, time: Duration) -> Found<T> {
        match self {
            Self::Try => self.receive(from),
            Self::Wait => match from.recv_timeout(time) {
                Ok(work) => Found::Work(work),
                Err(RecvTimeoutError::Timeout) => Found::Nothing,
                Err(RecvTimeoutError::Disconnected) => Found::Closed,
            },
        }
    }

    /// Takes the next that callers ask.
    pub(crate) fn asked<T>(self, queue: &mut tokio_mpsc::Receiver<T>) -> Found<T> {
        let received = match self {
            Self::Wait => queue.blocking_recv().ok_or(tokio_mpsc::error::TryRecvError::Disconnected),
            Self::Try => queue.try_recv(),
        };
        match received {
            Ok(work) => Found::Work(work),
            Err(tokio_mpsc::error::TryRecvError::Empty) => Found::Nothing,
            Err(tokio_mpsc::error::TryRecvError::Disconnected) => Found::Closed,
        }
    }

    /// Hands something on to another worker.
    pub(crate) fn hand<T>(self, to: &SyncSender<T>, work: T) -> Handed<T> {
        let sent = match self {
            Self::Wait => to.send(work).map_err(|error| TrySendError::Disconnected(error.0)),
            Self::Try => to.try_send(work),
        };
        match sent {
            Ok(()) => Handed::Over,
            Err(TrySendError::Full(work)) => Handed::Full(work),
            Err(TrySendError::Disconnected(_)) => Handed::Closed,
        }
    }
}
