//! Plan: the first stage decides each commit on the state and on what is planned already, and gathers them into groups.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc as std_mpsc};

use hearth_core::change::Commit;
use hearth_core::decide::decide;
use hearth_core::entry::{CommitEntry, kind};
use hearth_core::{DocPath, Document, Version};
use hearth_store::Entry;
use tokio::sync::mpsc;

use super::puts::{puts, superseded, wipe_puts};
use super::{Ask, GROUP_BYTES_MAX, GROUP_COMMITS_IDLE, Group, Reply, Rest, Shared, Wipe};
use crate::admin::{self, AdminEntry};
use crate::crew::{Found, Handed, Pace, Turn, Worker};
use crate::keys_seen::{KeysSeen, Seen};
use crate::lives::Life;
use crate::memtable::Puts;
use crate::recent::Ring;
use crate::request::{CommitError, CommitRequest, Committed};
use crate::view::{StateError, View};

pub(super) struct Planner {
    shared: Arc<Shared>,
    queue: mpsc::Receiver<Ask>,
    to_log: std_mpsc::SyncSender<Group>,
    rest: Rest,
    /// A group that the log has no room for yet.
    ready: Option<Group>,
    /// A wipe that is not durable yet: nothing is planned on what it takes away.
    wiping: Option<(Version, std_mpsc::Receiver<()>)>,
    planned: Version,
    number: u64,
    /// Whether the group before this one was small enough to be alone: where it was not, others are about to ask again.
    was_small: bool,
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
        if !self.is_alone(&group) {
            return self.hand_on(group, pace);
        }
        match self.rest.see_through(group) {
            Ok(()) => Turn::Worked,
            Err(group) => self.hand_on(*group, pace),
        }
    }
}

impl Planner {
    pub(super) fn new(
        shared: Arc<Shared>,
        seen: KeysSeen,
        queue: mpsc::Receiver<Ask>,
        to_log: std_mpsc::SyncSender<Group>,
        rest: Rest,
    ) -> Self {
        let planned = shared.visible.version();
        let recent = Ring::new(planned, shared.limits.recent_commits_max, shared.limits.recent_bytes_max);
        Self {
            shared,
            queue,
            to_log,
            rest,
            ready: None,
            wiping: None,
            planned,
            number: 0,
            was_small: true,
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

    /// Whether nobody else is at work or was just now: then this group is sooner seen through than handed on.
    fn is_alone(&mut self, group: &Group) -> bool {
        let is_small = group.verdicts.len() <= self.shared.limits.lone_commits_max;
        let was_small = std::mem::replace(&mut self.was_small, is_small);
        is_small
            && was_small
            && group.wipe.is_none()
            && self.shared.told.load(Ordering::Acquire) + 1 == group.number
            && self.held.is_none()
            && self.queue.is_empty()
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
            next = if self.is_full(&group) { None } else { self.queue.try_recv().ok() };
        }
        group.last = self.planned;
        self.unpublished.push_back((self.number, touched));
        group
    }

    /// Whether a group takes no more. Where the log stands still, a part is enough: who is told of it early comes back while
    /// the rest is being written, and so neither of the two waits for the other.
    fn is_full(&self, group: &Group) -> bool {
        let commits = group.verdicts.len();
        commits >= self.shared.limits.group_commits_max
            || group.bytes >= GROUP_BYTES_MAX
            || (commits >= GROUP_COMMITS_IDLE && self.shared.log_idle.load(Ordering::Acquire))
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
