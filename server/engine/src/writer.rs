//! The writer: orders the commits of one database and makes them durable.
//!
//! Three stages, each a worker, so that one group is planned while another is being synced and a third is being told:
//! plan (decide each commit on the state and what is planned) → log (one frame, one sync, and nothing else: commits wait for
//! it) → tell (the memtable, which makes it visible, then listeners, then the callers). Every verdict, refusals included, is
//! answered when all that it was decided on is durable.
//!
//! A commit that is alone gains nothing by that and would wait for two threads to wake: where the other stages have nothing
//! to do and nothing more is asked, the planner sees the group through itself.
//!
//! When the log fails, the group that failed and all planned on it are dropped; `life` tells the stages apart. The planner
//! hears of it when everything that the log took before is visible.

mod log;
mod plan;
mod puts;
mod tell;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, mpsc as std_mpsc};

use hearth_core::change::Commit;
use hearth_core::{Version, size};
use hearth_store::{CommitLog, Entry};
use tokio::sync::{mpsc, oneshot};

use self::log::{LogEnd, LogStage};
use self::plan::Planner;
pub(crate) use self::puts::{puts, wipe_puts};
use self::tell::{TellStage, Teller};
use crate::crew::Hired;
use crate::database::Common;
use crate::feed::Feed;
use crate::keys_seen::KeysSeen;
use crate::keyspace::Keyspace;
use crate::limits::Limits;
use crate::lives::{Life, Lives};
use crate::memtable::{Memtable, Puts};
use crate::metrics::Metrics;
use crate::rebuild::Standing;
use crate::request::{CommitError, CommitRequest, Committed};
use crate::time::Time;
use crate::view::{Pins, View};
use crate::visible::Visible;

/// Bytes of log entries after which a group takes no more commits. One more commit of the largest size, encoded, still
/// fits into a frame.
const GROUP_BYTES_MAX: usize = 4 << 20;
/// Commits that a log with nothing to do is given at once: those behind them are planned while it syncs.
const GROUP_COMMITS_IDLE: usize = 16;
/// Groups that are planned and wait for the log: all that came while it was syncing go into its next frame.
const PLANNED_GROUPS_MAX: usize = 8;
/// Groups that wait to be told. One suffices to keep both busy; more would only lengthen answers.
const DURABLE_GROUPS_MAX: usize = 1;

pub(crate) type Reply = oneshot::Sender<Result<Committed, CommitError>>;

/// What is asked of the writer.
pub(crate) enum Ask {
    /// A commit, by whom, and whom to tell.
    Commit { scope: Box<str>, request: CommitRequest, reply: Reply },
    /// Let `visible` move to the clock's time, and to this version at least, though nothing is committed.
    Tick { at_least: Version, reply: Option<Reply> },
    /// Everything is to be gone, and a new epoch to begin.
    Wipe { epoch: u64, reply: Reply },
    /// Nothing; the stages look after what else there is to do.
    Nudge,
}

/// What the stages share.
pub(crate) struct Shared {
    pub(crate) keyspace: Keyspace,
    pub(crate) memtable: Arc<Memtable>,
    pub(crate) visible: Visible,
    pub(crate) pins: Arc<Pins>,
    pub(crate) lives: Lives,
    pub(crate) time: Arc<Time>,
    pub(crate) limits: Arc<Limits>,
    pub(crate) metrics: Arc<Metrics>,
    /// Bytes that the log has grown by since what the last snapshot holds.
    pub(crate) log_grown: AtomicU64,
    /// What the log holds at or below this version is needed no more.
    pub(crate) log_needless: AtomicU64,
    /// The last wipe that the feed has told of: nobody reads below it any more.
    pub(crate) wipe_told: AtomicU64,
    /// Raised by each failure of the log, once what it took before is visible.
    life: AtomicU64,
    /// The last group that is visible.
    published: AtomicU64,
    /// The last group that was passed to listeners, or refused: the log and the last stage are done with it.
    told: AtomicU64,
    /// The oldest version that can be read.
    history_start: AtomicU64,
    /// Whether the log waits for something to write.
    log_idle: AtomicBool,
    /// Why the log takes nothing more, if that is so.
    log_failure: OnceLock<Arc<str>>,
}

