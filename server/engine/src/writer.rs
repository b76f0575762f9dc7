//! The writer: orders the commits of one database and makes them durable.
//!
//! Three stages, each a worker, so that one group is planned while another is being synced and a third is being told:
//! plan (decide each commit on the state and what is planned) → log (one frame, one sync) → feed (listeners, then the
//! callers). Every verdict, refusals included, is answered when all that it was decided on is durable.
//!
//! When the log fails, the group that failed and all planned on it are dropped; `life` tells the stages apart.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, mpsc as std_mpsc};

use hearth_core::change::Commit;
use hearth_core::decide::decide;
use hearth_core::entry::{CommitEntry, kind};
use hearth_core::{DocPath, Document, Version, codec, keys, size};
use hearth_store::{AppendError, Blob, CommitLog, Entry};
use tokio::sync::{mpsc, oneshot};

use crate::admin::{self, AdminEntry};
use crate::crew::{Found, Handed, Hired, Pace, Turn, Worker};
use crate::database::Common;
use crate::feed::Feed;
use crate::keys_seen::{self, KeysSeen, Seen};
use crate::keyspace::Keyspace;
use crate::limits::Limits;
use crate::lives::{Life, Lives};
use crate::memtable::{Memtable, Puts};
use crate::metrics::Metrics;
use crate::rebuild::Standing;
use crate::recent::Ring;
use crate::request::{CommitError, CommitRequest, Committed};
use crate::time::Time;
use crate::view::{Pins, StateError, View};
use crate::visible::Visible;

