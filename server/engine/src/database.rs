//! One database: what doors read, write and listen through.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use hearth_auth::Caller;
use hearth_core::change::{Change, Commit};
use hearth_core::entry::{CommitEntry, kind};
use hearth_core::query::Query;
use hearth_core::{DatabaseName, DocPath, Document, Id, Version, keys};
use hearth_store::{Blob, CommitLog, Direction, ReplayError, Store};
use tokio::sync::{Notify, Semaphore, mpsc, oneshot};

use crate::applier::Applier;
use crate::authorize::{Access, Act, Authorized, Denied};
use crate::clock::Clock;
use crate::feed::{Feed, Jobs};
use crate::history;
use crate::keys_seen::{self, KeysSeen};
use crate::keyspace::Keyspace;
use crate::limits::Limits;
use crate::listen::Opening;
use crate::memtable::Memtable;
use crate::metrics::Metrics;
use crate::outbox::{Outbox, TargetId};
use crate::read::{Answer, Budget, ReadError};
use crate::request::{CommitError, CommitRequest, Committed};
use crate::token::Token;
use crate::view::{StateError, View};
use crate::writer::{self, Ask, Shared, Writer};

/// Bytes of replayed changes that are applied to the state at once.
const REPLAY_BYTES: usize = 4 << 20;
/// How long a caller whose commit found the queue full is asked to wait.
const RETRY_AFTER_MS: u64 = 100;

/// A handle of an open database. Cheap to clone; the database stays open as long as one is held.
#[derive(Clone)]
pub struct Database {
    inner: Arc<Inner>,
}

struct Inner {
    name: DatabaseName,
    access: Access,
    shared: Arc<Shared>,
    feed: Arc<Feed>,
    budget: Budget,
    queries: Arc<Semaphore>,
    // Taken by `close`: without a queue the writer ends.
    queue: Mutex<Option<mpsc::Sender<Ask>>>,
    writer: Mutex<Option<Writer>>,
}

/// What a database is opened with.
pub(crate) struct Opened {
    pub(crate) name: DatabaseName,
    pub(crate) number: u32,
    pub(crate) epoch: u64,
    pub(crate) log: Box<dyn CommitLog>,
}

/// What all databases of a process share.
#[derive(Clone)]
pub(crate) struct Common {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) limits: Arc<Limits>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) access: Access,
    pub(crate) applier: Applier,
    pub(crate) jobs: Jobs,
    pub(crate) queries: Arc<Semaphore>,
}

/// Why a database could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    Replay(#[from] ReplayError),
    #[error("a thread of the database could not be started: {0}")]
    Thread(#[from] std::io::Error),
}

