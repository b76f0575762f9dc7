//! The feed: shows every commit to the watches that may care, and puts what they say into outboxes.
//!
//! One watch serves all who listen to the same query. Watches are found by document, by collection and by group, so
//! that a commit costs what it concerns and not what listens. Opening and catching up stand in `listen`.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use hearth_core::Version;
use hearth_core::change::Commit;
use hearth_core::query::Query;
use hearth_core::watch::{Event, Kind, Outcome, Watch};
use tokio::sync::Notify;

use crate::crew::Crew;
use crate::index::{EntryId, Index};
use crate::metrics::Metrics;
use crate::outbox::{Inbox, SharedEvent, TargetId};
use crate::read::Budget;
use crate::recent::Recent;
use crate::token::Token;
use crate::view::{StateError, View};
use crate::visible::Visible;
use crate::writer::Shared;

/// The feed of one database.
pub(crate) struct Feed {
    pub(crate) shared: Arc<Shared>,
    pub(crate) budget: Budget,
    pub(crate) crew: Arc<dyn Crew>,
    // Held while one commit is passed or one listener comes or goes; queries are run outside.
    registry: Mutex<Registry>,
    /// Up to which version every outbox holds what it is to tell.
    pub(crate) told: Visible,
}

/// Who listens to what.
pub(crate) struct Registry {
    entries: HashMap<EntryId, Entry>,
    by_query: HashMap<Arc<Query>, EntryId>,
    /// Which watch each listener belongs to.
    by_listener: HashMap<(usize, TargetId), EntryId>,
    index: Index,
    recent: Recent,
    /// Commits up to this version were passed.
    passed: Version,
    next_id: EntryId,
    closed: bool,
    metrics: Arc<Metrics>,
}

/// One query that is kept current, or waited for.
pub(crate) enum Entry {
    /// Listeners of a query.
    Watched(Watched),
    /// A long poll: woken by the first change that touches its query.
    Waiting { query: Arc<Query>, woken: Arc<Notify> },
}

/// A query and its listeners.
pub(crate) struct Watched {
    query: Arc<Query>,
    stage: WatchStage,
    /// The version at which its rows were first read; zero before.
    filled_at: Version,
    listeners: Vec<Listener>,
}

enum WatchStage {
    /// Its rows are being read; commits wait.
    Filling { commits: Vec<Arc<Commit>> },
    /// Current.
    Live(Watch),
    /// A limit window is being read again at a version, which the listeners' outboxes hold back, also those that join
    /// meanwhile: what waits is told in one piece with what other watches say of the same commits.
    Refilling { watch: Watch, commits: Vec<Arc<Commit>>, held: Held },
}

struct Listener {
    inbox: Arc<Inbox>,
    target: TargetId,
}

impl Feed {
    pub(crate) fn new(shared: Arc<Shared>, budget: Budget, crew: Arc<dyn Crew>) -> Self {
        let registry = Registry {
            entries: HashMap::new(),
            by_query: HashMap::new(),
            by_listener: HashMap::new(),
            index: Index::default(),
            recent: Recent::new(shared.visible.version(), &shared.limits),
            passed: shared.visible.version(),
            next_id: 0,
            closed: false,
            metrics: shared.metrics.clone(),
        };
        let told = Visible::new(registry.passed);
        Self { shared, budget, crew, registry: Mutex::new(registry), told }
    }

    pub(crate) fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether somebody holds the registry.
    pub(crate) fn is_busy(&self) -> bool {
        matches!(self.registry.try_lock(), Err(TryLockError::WouldBlock))
    }

    /// The token of a query's result at a version.
    pub(crate) fn token(&self, query: &Query, version: Version) -> Token {
        Token { version, epoch: self.shared.lives.at(version).epoch, query: query.hash() }
    }

    /// Whether anyone listens.
    pub(crate) fn has_listeners(&self) -> bool {
        !self.registry().by_query.is_empty()
    }