/// Bytes of log entries after which a group takes no more commits. One more commit of the largest size, encoded, still
/// fits into a frame.
const GROUP_BYTES_MAX: usize = 4 << 20;
/// Groups that are planned and wait for the log: all that came while it was syncing go into its next frame.
const PLANNED_GROUPS_MAX: usize = 8;
/// Groups that wait for the feed. One suffices to keep both busy; more would only lengthen answers.
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
    /// Raised by each failure of the log.
    life: AtomicU64,
    /// The last group that is visible.
    published: AtomicU64,
    /// The oldest version that can be read.
    history_start: AtomicU64,
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
            history_start: AtomicU64::new(standing.history_start.micros()),
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
        freeze: impl Fn() + Send + 'static,
    ) -> std::io::Result<Self> {
        let crew = feed.crew.clone();
        let (to_log, from_plan) = std_mpsc::sync_channel(PLANNED_GROUPS_MAX);
        let (to_feed, from_log) = std_mpsc::sync_channel(DURABLE_GROUPS_MAX);
        let plan = Planner::new(shared.clone(), seen, queue, to_log);
        let log = LogStage { shared, log, freeze: Box::new(freeze), from_plan, apart: None, to_feed, ready: None };
        let stages = vec![
            crew.hire(format!("plan {name}"), Box::new(plan))?,
            crew.hire(format!("log {name}"), Box::new(log))?,
            crew.hire(format!("feed {name}"), Box::new(FeedStage { feed, from_log, telling: None }))?,
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

// ---- plan

struct Planner {
    shared: Arc<Shared>,
    queue: mpsc::Receiver<Ask>,
    to_log: std_mpsc::SyncSender<Group>,
    /// A group that the log has no room for yet.
    ready: Option<Group>,
    /// A wipe that is not durable yet: nothing is planned on what it takes away.
    wiping: Option<(Version, std_mpsc::Receiver<()>)>,
    planned: Version,
    number: u64,
    life: u64,
    /// Documents as groups left them that may not be visible yet, with the group's number.
    overlay: HashMap<DocPath, (u64, Option<Arc<Document>>)>,
    /// What each group put into the overlay, oldest first.
    unpublished: VecDeque<(u64, Vec<DocPath>)>,
    seen: KeysSeen,
    /// The last planned commits.
    recent: Ring,
    /// What waits for the group before it, or for room.
    held: Option<Ask>,
}

impl Worker for Planner {
    fn step(&mut self, pace: Pace) -> Turn {
        if let Some(group) = self.ready.take() {
            return self.hand_on(group, pace);
        }
        if let Some((version, done)) = self.wiping.take() {
            match pace.receive(&done) {
                Found::Work(()) => self.begin_anew(version),
                Found::Nothing => {
                    self.wiping = Some((version, done));
                    return Turn::Nothing;
                }
                // The log has refused it.
                Found::Closed => {}
            }
        }
        let first = match self.held.take() {
            Some(held) => held,
            None => match pace.asked(&mut self.queue) {
                Found::Work(ask) => ask,
                Found::Nothing => return Turn::Nothing,
                Found::Closed => return Turn::Over,
            },
        };
        match self.shared.memtable.room(self.shared.limits.generations_max, pace) {
            Ok(true) => {}
            Ok(false) => {
                self.held = Some(first);
                return Turn::Nothing;
            }
            Err(error) => {
                let reply = match first {
                    Ask::Commit { reply, .. } | Ask::Wipe { reply, .. } => Some(reply),
                    Ask::Tick { reply, .. } => reply,
                    Ask::Nudge => None,
                };
                // Whoever asked may have gone; then nobody is to be told.
                let _ = reply.map(|reply| reply.send(Err(error)));
                return Turn::Worked;
            }
        }
        let group = match first {
            Ask::Wipe { epoch, reply } => self.wipe(epoch, reply),
            first => self.plan(first),
        };
        self.hand_on(group, pace)
    }
}

impl Planner {
    fn new(
        shared: Arc<Shared>,
        seen: KeysSeen,
        queue: mpsc::Receiver<Ask>,
        to_log: std_mpsc::SyncSender<Group>,
    ) -> Self {
        let planned = shared.visible.version();
        let recent = Ring::new(planned, shared.limits.recent_commits_max, shared.limits.recent_bytes_max);
        Self {
            shared,
            queue,
            to_log,
            ready: None,
            wiping: None,
            planned,
            number: 0,
            life: 0,
            overlay: HashMap::new(),
            unpublished: VecDeque::new(),
            seen,
            recent,
            held: None,
        }
    }

    fn hand_on(&mut self, group: Group, pace: Pace) -> Turn {
        match pace.hand(&self.to_log, group) {
            Handed::Over => Turn::Worked,
            Handed::Full(group) => {
                self.ready = Some(group);
                Turn::Nothing
            }
            Handed::Closed => Turn::Over,
        }
    }

    /// Begins a group.
    fn group(&mut self) -> Group {
        self.catch_up();
        self.number += 1;
        Group {
            life: self.life,
            number: self.number,
            entries: Vec::new(),
            bytes: 0,
            puts: Puts::default(),
            commits: Vec::new(),
            verdicts: Vec::new(),
            last: self.planned,
            wipe: None,
        }
    }

    /// Plans a wipe.
    fn wipe(&mut self, epoch: u64, reply: Reply) -> Group {
        let mut group = self.group();
        let version = self.planned.next(self.shared.time.micros());
        self.planned = version;
        let life = Life { floor: version, epoch };
        let body = AdminEntry::Wipe { epoch }.encode();
        group.bytes = body.len();
        group.entries.push(Entry { version, kind: admin::KIND, body });
        group.puts = wipe_puts(self.shared.keyspace, life);
        group.commits.push((Arc::new(Commit { version, changes: Vec::new() }), 0));
        group.verdicts.push((reply, Ok(Committed { version, results: Vec::new(), replayed: false })));
        group.last = version;
        let (done, is_done) = std_mpsc::sync_channel(1);
        group.wipe = Some(Wipe { life, done });
        self.wiping = Some((version, is_done));
        group
    }

    /// Forgets what a wipe has taken away.
    fn begin_anew(&mut self, version: Version) {
        self.overlay.clear();
        self.unpublished.clear();
        self.seen = KeysSeen::default();
        let limits = &self.shared.limits;
        self.recent = Ring::new(version, limits.recent_commits_max, limits.recent_bytes_max);
    }

    /// Plans a group of all that waits.
    fn plan(&mut self, first: Ask) -> Group {
        let mut group = self.group();
        let view = self.shared.view();
        let mut touched = Vec::new();
        let mut next = Some(first);
        while let Some(ask) = next {
            match ask {
                Ask::Tick { at_least, reply } => {
                    let version = self.tick(at_least, &mut group);
                    let verdict = Ok(Committed { version, results: Vec::new(), replayed: false });
                    group.verdicts.extend(reply.map(|reply| (reply, verdict)));
                }
                Ask::Nudge => {}
                Ask::Wipe { .. } => {
                    self.held = Some(ask);
                    break;
                }
                Ask::Commit { scope, request, reply } => {
                    let verdict = self.commit(&view, &scope, request, &mut group, &mut touched);
                    group.verdicts.push((reply, verdict));
                }
            }
            let full = group.verdicts.len() >= self.shared.limits.group_commits_max || group.bytes >= GROUP_BYTES_MAX;
            next = if full { None } else { self.queue.try_recv().ok() };
        }
        group.last = self.planned;
        self.unpublished.push_back((self.number, touched));
        group
    }

    /// Lets go of what became visible or, after a failure, never will.
    fn catch_up(&mut self) {
        let life = self.shared.life.load(Ordering::Acquire);
        if life != self.life {
            self.life = life;
            self.overlay.clear();
            self.unpublished.clear();
            let visible = self.shared.visible.version();
            self.seen.forget_above(visible);
            self.recent.forget_above(visible);
        }
        let published = self.shared.published.load(Ordering::Acquire);
        while self.unpublished.front().is_some_and(|(number, _)| *number <= published) {
            let Some((number, paths)) = self.unpublished.pop_front() else { return };
            for path in paths {
                if self.overlay.get(&path).is_some_and(|(held, _)| *held == number) {
                    self.overlay.remove(&path);
                }
            }
        }
    }

    fn tick(&mut self, at_least: Version, group: &mut Group) -> Version {
        let version = self.planned.next(self.shared.time.micros().max(at_least.micros()));
        group.entries.push(Entry { version, kind: kind::TICK, body: Vec::new() });
        group.commits.push((Arc::new(Commit { version, changes: Vec::new() }), 0));
        self.planned = version;
        version
    }

    fn commit(
        &mut self,
        view: &View,
        scope: &str,
        request: CommitRequest,
        group: &mut Group,
        touched: &mut Vec<DocPath>,
    ) -> Result<Committed, CommitError> {
        if let Some(key) = &request.key
            && let Some(seen) = self.seen.find(scope, &key.key)
        {
            return match seen.request == key.request {
                true => Ok(Committed { version: seen.version, results: seen.results.clone(), replayed: true }),
                false => Err(CommitError::KeyReused { key: key.key.clone() }),
            };
        }
        self.check_queries(&request)?;
        let version = self.planned.next(self.shared.time.micros());
        let decided = decide(&request.reads, request.writes, version, |path| match self.overlay.get(path) {
            Some((_, document)) => Ok(document.clone()),
            None => view.document(path),
        });
        let plan =
            decided.map_err(|error: StateError| CommitError::NotApplied { cause: error.to_string().into() })??;
        self.planned = version;
        let commit = Commit { version, changes: plan.changes };
        let entry = CommitEntry::new(scope, request.key.clone(), &commit, &plan.results);
        let records = entry.records();
        let body = entry.encode_with(&records);
        puts(self.shared.keyspace, version, &entry, records, &mut group.puts.entries);
        group.puts.superseded += superseded(&commit);
        let bytes = body.len();
        group.bytes += bytes;
        group.entries.push(Entry { version, kind: kind::COMMIT, body });
        for change in &commit.changes {
            self.overlay.insert(change.path.clone(), (self.number, change.after.clone()));
            touched.push(change.path.clone());
        }
        if let Some(key) = &request.key {
            let seen = Seen { request: key.request, version, results: plan.results.clone() };
            self.seen.add(scope, &key.key, seen, &self.shared.limits);
        }
        let commit = Arc::new(commit);
        self.recent.add(&commit, bytes);
        group.commits.push((commit, bytes));
        Ok(Committed { version, results: plan.results, replayed: false })
    }

    /// Whether the results of the queries that a commit rests on still hold. What is no longer remembered counts as
    /// changed: the caller reads again.
    fn check_queries(&self, request: &CommitRequest) -> Result<(), CommitError> {
        for read in &request.queries {
            let moved = self.recent.changes_after(read.version).is_none_or(|mut changes| {
                changes.any(|change| read.query.conflicts(read.last_returned.as_deref(), read.filled, change))
            });
            if moved {
                return Err(CommitError::QueryMoved);
            }
        }
        Ok(())
    }
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

/// Adds the keys of the state that a commit adds; `records` are those of its entry. Replaying the log adds the same.
pub(crate) fn puts(
    keyspace: Keyspace,
    version: Version,
    entry: &CommitEntry,
    records: Vec<Blob>,
    puts: &mut Vec<(Vec<u8>, Blob)>,
) {
    puts.reserve(entry.images.len() * 3 + 1);
    for (n, ((path, image), record)) in (0_u32..).zip(entry.images.iter().zip(records)) {
        let doc_key = keys::doc(path);
        puts.push((keyspace.document(&doc_key, version), record));
        if image.as_ref().is_some_and(|document| document.created == version) {
            puts.push((keyspace.group_entry(path), Blob::from([])));
        }
        puts.push((keyspace.change(version, n), doc_key.into()));
    }
    if let Some(key) = &entry.key {
        puts.push((keyspace.request(version), keys_seen::encode(&entry.scope, key, &entry.results).into()));
    }
}

/// The keys of the state that a wipe adds. Replaying the log adds the same.
pub(crate) fn wipe_puts(keyspace: Keyspace, life: Life) -> Puts {
    let floor = Blob::from(life.floor.micros().to_be_bytes());
    let entries = vec![
        (keyspace.floor(), floor.clone()),
        (keyspace.history_start(), floor),
        (keyspace.epoch(), Blob::from(life.epoch.to_be_bytes())),
    ];
    Puts { entries, superseded: 0, wiped: true }
}

/// Bytes that history grows by with a commit: what it supersedes, its tombstones, and the list of what it changed. Each
/// key is counted once in its life, and taken off when it is removed.
fn superseded(commit: &Commit) -> u64 {
    let of = |change: &hearth_core::Change| {
        let key_bytes = keys::doc(&change.path).len();
        let record = |document| Keyspace::document_bytes(key_bytes, codec::encode_record(document).len());
        let before = change.before.as_deref().map_or(0, |before| record(Some(before)));
        let tombstone = if change.after.is_none() { record(None) } else { 0 };
        Keyspace::change_bytes(key_bytes) + before + tombstone
    };
    commit.changes.iter().map(of).sum::<usize>() as u64
}

// ---- log

struct LogStage {
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

/// Commits that are visible, and whom to tell.
struct Durable {
    commits: Vec<(Arc<Commit>, usize)>,
    wiped: Option<Version>,
    verdicts: Vec<(Reply, Result<Committed, CommitError>)>,
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

// ---- feed

struct FeedStage {
    feed: Arc<Feed>,
    from_log: std_mpsc::Receiver<Durable>,
    /// What is being told.
    telling: Option<Telling>,
}

struct Telling {
    commits: std::vec::IntoIter<(Arc<Commit>, usize)>,
    verdicts: Vec<(Reply, Result<Committed, CommitError>)>,
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

#[cfg(test)]
mod tests {
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