/// An entry that replay cannot take.
#[derive(Debug, thiserror::Error)]
enum EntryError {
    #[error("it is of kind {kind}, which this hearth does not know: use the hearth that wrote it, or a newer one")]
    Kind { kind: u8 },
    #[error(transparent)]
    Damaged(#[from] hearth_core::codec::DecodeError),
    #[error(transparent)]
    Store(#[from] hearth_store::StoreError),
}

/// A document, or that there is none.
#[derive(Clone, Debug, PartialEq)]
pub struct GetAnswer {
    /// The version that was read.
    pub version: Version,
    /// The document.
    pub document: Option<Arc<Document>>,
}

/// The right to hear every commit.
#[derive(Clone, Copy, Debug)]
pub struct FeedAccess;

/// A part of the change feed.
#[derive(Clone, Debug)]
pub struct FeedPage {
    /// Commits that changed documents, oldest first.
    pub commits: Vec<Arc<Commit>>,
    /// Everything up to this version has been told.
    pub version: Version,
    /// Whether commits before these are no longer kept: the reader has missed some.
    pub reset: bool,
}

impl Database {
    /// Opens a database: what the log holds beyond the state is replayed into it first.
    pub(crate) fn open(opened: Opened, common: &Common) -> Result<Self, OpenError> {
        let Opened { name, number, epoch, log } = opened;
        let keyspace = Keyspace::new(number);
        let store = common.store.clone();
        let meta = |key: Vec<u8>| -> Result<Version, OpenError> {
            let bytes = store.get(&key).map_err(StateError::from)?;
            Ok(bytes.and_then(|bytes| history::version_of(&bytes)).unwrap_or_default())
        };
        let applied = meta(keyspace.applied())?;
        let memtable = Arc::new(Memtable::new(keyspace, store.clone()));
        replay(&*log, applied, keyspace, &memtable)?;
        let visible = log.last().max(applied);
        let history_start = meta(keyspace.history_start())?;
        let seen = read_keys(keyspace, &*store, &common.limits)?;
        common.applier.add(&memtable);
        let shared = Arc::new(Shared::new(
            keyspace,
            memtable.clone(),
            visible,
            history_start,
            common.clock.clone(),
            common.limits.clone(),
            common.metrics.clone(),
        ));
        let budget =
            Budget { clock: common.clock.clone(), limits: common.limits.clone(), metrics: common.metrics.clone() };
        let feed = Arc::new(Feed::new(shared.clone(), budget.clone(), epoch, common.jobs.clone()));
        let (queue, asked) = mpsc::channel(common.limits.queue_commits_max);
        let (applier, bytes) = (common.applier.clone(), common.limits.generation_bytes_max);
        let freeze = move || {
            if memtable.freeze(bytes) {
                applier.wake();
            }
        };
        let writer = Writer::start(&number.to_string(), shared.clone(), seen, log, feed.clone(), asked, freeze)?;
        common.metrics.databases_open.inc();
        Ok(Self {
            inner: Arc::new(Inner {
                name,
                access: common.access,
                shared,
                feed,
                budget,
                queries: common.queries.clone(),
                queue: Mutex::new(Some(queue)),
                writer: Mutex::new(Some(writer)),
            }),
        })
    }

    /// Ends the writer after what was asked, tells listeners, applies everything. Blocks.
    pub(crate) fn close(&self) -> Version {
        drop(self.inner.queue.lock().unwrap_or_else(PoisonError::into_inner).take());
        if let Some(writer) = self.inner.writer.lock().unwrap_or_else(PoisonError::into_inner).take() {
            writer.join();
            self.inner.shared.metrics.databases_open.dec();
        }
        self.inner.shared.memtable.freeze(1);
        if let Err(error) = self.inner.shared.memtable.apply_frozen() {
            tracing::error!(%error, "the state does not hold everything; the log does");
        }
        self.visible()
    }

    /// Whether only the engine holds the database, and nobody listens.
    pub(crate) fn is_idle(&self) -> bool {
        Arc::strong_count(&self.inner) == 1 && !self.inner.feed.has_listeners()
    }

    /// Moves `visible` to the clock's time if anyone listens, and removes history that is old enough.
    pub(crate) fn maintain(&self) -> Result<(), StateError> {
        if self.inner.feed.has_listeners() {
            self.tick();
        }
        let shared = &self.inner.shared;
        let old = shared.clock.micros().saturating_sub(shared.limits.history.as_micros() as u64);
        history::trim(shared, Version::from_micros(old)).map(drop)
    }

    fn tick(&self) {
        // A full queue moves `visible` by itself.
        if let Some(queue) = &*self.inner.queue.lock().unwrap_or_else(PoisonError::into_inner) {
            let _ = queue.try_send(Ask::Tick);
        }
    }

    /// Its name.
    pub fn name(&self) -> &DatabaseName {
        &self.inner.name
    }

    /// The newest version that can be read.
    pub fn visible(&self) -> Version {
        self.inner.shared.visible.version()
    }

    /// The oldest version that can be read.
    pub fn history_start(&self) -> Version {
        self.inner.shared.history_start()
    }

    /// Which life of the database this is; part of tokens.
    pub fn epoch(&self) -> u64 {
        self.inner.feed.epoch
    }

    /// Why the database takes no writes any more, if that is so.
    pub fn read_only(&self) -> Option<Arc<str>> {
        self.inner.shared.memtable.failure().or_else(|| self.inner.shared.log_failure())
    }

    // ---- who may

    /// Asks whether a caller may run a query or listen to it.
    pub fn authorize_query(&self, caller: &Caller, query: Arc<Query>) -> Result<Authorized<Arc<Query>>, Denied> {
        self.inner.access.authorize(caller, Act::Read, query)
    }

    /// Asks whether a caller may read a document.
    pub fn authorize_get(&self, caller: &Caller, path: DocPath) -> Result<Authorized<DocPath>, Denied> {
        self.inner.access.authorize(caller, Act::Read, path)
    }

    /// Asks whether a caller may list the collections below a document, or at the root.
    pub fn authorize_list(
        &self,
        caller: &Caller,
        below: Option<DocPath>,
    ) -> Result<Authorized<Option<DocPath>>, Denied> {
        self.inner.access.authorize(caller, Act::Read, below)
    }

    /// Asks whether a caller may commit.
    pub fn authorize_commit(
        &self,
        caller: &Caller,
        request: CommitRequest,
    ) -> Result<Authorized<CommitRequest>, Denied> {
        self.inner.access.authorize(caller, Act::Write, request)
    }

    /// Asks whether a caller may hear every commit.
    pub fn authorize_feed(&self, caller: &Caller) -> Result<Authorized<FeedAccess>, Denied> {
        self.inner.access.authorize(caller, Act::Administer, FeedAccess)
    }

    // ---- reading

    /// One document.
    pub async fn get(&self, path: &Authorized<DocPath>, at: Option<Version>) -> Result<GetAnswer, ReadError> {
        // A single look-up is short, and mostly answered from memory: not worth another thread.
        let view = self.view(at).await?;
        let document = view.document(path)?;
        self.inner.shared.metrics.documents_read.inc();
        Ok(GetAnswer { version: view.version(), document })
    }

    /// The result of a query.
    pub async fn query(&self, query: &Authorized<Arc<Query>>, at: Option<Version>) -> Result<Answer, ReadError> {
        let view = self.view(at).await?;
        let (query, inner) = (Arc::clone(query), self.inner.clone());
        self.blocking(move || {
            let found = inner.budget.run(&view, &query, 0)?;
            found.answer(&query, inner.feed.token(&query, view.version()))
        })
        .await
    }

    /// The ids of the collections below a document, or at the root, that hold a document at any depth.
    pub async fn collections(
        &self,
        below: &Authorized<Option<DocPath>>,
        at: Option<Version>,
    ) -> Result<(Version, Vec<Id>), ReadError> {
        let view = self.view(at).await?;
        let below = (**below).clone();
        self.blocking(move || {
            let ids = view.collections(below.as_ref())?;
            // Ids were checked before they were written.
            Ok((view.version(), ids.iter().filter_map(|id| Id::parse(id).ok()).collect()))
        })
        .await
    }

    /// What has changed in a result since a token.
    pub async fn since(&self, query: &Authorized<Arc<Query>>, token: &Token) -> Result<Opening, ReadError> {
        let (query, token, feed) = (Arc::clone(query), *token, self.inner.feed.clone());
        self.blocking(move || feed.since(&query, &token)).await
    }

    /// A newer token for the same result, where certainly nothing that the query matches has changed since the token.
    pub fn unchanged(&self, query: &Authorized<Arc<Query>>, token: &Token) -> Option<Token> {
        if token.query != query.hash() || token.epoch != self.epoch() || token.version > self.visible() {
            return None;
        }
        let registry = self.inner.feed.registry();
        let version = registry.passed().max(token.version);
        registry.unchanged(query, token.version).then_some(Token { version, ..*token })
    }

    /// Returns when something that the query matches has changed since the token, or when that is not known. Nothing is
    /// lost between the last look and the waiting.
    pub async fn changed(&self, query: &Authorized<Arc<Query>>, token: &Token) -> Result<(), ReadError> {
        let waiting = Waiting::new(self, query);
        loop {
            if self.unchanged(query, token).is_none() {
                return Ok(());
            }
            if self.inner.feed.registry().is_closed() {
                return Err(ReadError::Closed);
            }
            waiting.woken.notified().await;
        }
    }

    /// The database at a version, or at the newest.
    async fn view(&self, at: Option<Version>) -> Result<View, ReadError> {
        let shared = &self.inner.shared;
        let Some(at) = at else { return Ok(shared.view()) };
        if at > self.visible() {
            if at.micros() > shared.clock.micros() {
                return Err(ReadError::NotYet { at, visible: self.visible() });
            }
            // Time has passed and nothing was committed: say so in the log, so that no later commit undercuts the read.
            self.tick();
            shared.visible.above(Version::from_micros(at.micros() - 1)).await;
        }
        let view = self.inner.feed.view_at(at);
        // Pinned first and looked at then: from here on nothing of it is removed.
        match self.history_start() {
            oldest if at < oldest => Err(ReadError::Forgotten { at, oldest }),
            _ => Ok(view),
        }
    }

    /// Runs what may take long on a thread for it, a bounded number at one time.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, ReadError> {
        let permit = self.inner.queries.clone().acquire_owned().await.map_err(|_| ReadError::Closed)?;
        let done = tokio::task::spawn_blocking(move || {
            let result = work();
            drop(permit);
            result
        });
        done.await.map_err(|_| ReadError::Closed)?
    }

    // ---- listening

    /// Listens to a query through an outbox. The outbox tells what changes after what is returned.
    pub async fn listen(
        &self,
        query: Authorized<Arc<Query>>,
        outbox: &Outbox,
        target: TargetId,
        since: Option<&Token>,
    ) -> Result<Opening, ReadError> {
        let (query, _) = query.into_parts();
        outbox.register(target, Arc::downgrade(&self.inner.feed));
        let (feed, inbox, since) = (self.inner.feed.clone(), outbox.inbox().clone(), since.copied());
        let opening = self.blocking(move || feed.listen(&query, &inbox, target, since.as_ref())).await;
        if opening.is_err() {
            outbox.deregister(target);
        }
        opening
    }

    /// Catches a listener up that was told to have lagged.
    pub async fn catch_up(&self, outbox: &Outbox, target: TargetId) -> Result<Opening, ReadError> {
        let (feed, inbox) = (self.inner.feed.clone(), outbox.inbox().clone());
        self.blocking(move || feed.catch_up(&inbox, target)).await
    }

    /// Ends a listener. Nothing of it is delivered after this returns.
    pub fn unlisten(&self, outbox: &Outbox, target: TargetId) {
        outbox.deregister(target);
        self.inner.feed.unlisten(outbox.inbox(), target);
    }

    // ---- writing

    /// Commits. Answered when it is durable and every listener's outbox holds what it changed.
    pub async fn commit(&self, request: Authorized<CommitRequest>) -> Result<Committed, CommitError> {
        let (request, caller) = request.into_parts();
        let limits = &self.inner.shared.limits;
        let (count, limit) = (request.writes.len(), limits.commit_writes_max);
        if count > limit {
            return Err(CommitError::TooManyWrites { count, limit });
        }
        let (bytes, limit) = (writer::request_bytes(&request), limits.commit_bytes_max);
        if bytes > limit {
            return Err(CommitError::TooLarge { bytes, limit });
        }
        let (reply, answer) = oneshot::channel();
        let ask = Ask::Commit { scope: caller.scope().as_str().into(), request, reply };
        let queue = self.inner.queue.lock().unwrap_or_else(PoisonError::into_inner).clone();
        queue.ok_or(CommitError::Closed)?.try_send(ask).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => CommitError::Overloaded { retry_after_ms: RETRY_AFTER_MS },
            mpsc::error::TrySendError::Closed(_) => CommitError::Closed,
        })?;
        // A writer that ends without an answer may have written.
        let lost = || CommitError::Unknown { cause: "the writer has stopped".into() };
        answer.await.unwrap_or_else(|_| Err(lost()))
    }

    // ---- the change feed

    /// Commits after a version, oldest first: at least one where there is one, and about `changes_max` changes.
    pub async fn feed(
        &self,
        _access: &Authorized<FeedAccess>,
        after: Version,
        changes_max: usize,
    ) -> Result<FeedPage, ReadError> {
        let inner = self.inner.clone();
        self.blocking(move || {
            let view = inner.shared.view();
            let oldest = inner.shared.history_start();
            let reset = after < oldest;
            read_feed(&inner.feed, &view, after.max(oldest), changes_max, reset)
        })
        .await
    }

    /// Returns when something newer than `version` can be read.
    pub async fn committed_after(&self, version: Version) {
        self.inner.shared.visible.above(version).await;
    }
}