    /// Shows a commit, which is visible, to all who may care. `bytes` is what its log entry takes.
    pub(crate) fn pass(self: &Arc<Self>, commit: &Arc<Commit>, bytes: usize) {
        let mut registry = self.registry();
        registry.recent.add(commit, bytes);
        registry.passed = commit.version;
        let concerned = registry.index.concerned(&commit.changes);
        self.shared.metrics.watches_examined.inc_by(concerned.len() as u64);
        let mut held = Held::new(commit.version);
        let rows_max = self.shared.limits.result_docs_max;
        let mut overgrown = Vec::new();
        for id in concerned {
            match registry.entries.get_mut(&id) {
                None => {}
                Some(Entry::Watched(watched)) => {
                    self.show(id, watched, commit, &mut held);
                    if watched.rows_held() > rows_max {
                        overgrown.push(id);
                    }
                }
                Some(Entry::Waiting { query, woken }) if commit.changes.iter().any(|change| query.touches(change)) => {
                    woken.notify_one();
                }
                Some(Entry::Waiting { .. }) => {}
            }
        }
        drop(held);
        // Its listeners begin anew, and are then told that their result is too large.
        overgrown.into_iter().for_each(|id| registry.drop_entry(id));
        self.told.advance(commit.version);
    }

    /// Shows a commit to one watch.
    fn show(self: &Arc<Self>, id: EntryId, watched: &mut Watched, commit: &Arc<Commit>, held: &mut Held) {
        match &mut watched.stage {
            WatchStage::Filling { commits } | WatchStage::Refilling { commits, .. } => commits.push(commit.clone()),
            WatchStage::Live(watch) => match watch.apply(commit) {
                Outcome::Nothing => {}
                Outcome::Event(event) => self.tell(watched, event, held),
                Outcome::Refill => self.refill(id, watched, commit.version),
            },
        }
    }

    /// Puts an event into the outboxes of a watch's listeners. They see it when `held` is released.
    fn tell(&self, watched: &Watched, mut event: Event, held: &mut Held) {
        let version = event.version;
        if let Err(error) = self.load(&mut event) {
            tracing::error!(%error, "a document of an event could not be read; its listeners start anew");
            watched.listeners.iter().for_each(|listener| listener.inbox.lag(listener.target));
            return;
        }
        let token = self.token(&watched.query, version);
        let metrics = self.shared.metrics.clone();
        let event = Arc::new(SharedEvent::new(watched.query.clone(), token, event, metrics));
        for listener in &watched.listeners {
            held.put(listener, &event);
        }
    }

    /// Reads the documents that an event speaks of and does not carry, as they stood at its version.
    pub(crate) fn load(&self, event: &mut Event) -> Result<(), StateError> {
        let missing = event.changes.iter_mut().filter(|change| change.kind != Kind::Removed && change.doc.is_none());
        let mut view = None;
        for change in missing {
            let view = view.get_or_insert_with(|| self.view_at(event.version));
            change.doc = view.document(&change.path)?;
            self.shared.metrics.documents_read.inc();
        }
        Ok(())
    }

    pub(crate) fn view_at(&self, version: Version) -> View {
        self.shared.view_at(version)
    }

    /// Begins to read a limit window again at `version`. The listeners' outboxes hold that version back until it is told.
    fn refill(self: &Arc<Self>, id: EntryId, watched: &mut Watched, version: Version) {
        let stage = std::mem::replace(&mut watched.stage, WatchStage::Filling { commits: Vec::new() });
        let WatchStage::Live(watch) = stage else { return };
        let mut held = Held::new(version);
        watched.listeners.iter().for_each(|listener| held.hold(&listener.inbox));
        watched.stage = WatchStage::Refilling { watch, commits: Vec::new(), held };
        self.shared.metrics.refills.inc();
        let (feed, query, view) = (self.clone(), watched.query.clone(), self.view_at(version));
        self.crew.job(Box::new(move || {
            let found = feed.budget.run(&view, &query, spare(&query));
            feed.refilled(id, version, found.map(|found| found.rows));
        }));
    }