impl Shared {
    pub(crate) fn new(keyspace: Keyspace, memtable: Arc<Memtable>, standing: &Standing, common: &Common) -> Self {
        Self {
            keyspace,
            memtable,
            visible: Visible::new(standing.visible),
            pins: Arc::default(),
            lives: Lives::new(standing.life),
            time: common.time.clone(),
            limits: common.limits.clone(),
            metrics: common.metrics.clone(),
            log_grown: AtomicU64::new(0),
            log_needless: AtomicU64::new(0),
            wipe_told: AtomicU64::new(standing.life.floor.micros()),
            life: AtomicU64::new(0),
            published: AtomicU64::new(0),
            told: AtomicU64::new(0),
            history_start: AtomicU64::new(standing.history_start.micros()),
            log_idle: AtomicBool::new(true),
            log_failure: OnceLock::new(),
        }
    }

    /// Why the log takes nothing more, if that is so.
    pub(crate) fn log_failure(&self) -> Option<Arc<str>> {
        self.log_failure.get().cloned()
    }

    /// The oldest version that can be read.
    pub(crate) fn history_start(&self) -> Version {
        Version::from_micros(self.history_start.load(Ordering::Acquire))
    }

    /// Forgets what is older, also what readers hold: they see a database of before a wipe. Never moves back.
    fn set_history_start(&self, version: Version) {
        self.history_start.fetch_max(version.micros(), Ordering::AcqRel);
    }

    /// Forgets what is older, unless a reader holds it; says whether that is done. A reader pins first and looks at the
    /// start of history then, so it either keeps the start back or sees that it came too late.
    pub(crate) fn forget_before(&self, version: Version) -> bool {
        self.pins.unless_older(version, || self.set_history_start(version))
    }

    /// The database at its newest readable version.
    pub(crate) fn view(&self) -> View {
        self.view_at(self.visible.version())
    }

    /// The database at a version that is visible already and not yet forgotten.
    pub(crate) fn view_at(&self, version: Version) -> View {
        View::open(version, self.lives.at(version).floor, self.keyspace, &self.memtable, &self.pins)
    }
}

/// Commits that are planned together, and the verdicts that rest on them.
struct Group {
    life: u64,
    number: u64,
    entries: Vec<Entry>,
    bytes: usize,
    puts: Puts,
    /// Each with the bytes of its entry.
    commits: Vec<(Arc<Commit>, usize)>,
    verdicts: Vec<(Reply, Result<Committed, CommitError>)>,
    last: Version,
    wipe: Option<Wipe>,
}

impl Group {
    /// Takes in the group that was planned after this one, where both fit into a frame and fail or last together.
    fn join(&mut self, next: Self) -> Result<(), Box<Self>> {
        let is_wipe = self.wipe.is_some() || next.wipe.is_some();
        if is_wipe || self.life != next.life || self.bytes + next.bytes > GROUP_BYTES_MAX {
            return Err(Box::new(next));
        }
        self.number = next.number;
        self.entries.extend(next.entries);
        self.bytes += next.bytes;
        self.puts.entries.extend(next.puts.entries);
        self.puts.superseded += next.puts.superseded;
        self.commits.extend(next.commits);
        self.verdicts.extend(next.verdicts);
        self.last = next.last;
        Ok(())
    }
}

/// A wipe, which is a group of its own, and who waits for it to be durable.
struct Wipe {
    life: Life,
    done: std_mpsc::SyncSender<()>,
}

/// The running stages. Dropping the queue ends them; [`Writer::join`] waits for that.
pub(crate) struct Writer {
    stages: Vec<Box<dyn Hired>>,
}