/// A long poll's place in the registry, given up when it is dropped.
struct Waiting<'a> {
    feed: &'a Feed,
    id: u64,
    woken: Arc<Notify>,
}

impl<'a> Waiting<'a> {
    fn new(database: &'a Database, query: &Arc<Query>) -> Self {
        let (feed, woken) = (&*database.inner.feed, Arc::new(Notify::new()));
        let id = feed.registry().wait(query, &woken);
        Self { feed, id, woken }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.feed.registry().unwait(self.id);
    }
}

/// Takes the log's entries above `applied` into the state.
fn replay(log: &dyn CommitLog, applied: Version, keyspace: Keyspace, memtable: &Memtable) -> Result<(), OpenError> {
    log.replay(applied, &mut |entry| {
        let puts = match entry.kind {
            kind::COMMIT => {
                let commit = CommitEntry::decode(&entry.body).map_err(EntryError::from)?;
                writer::puts(keyspace, entry.version, &commit)
            }
            kind::TICK => Vec::new(),
            kind => return Err(EntryError::Kind { kind }.into()),
        };
        memtable.insert(puts, entry.version);
        if memtable.freeze(REPLAY_BYTES) {
            memtable.apply_frozen().map_err(EntryError::from)?;
        }
        Ok(())
    })?;
    memtable.freeze(1);
    memtable.apply_frozen().map_err(StateError::from)?;
    Ok(())
}