    fn refilled<D>(
        self: &Arc<Self>,
        id: EntryId,
        version: Version,
        rows: Result<hearth_core::query::Rows<D>, crate::read::ReadError>,
    ) {
        let mut registry = self.registry();
        let Some(Entry::Watched(watched)) = registry.entries.get_mut(&id) else { return };
        let stage = std::mem::replace(&mut watched.stage, WatchStage::Filling { commits: Vec::new() });
        let WatchStage::Refilling { mut watch, commits, mut held } = stage else {
            watched.stage = stage;
            return;
        };
        match rows {
            Ok(rows) => {
                if let Some(event) = watch.refill(version, rows) {
                    self.tell(watched, event, &mut held);
                }
                watched.stage = WatchStage::Live(watch);
                self.replay(id, watched, &commits);
            }
            Err(error) => {
                tracing::warn!(%error, "a limit window could not be read again; its listeners start anew");
                registry.drop_entry(id);
            }
        }
    }

    /// Shows a live watch the commits that waited for it.
    fn replay(self: &Arc<Self>, id: EntryId, watched: &mut Watched, commits: &[Arc<Commit>]) {
        for commit in commits {
            let mut held = Held::new(commit.version);
            self.show(id, watched, commit, &mut held);
        }
    }

    /// Makes a filled watch live.
    pub(crate) fn filled(self: &Arc<Self>, id: EntryId, watch: Watch) {
        let mut registry = self.registry();
        let Some(Entry::Watched(watched)) = registry.entries.get_mut(&id) else { return };
        let version = watch.version();
        let stage = std::mem::replace(&mut watched.stage, WatchStage::Live(watch));
        match stage {
            WatchStage::Filling { commits } => {
                watched.filled_at = version;
                self.replay(id, watched, &commits);
            }
            // Somebody else filled it first: theirs is as good, or newer.
            stage => watched.stage = stage,
        }
    }

    /// Gives up a watch that could not be filled; its listeners have to begin anew.
    pub(crate) fn unfilled(&self, id: EntryId) {
        self.registry().drop_entry(id);
    }

    /// Makes everybody begin anew: all that they know was taken away by a wipe at `version`.
    pub(crate) fn wiped(&self, version: Version) {
        let mut registry = self.registry();
        registry.recent = Recent::new(version, &self.shared.limits);
        registry.passed = version;
        let ids: BTreeSet<EntryId> = registry.entries.keys().copied().collect();
        for id in ids {
            match registry.entries.get(&id) {
                Some(Entry::Waiting { woken, .. }) => woken.notify_one(),
                Some(Entry::Watched(_)) => registry.drop_entry(id),
                None => {}
            }
        }
        self.told.advance(version);
        self.shared.wipe_told.store(version.micros(), Ordering::Release);
    }

    /// Ends one listener.
    pub(crate) fn unlisten(&self, inbox: &Arc<Inbox>, target: TargetId) {
        inbox.close(target);
        self.registry().leave(inbox, target);
    }

    /// Tells every connection to close, and takes no more listeners.
    pub(crate) fn close(&self) {
        let mut registry = self.registry();
        registry.closed = true;
        for entry in registry.entries.values() {
            match entry {
                Entry::Watched(watched) => watched.listeners.iter().for_each(|listener| listener.inbox.shut()),
                Entry::Waiting { woken, .. } => woken.notify_one(),
            }
        }
    }
}

/// How many rows behind a limit a watch keeps, so that a few removals do not make it read again.
pub(crate) fn spare(query: &Query) -> usize {
    use hearth_core::query::Limit;
    match query.limit() {
        None => 0,
        Some(Limit::First(limit) | Limit::Last(limit)) => (limit as usize / 2).clamp(8, 64),
    }
}

impl Registry {
    /// Whether certainly nothing that the query matches changed after `version`.
    pub(crate) fn unchanged(&self, query: &Query, version: Version) -> bool {
        self.recent.unchanged(query, version)
    }

    /// The last commit that was passed.
    pub(crate) fn passed(&self) -> Version {
        self.passed
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed
    }

    fn fresh(&mut self, entry: Entry, query: &Query) -> EntryId {
        self.next_id += 1;
        self.index.add(query, self.next_id);
        self.entries.insert(self.next_id, entry);
        self.next_id
    }