impl Writer {
    /// Starts the stages.
    pub(crate) fn start(
        name: &str,
        shared: Arc<Shared>,
        seen: KeysSeen,
        log: Box<dyn CommitLog>,
        feed: Arc<Feed>,
        queue: mpsc::Receiver<Ask>,
        freeze: impl Fn() + Send + Sync + 'static,
    ) -> std::io::Result<Self> {
        let crew = feed.crew.clone();
        let (to_log, from_plan) = std_mpsc::sync_channel(PLANNED_GROUPS_MAX);
        let (to_tell, from_log) = std_mpsc::sync_channel(DURABLE_GROUPS_MAX);
        let end = Arc::new(LogEnd::new(shared.clone(), log));
        let teller = Arc::new(Teller::new(shared.clone(), feed, freeze));
        let plan = Planner::new(shared.clone(), seen, queue, to_log, Rest { end: end.clone(), teller: teller.clone() });
        let log = LogStage::new(shared, end, from_plan, to_tell);
        let tell = TellStage::new(teller, from_log);
        let stages = vec![
            crew.hire(format!("plan {name}"), Box::new(plan))?,
            crew.hire(format!("log {name}"), Box::new(log))?,
            crew.hire(format!("tell {name}"), Box::new(tell))?,
        ];
        Ok(Self { stages })
    }

    /// Waits until everything that was asked is answered and the log is closed.
    pub(crate) fn join(self) {
        for stage in self.stages {
            if !stage.join() {
                tracing::error!("a stage of the writer ended in a panic; its message is above");
            }
        }
    }
}

/// What the other stages work with, for a planner that sees a group through alone.
struct Rest {
    end: Arc<LogEnd>,
    teller: Arc<Teller>,
}

impl Rest {
    /// Writes, syncs and tells a group, with which nobody else is at work. Gives it back where it would wait for something
    /// else, and the planner with it.
    fn see_through(&self, group: Group) -> Result<(), Box<Group>> {
        if self.teller.is_busy() {
            return Err(Box::new(group));
        }
        self.teller.tell(self.end.append_if_free(group)?);
        self.end.drop_needless();
        Ok(())
    }
}

/// What became of a group.
enum Logged {
    Durable(Group),
    /// It was dropped, and its callers are to be told why; `failed` where the log failed at it, and a life is over.
    Refused {
        group: Group,
        error: CommitError,
        failed: bool,
    },
}

/// Bytes of a commit as its limit counts them: the documents that its writes carry.
pub(crate) fn request_bytes(request: &CommitRequest) -> usize {
    use hearth_core::write::Operation;
    let of = |write: &hearth_core::write::Write| match write.operation() {
        Operation::Set(fields) | Operation::Merge { fields, .. } => size::document_bytes(write.path(), fields),
        Operation::Delete | Operation::Verify => size::name_bytes(write.path()),
    };
    request.writes.iter().map(of).sum()
}

#[cfg(test)]
mod tests {
    use hearth_core::entry::kind;

    use super::*;

    fn group(number: u64, life: u64, bytes: usize) -> Group {
        let version = Version::from_micros(number);
        Group {
            life,
            number,
            entries: vec![Entry { version, kind: kind::TICK, body: Vec::new() }],
            bytes,
            puts: Puts { entries: Vec::new(), superseded: 1, wiped: false },
            commits: Vec::new(),
            verdicts: Vec::new(),
            last: version,
            wipe: None,
        }
    }

    #[test]
    fn groups_that_wait_share_a_frame() {
        let mut first = group(1, 0, 10);
        assert!(first.join(group(2, 0, GROUP_BYTES_MAX - 10)).is_ok());
        assert_eq!((first.number, first.entries.len(), first.bytes), (2, 2, GROUP_BYTES_MAX));
        assert_eq!((first.last, first.puts.superseded), (Version::from_micros(2), 2));
        assert_eq!(first.join(group(3, 0, 1)).unwrap_err().number, 3);
    }

    #[test]
    fn what_fails_apart_or_wipes_has_a_frame_of_its_own() {
        assert!(group(1, 0, 10).join(group(2, 1, 10)).is_err());
        let (done, _wait) = std_mpsc::sync_channel(1);
        let mut wipe = group(2, 0, 10);
        wipe.wipe = Some(Wipe { life: Life { floor: Version::from_micros(2), epoch: 1 }, done });
        let wipe = group(1, 0, 10).join(wipe).unwrap_err();
        assert!({ *wipe }.join(group(3, 0, 10)).is_err());
    }
}