fn read_keys(keyspace: Keyspace, store: &dyn Store, limits: &Limits) -> Result<KeysSeen, StateError> {
    let mut seen = KeysSeen::default();
    let mut range = keyspace.requests();
    loop {
        let page: Vec<(Vec<u8>, Blob)> = store.scan(&range, Direction::Forward, 1_000)?;
        let Some((last, _)) = page.last() else { return Ok(seen) };
        range = range.rest(Direction::Forward, last);
        for (key, record) in &page {
            let version = Keyspace::change_version(key).unwrap_or_default();
            let (scope, key, used) = keys_seen::decode(version, record)?;
            seen.add(&scope, &key, used, limits);
        }
    }
}

fn read_feed(feed: &Feed, view: &View, after: Version, changes_max: usize, reset: bool) -> Result<FeedPage, ReadError> {
    let mut by_version: BTreeMap<Version, Vec<Blob>> = BTreeMap::new();
    let mut count = 0;
    let mut entries = view.change_entries(after);
    let mut told = view.version();
    while let Some((key, doc_key)) = entries.next()? {
        let version = Keyspace::change_version(&key).unwrap_or_default();
        if count >= changes_max && !by_version.contains_key(&version) {
            told = by_version.last_key_value().map_or(told, |(version, _)| *version);
            break;
        }
        by_version.entry(version).or_default().push(doc_key);
        count += 1;
    }
    let mut commits = Vec::with_capacity(by_version.len());
    for (version, doc_keys) in by_version {
        let (then, now) = (feed.view_at(Version::from_micros(version.micros() - 1)), feed.view_at(version));
        let mut changes = Vec::with_capacity(doc_keys.len());
        for doc_key in doc_keys {
            let path = keys::decode_doc(&doc_key).map_err(StateError::from)?;
            changes.push(Change { before: then.document(&path)?, after: now.document(&path)?, path });
        }
        commits.push(Arc::new(Commit { version, changes }));
    }
    Ok(FeedPage { commits, version: told, reset })
}