    /// Adds a listener to the watch of its query, unless it is there. Says whether the watch is new, and so to be filled by
    /// the caller.
    pub(crate) fn join(&mut self, query: &Arc<Query>, inbox: &Arc<Inbox>, target: TargetId) -> (EntryId, bool) {
        let listener = Listener { inbox: inbox.clone(), target };
        let name = listener.name();
        if let Some(id) = self.by_listener.get(&name) {
            return (*id, false);
        }
        self.metrics.listeners.inc();
        if let Some(id) = self.by_query.get(query)
            && let Some(Entry::Watched(watched)) = self.entries.get_mut(id)
        {
            if let WatchStage::Refilling { held, .. } = &mut watched.stage {
                held.hold(inbox);
            }
            watched.listeners.push(listener);
            self.by_listener.insert(name, *id);
            return (*id, false);
        }
        let stage = WatchStage::Filling { commits: Vec::new() };
        let watched = Watched { query: query.clone(), stage, filled_at: Version::ZERO, listeners: vec![listener] };
        let id = self.fresh(Entry::Watched(watched), query);
        self.by_query.insert(query.clone(), id);
        self.by_listener.insert(name, id);
        (id, true)
    }

    /// The version at which the rows of a watch were first read.
    pub(crate) fn filled_at(&self, id: EntryId) -> Option<Version> {
        match self.entries.get(&id)? {
            Entry::Watched(watched) => Some(watched.filled_at),
            Entry::Waiting { .. } => None,
        }
    }

    /// The watch of an entry, where it is current with all that was passed.
    pub(crate) fn live(&self, id: EntryId) -> Option<&Watch> {
        match self.entries.get(&id)? {
            Entry::Watched(Watched { stage: WatchStage::Live(watch), .. }) => Some(watch),
            _ => None,
        }
    }

    fn leave(&mut self, inbox: &Arc<Inbox>, target: TargetId) {
        let name = (Arc::as_ptr(inbox) as usize, target);
        let Some(id) = self.by_listener.remove(&name) else { return };
        let Some(Entry::Watched(watched)) = self.entries.get_mut(&id) else { return };
        watched.listeners.retain(|listener| listener.name() != name);
        self.metrics.listeners.dec();
        if watched.listeners.is_empty() {
            self.drop_entry(id);
        }
    }

    /// Takes an entry away; whoever still listens to it lags.
    fn drop_entry(&mut self, id: EntryId) {
        let query = match self.entries.remove(&id) {
            None => return,
            Some(Entry::Waiting { query, .. }) => query,
            Some(Entry::Watched(watched)) => {
                self.by_query.remove(&watched.query);
                for listener in &watched.listeners {
                    self.by_listener.remove(&listener.name());
                    self.metrics.listeners.dec();
                    listener.inbox.lag(listener.target);
                }
                watched.query
            }
        };
        self.index.remove(&query, id);
    }

    /// Adds a long poll.
    pub(crate) fn wait(&mut self, query: &Arc<Query>, woken: &Arc<Notify>) -> EntryId {
        self.fresh(Entry::Waiting { query: query.clone(), woken: woken.clone() }, query)
    }

    /// Ends a long poll.
    pub(crate) fn unwait(&mut self, id: EntryId) {
        self.drop_entry(id);
    }
}

impl Watched {
    fn rows_held(&self) -> usize {
        match &self.stage {
            WatchStage::Live(watch) => watch.rows_held(),
            WatchStage::Filling { .. } | WatchStage::Refilling { .. } => 0,
        }
    }
}

impl Listener {
    /// Tells listeners apart: the inbox stays where it is as long as anyone holds it.
    fn name(&self) -> (usize, TargetId) {
        (Arc::as_ptr(&self.inbox) as usize, self.target)
    }
}

/// Outboxes that hold a version back until this is dropped, until all events of its commit are in: once for each event, and
/// for each listener of what is read again.
struct Held {
    version: Version,
    inboxes: Vec<Arc<Inbox>>,
}

impl Held {
    fn new(version: Version) -> Self {
        Self { version, inboxes: Vec::new() }
    }

    fn hold(&mut self, inbox: &Arc<Inbox>) {
        inbox.hold(self.version);
        self.inboxes.push(inbox.clone());
    }

    /// Puts an event into a listener's outbox, and holds it there.
    fn put(&mut self, listener: &Listener, event: &Arc<SharedEvent>) {
        listener.inbox.put_held(self.version, listener.target, event);
        self.inboxes.push(listener.inbox.clone());
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.inboxes.iter().for_each(|inbox| inbox.release(self.version));
    }
}
