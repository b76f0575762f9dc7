//! Tell: the last stage makes visible what is durable, passes it to listeners, and then answers the callers.

use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc as std_mpsc};

use hearth_core::change::Commit;

use super::{Group, Logged, Reply, Shared};
use crate::crew::{Found, Pace, Turn, Worker};
use crate::feed::Feed;
use crate::request::{CommitError, Committed};

pub(super) struct TellStage {
    shared: Arc<Shared>,
    feed: Arc<Feed>,
    /// Freezes a full generation and wakes the applier.
    freeze: Box<dyn Fn() + Send>,
    from_log: std_mpsc::Receiver<Logged>,
    /// What is being told.
    telling: Option<Telling>,
}

struct Telling {
    commits: std::vec::IntoIter<(Arc<Commit>, usize)>,
    verdicts: Vec<(Reply, Result<Committed, CommitError>)>,
}

impl TellStage {
    pub(super) fn new(
        shared: Arc<Shared>,
        feed: Arc<Feed>,
        freeze: impl Fn() + Send + 'static,
        from_log: std_mpsc::Receiver<Logged>,
    ) -> Self {
        Self { shared, feed, freeze: Box::new(freeze), from_log, telling: None }
    }

    /// Makes a group visible.
    fn publish(&self, group: Group) -> Telling {
        let shared = &self.shared;
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
        if let Some(wipe) = group.wipe {
            // The planner waits for it, unless it has ended in a panic.
            let _ = wipe.done.send(());
            self.feed.wiped(wipe.life.floor);
        }
        Telling { commits: group.commits.into_iter(), verdicts: group.verdicts }
    }
}

impl Worker for TellStage {
    /// Takes a group in, passes one commit, or answers the callers of a group that is passed.
    fn step(&mut self, pace: Pace) -> Turn {
        let Some(telling) = &mut self.telling else {
            match pace.receive(&self.from_log) {
                Found::Work(Logged::Durable(group)) => self.telling = Some(self.publish(group)),
                Found::Work(Logged::Refused { group, error, failed }) => {
                    if failed {
                        self.shared.life.fetch_add(1, Ordering::AcqRel);
                    }
                    refuse(group, &error);
                }
                Found::Nothing => return Turn::Nothing,
                Found::Closed => {
                    self.feed.close();
                    return Turn::Over;
                }
            }
            return Turn::Worked;
        };
        if let Some((commit, bytes)) = telling.commits.next() {
            self.feed.pass(&commit, bytes);
            return Turn::Worked;
        }
        for (reply, verdict) in self.telling.take().into_iter().flat_map(|telling| telling.verdicts) {
            // Whoever asked may have gone; then nobody is to be told.
            let _ = reply.send(verdict);
        }
        Turn::Worked
    }
}

/// Answers a group that was dropped. A refusal rests on what was dropped too, so it is not told either.
fn refuse(group: Group, error: &CommitError) {
    for (reply, _) in group.verdicts {
        // Whoever asked may have gone; then nobody is to be told.
        let _ = reply.send(Err(error.clone()));
    }
}
