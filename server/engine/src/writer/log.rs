//! Log: the second stage makes groups durable.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc as std_mpsc};

use hearth_core::Version;
use hearth_store::{AppendError, CommitLog};

use super::{Group, Logged, Shared};
use crate::crew::{Found, Handed, Pace, Turn, Worker};
use crate::request::CommitError;

pub(super) struct LogStage {
    shared: Arc<Shared>,
    end: Arc<LogEnd>,
    from_plan: std_mpsc::Receiver<Group>,
    /// A group that did not go together with the one before it.
    apart: Option<Group>,
    to_tell: std_mpsc::SyncSender<Logged>,
    /// What the last stage has no room for yet.
    ready: Option<Logged>,
}

/// The log itself. This stage appends to it, or the planner in its stead while it has nothing to do.
pub(super) struct LogEnd {
    shared: Arc<Shared>,
    inside: Mutex<Inside>,
}

struct Inside {
    log: Box<dyn CommitLog>,
    /// How often the log has failed: groups of an earlier life rest on one that failed.
    life: u64,
}

impl Worker for LogStage {
    fn step(&mut self, pace: Pace) -> Turn {
        let logged = match self.ready.take() {
            Some(logged) => logged,
            None => match self.apart.take().map_or_else(|| self.receive(pace), Found::Work) {
                Found::Work(group) => {
                    let group = self.gather(group);
                    self.end.append(group)
                }
                Found::Nothing => return Turn::Nothing,
                Found::Closed => {
                    self.end.close();
                    return Turn::Over;
                }
            },
        };
        let handed = pace.hand(&self.to_tell, logged);
        self.end.drop_needless();
        match handed {
            Handed::Over => Turn::Worked,
            Handed::Full(logged) => {
                self.ready = Some(logged);
                Turn::Nothing
            }
            Handed::Closed => {
                self.end.close();
                Turn::Over
            }
        }
    }
}

impl LogStage {
    pub(super) fn new(
        shared: Arc<Shared>,
        end: Arc<LogEnd>,
        from_plan: std_mpsc::Receiver<Group>,
        to_tell: std_mpsc::SyncSender<Logged>,
    ) -> Self {
        Self { shared, end, from_plan, apart: None, to_tell, ready: None }
    }

    fn receive(&self, pace: Pace) -> Found<Group> {
        self.shared.log_idle.store(true, Ordering::Release);
        let found = pace.receive(&self.from_plan);
        if !matches!(found, Found::Nothing) {
            self.shared.log_idle.store(false, Ordering::Release);
        }
        found
    }

    /// Adds to a group those that wait behind it: one sync is enough for all of them.
    fn gather(&mut self, mut group: Group) -> Group {
        while let Ok(next) = self.from_plan.try_recv() {
            if let Err(next) = group.join(next) {
                self.apart = Some(*next);
                break;
            }
        }
        group
    }
}

impl LogEnd {
    pub(super) fn new(shared: Arc<Shared>, log: Box<dyn CommitLog>) -> Self {
        Self { shared, inside: Mutex::new(Inside { log, life: 0 }) }
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self) {
        self.inside().log.close();
    }

    /// Lets go of what of the log is needed no more.
    pub(super) fn drop_needless(&self) {
        let needless = Version::from_micros(self.shared.log_needless.swap(0, Ordering::AcqRel));
        if needless == Version::ZERO {
            return;
        }
        match self.inside().log.drop_before(needless) {
            Ok(bytes) => drop(self.shared.metrics.log_bytes_dropped.inc_by(bytes)),
            Err(error) => tracing::warn!(%error, "a part of the log that is not needed could not be dropped"),
        }
    }

    /// Makes a group durable, unless it rests on one that could not be.
    fn append(&self, group: Group) -> Logged {
        self.append_with(&mut self.inside(), group)
    }

    /// The same, unless the log is at something else.
    pub(super) fn append_if_free(&self, group: Group) -> Result<Logged, Box<Group>> {
        match self.inside.try_lock() {
            Ok(mut inside) => Ok(self.append_with(&mut inside, group)),
            Err(_) => Err(Box::new(group)),
        }
    }

    fn append_with(&self, inside: &mut Inside, group: Group) -> Logged {
        if group.life != inside.life {
            let cause: Arc<str> = "a commit that this one was planned on could not be written".into();
            return Logged::Refused { group, error: CommitError::NotApplied { cause }, failed: false };
        }
        let Err(error) = inside.log.append(&group.entries) else { return Logged::Durable(group) };
        tracing::error!(%error, "the commit log failed");
        let shared = &self.shared;
        shared.metrics.log_failures.inc_by(1);
        inside.life += 1;
        let cause: Arc<str> = error.to_string().into();
        if let Some(cause) = inside.log.read_only() {
            // Set by the first failure that cannot be taken back; later ones only repeat it.
            let _ = shared.log_failure.set(cause);
        }
        let error = match error {
            AppendError::Unknown { .. } => CommitError::Unknown { cause },
            AppendError::ReadOnly { .. } => CommitError::ReadOnly { cause },
            AppendError::Closed => CommitError::Closed,
            AppendError::NotApplied { .. } | AppendError::TooLarge { .. } | AppendError::OutOfOrder { .. } => {
                CommitError::NotApplied { cause }
            }
        };
        Logged::Refused { group, error, failed: true }
    }
}
