//! Log: the second stage makes groups durable, and then visible.

use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc as std_mpsc};

use hearth_core::Version;
use hearth_store::{AppendError, CommitLog};

use super::{Durable, Group, Shared};
use crate::crew::{Found, Handed, Pace, Turn, Worker};
use crate::request::CommitError;

pub(super) struct LogStage {
    shared: Arc<Shared>,
    log: Box<dyn CommitLog>,
    /// Freezes a full generation and wakes the applier.
    freeze: Box<dyn Fn() + Send>,
    from_plan: std_mpsc::Receiver<Group>,
    /// A group that did not go together with the one before it.
    apart: Option<Group>,
    to_feed: std_mpsc::SyncSender<Durable>,
    /// What the feed has no room for yet.
    ready: Option<Durable>,
}

impl Worker for LogStage {
    fn step(&mut self, pace: Pace) -> Turn {
        let durable = match self.ready.take() {
            Some(durable) => Some(durable),
            None => match self.apart.take().map_or_else(|| pace.receive(&self.from_plan), Found::Work) {
                Found::Work(group) => {
                    let group = self.gather(group);
                    self.append(group)
                }
                Found::Nothing => return Turn::Nothing,
                Found::Closed => {
                    self.log.close();
                    return Turn::Over;
                }
            },
        };
        let handed = durable.map_or(Handed::Over, |durable| pace.hand(&self.to_feed, durable));
        self.drop_needless();
        match handed {
            Handed::Over => Turn::Worked,
            Handed::Full(durable) => {
                self.ready = Some(durable);
                Turn::Nothing
            }
            Handed::Closed => {
                self.log.close();
                Turn::Over
            }
        }
    }
}

impl LogStage {
    pub(super) fn new(
        shared: Arc<Shared>,
        log: Box<dyn CommitLog>,
        freeze: impl Fn() + Send + 'static,
        from_plan: std_mpsc::Receiver<Group>,
        to_feed: std_mpsc::SyncSender<Durable>,
    ) -> Self {
        Self { shared, log, freeze: Box::new(freeze), from_plan, apart: None, to_feed, ready: None }
    }

    /// Lets go of what of the log is needed no more.
    fn drop_needless(&mut self) {
        let needless = Version::from_micros(self.shared.log_needless.swap(0, Ordering::AcqRel));
        if needless == Version::ZERO {
            return;
        }
        match self.log.drop_before(needless) {
            Ok(bytes) => drop(self.shared.metrics.log_bytes_dropped.inc_by(bytes)),
            Err(error) => tracing::warn!(%error, "a part of the log that is not needed could not be dropped"),
        }
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

    fn append(&mut self, group: Group) -> Option<Durable> {
        let shared = &self.shared;
        if group.life != shared.life.load(Ordering::Acquire) {
            let cause: Arc<str> = "a commit that this one was planned on could not be written".into();
            refuse(group, &CommitError::NotApplied { cause });
            return None;
        }
        if let Err(error) = self.log.append(&group.entries) {
            tracing::error!(%error, "the commit log failed");
            shared.metrics.log_failures.inc_by(1);
            shared.life.fetch_add(1, Ordering::AcqRel);
            let cause: Arc<str> = error.to_string().into();
            if let Some(cause) = self.log.read_only() {
                // Set by the first failure that cannot be taken back; later ones only repeat it.
                let _ = shared.log_failure.set(cause);
            }
            let told = match error {
                AppendError::Unknown { .. } => CommitError::Unknown { cause },
                AppendError::ReadOnly { .. } => CommitError::ReadOnly { cause },
                AppendError::Closed => CommitError::Closed,
                AppendError::NotApplied { .. } | AppendError::TooLarge { .. } | AppendError::OutOfOrder { .. } => {
                    CommitError::NotApplied { cause }
                }
            };
            refuse(group, &told);
            return None;
        }
        if !group.entries.is_empty() {
            shared.metrics.log_groups.inc_by(1);
            shared.metrics.log_bytes.inc_by(group.bytes as u64);
            shared.metrics.commits.inc_by(group.commits.len() as u64);
            shared.log_grown.fetch_add(group.bytes as u64, Ordering::AcqRel);
            shared.memtable.insert(group.puts, group.last);
            if let Some(wipe) = &group.wipe {
                // Before the version can be seen: whoever reads at it finds nothing, and nobody reads below it any more.
                shared.lives.begin(wipe.life);
                shared.set_history_start(wipe.life.floor);
                shared.metrics.wipes.inc();
            }
            shared.visible.advance(group.last);
        }
        shared.published.store(group.number, Ordering::Release);
        (self.freeze)();
        let wiped = group.wipe.map(|wipe| {
            // The planner waits for it, unless it has ended in a panic.
            let _ = wipe.done.send(());
            wipe.life.floor
        });
        Some(Durable { commits: group.commits, wiped, verdicts: group.verdicts })
    }
}

/// Answers a group that was dropped. A refusal rests on what was dropped too, so it is not told either.
fn refuse(group: Group, error: &CommitError) {
    for (reply, _) in group.verdicts {
        // Whoever asked may have gone; then nobody is to be told.
        let _ = reply.send(Err(error.clone()));
    }
}
