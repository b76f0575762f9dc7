//! Tell: the last stage makes visible what is durable, passes it to listeners, and then answers the callers.

use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc as std_mpsc};

use hearth_core::change::Commit;

use super::{Group, Logged, Reply, Shared};
use crate::crew::{Found, Pace, Turn, Worker};
use crate::feed::Feed;
use crate::request::{CommitError, Committed};

pub(super) struct TellStage {
    teller: Arc<Teller>,
    from_log: std_mpsc::Receiver<Logged>,
    /// What is being told.
    telling: Option<Telling>,
}

/// What becomes of a group that the log is done with.
pub(super) struct Teller {
    shared: Arc<Shared>,
    feed: Arc<Feed>,
    /// Freezes a full generation and wakes the applier.
    freeze: Box<dyn Fn() + Send + Sync>,
}

struct Telling {
    number: u64,
    commits: std::vec::IntoIter<(Arc<Commit>, usize)>,
    verdicts: Vec<(Reply, Result<Committed, CommitError>)>,
}

impl Teller {
    pub(super) fn new(shared: Arc<Shared>, feed: Arc<Feed>, freeze: impl Fn() + Send + Sync + 'static) -> Self {
        Self { shared, feed, freeze: Box::new(freeze) }
    }

    /// Whether listeners come or go just now, or are told something: then telling would wait.
    pub(super) fn is_busy(&self) -> bool {
        self.feed.is_busy()
    }

    /// Tells a group, from beginning to end.
    pub(super) fn tell(&self, logged: Logged) {
        let Some(mut telling) = self.begin(logged) else { return };
        while self.pass(&mut telling) {}
        self.answer(telling);
    }

    /// Makes a group visible, or refuses it.
    fn begin(&self, logged: Logged) -> Option<Telling> {
        match logged {
            Logged::Durable(group) => Some(self.publish(group)),
            Logged::Refused { group, error, failed } => {
                if failed {
                    self.shared.life.fetch_add(1, Ordering::AcqRel);
                }
                self.shared.told.store(group.number, Ordering::Release);
                refuse(group, &error);
                None
            }
        }
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
        Telling { number: group.number, commits: group.commits.into_iter(), verdicts: group.verdicts }
    }

    /// Passes one commit to those who listen; says whether there was one.
    fn pass(&self, telling: &mut Telling) -> bool {
        let Some((commit, bytes)) = telling.commits.next() else { return false };
        self.feed.pass(&commit, bytes);
        true
    }

    /// Answers the callers of a group that is passed.
    fn answer(&self, telling: Telling) {
        self.shared.told.store(telling.number, Ordering::Release);
        for (reply, verdict) in telling.verdicts {
            // Whoever asked may have gone; then nobody is to be told.
            let _ = reply.send(verdict);
        }
    }
}

impl TellStage {
    pub(super) fn new(teller: Arc<Teller>, from_log: std_mpsc::Receiver<Logged>) -> Self {
        Self { teller, from_log, telling: None }
    }
}

impl Worker for TellStage {
    /// Takes a group in, passes one commit, or answers the callers of a group that is passed.
    fn step(&mut self, pace: Pace) -> Turn {
        match self.telling.take() {
            Some(mut telling) => match self.teller.pass(&mut telling) {
                true => self.telling = Some(telling),
                false => self.teller.answer(telling),
            },
            None => match pace.receive(&self.from_log) {
                Found::Work(logged) => self.telling = self.teller.begin(logged),
                Found::Nothing => return Turn::Nothing,
                Found::Closed => {
                    self.teller.feed.close();
                    return Turn::Over;
                }
            },
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
