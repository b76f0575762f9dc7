//! Tell: the last stage passes what is durable to listeners, and then answers the callers.

use std::sync::{Arc, mpsc as std_mpsc};

use hearth_core::change::Commit;

use super::{Durable, Reply};
use crate::crew::{Found, Pace, Turn, Worker};
use crate::feed::Feed;
use crate::request::{CommitError, Committed};

pub(super) struct FeedStage {
    feed: Arc<Feed>,
    from_log: std_mpsc::Receiver<Durable>,
    /// What is being told.
    telling: Option<Telling>,
}

struct Telling {
    commits: std::vec::IntoIter<(Arc<Commit>, usize)>,
    verdicts: Vec<(Reply, Result<Committed, CommitError>)>,
}

impl FeedStage {
    pub(super) fn new(feed: Arc<Feed>, from_log: std_mpsc::Receiver<Durable>) -> Self {
        Self { feed, from_log, telling: None }
    }
}

impl Worker for FeedStage {
    /// Passes one commit, or answers the callers of a group that is passed.
    fn step(&mut self, pace: Pace) -> Turn {
        let telling = match &mut self.telling {
            Some(telling) => telling,
            None => match pace.receive(&self.from_log) {
                Found::Work(Durable { commits, wiped, verdicts }) => {
                    if let Some(version) = wiped {
                        self.feed.wiped(version);
                    }
                    self.telling.insert(Telling { commits: commits.into_iter(), verdicts })
                }
                Found::Nothing => return Turn::Nothing,
                Found::Closed => {
                    self.feed.close();
                    return Turn::Over;
                }
            },
        };
        if let Some((commit, bytes)) = telling.commits.next() {
            self.feed.pass(&commit, bytes);
            return Turn::Worked;
        }
        for (reply, verdict) in std::mem::take(&mut telling.verdicts) {
            // Whoever asked may have gone; then nobody is to be told.
            let _ = reply.send(verdict);
        }
        self.telling = None;
        Turn::Worked
    }
}
