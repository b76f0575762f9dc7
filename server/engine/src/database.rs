//! One database: what doors read, write and listen through.

mod changes;
mod pages;
mod subtree;

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use hearth_auth::Caller;
use hearth_core::query::{Query, Source};
use hearth_core::{DatabaseName, DocPath, Document, Id, Version};
use hearth_store::{Blob, CommitLog, Direction, LogCopy, LogPart, Store};
use tokio::sync::{Notify, Semaphore, mpsc, oneshot};

pub use changes::{FeedAccess, FeedPage};
pub use pages::{Cost, Pages};
pub use subtree::{Deleted, NotDeleted, Subtree, SubtreeError};

use crate::applier::Applier;
use crate::authorize::{Access, Act, Authorized, Denied};
use crate::backup::{BackupAccess, BackupError, BackupPoint, SnapshotFile};
use crate::clock::Clock;
use crate::crew::Crew;
use crate::difference::{Difference, Part};
use crate::feed::Feed;
use crate::history;
use crate::ids;
use crate::keeper::{self, Archive, Keeper};
use crate::keys_seen::{self, KeysSeen};
use crate::keyspace::Keyspace;
use crate::limits::Limits;
use crate::listen::Opening;
use crate::memtable::Memtable;
use crate::metrics::Metrics;
use crate::outbox::{Outbox, TargetId};
use crate::places;
use crate::read::{Answer, Budget, ReadError};
use crate::rebuild::{self, Progress, RebuildError};
use crate::request::{CommitError, CommitRequest, Committed};
use crate::snapshot::SnapshotFailure;
use crate::time::Time;
use crate::token::Token;
use crate::ttl::Told;
use crate::view::{StateError, View};
use crate::writer::{self, Ask, Reply, Shared, Writer};

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
    crew: Arc<dyn Crew>,
    keeper: Keeper,
    /// What expires.
    ttl: Told,
    // Taken by `close`: without a queue the writer ends.
    queue: Mutex<Option<mpsc::Sender<Ask>>>,
    writer: Mutex<Option<Writer>>,
}

/// A database that this does not keep open.
pub(crate) struct WeakDatabase(Weak<Inner>);

impl WeakDatabase {
    pub(crate) fn upgrade(&self) -> Option<Database> {
        self.0.upgrade().map(|inner| Database { inner })
    }
}

/// What a database is opened with.
pub(crate) struct Opened {
    pub(crate) name: DatabaseName,
    pub(crate) number: u32,
    pub(crate) epoch: u64,
    pub(crate) log: Box<dyn CommitLog>,
    /// Where snapshots are; none where nothing is on disk.
    pub(crate) archive: Option<Archive>,
    /// Told how far the state is, should it have to be rebuilt.
    pub(crate) progress: Arc<Progress>,
}

/// What all databases of a process share.
#[derive(Clone)]
pub(crate) struct Common {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) time: Arc<Time>,
    pub(crate) limits: Arc<Limits>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) access: Access,
    pub(crate) applier: Applier,
    pub(crate) crew: Arc<dyn Crew>,
    pub(crate) queries: Arc<Semaphore>,
}

/// Why a database could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    Rebuild(#[from] RebuildError),
    #[error(
        "the newest commit of this database is {ahead_seconds} s ahead of this machine's clock (version {newest}); \
         nothing was changed and all data is safe: if the clock is wrong, set it and start again; if it is right, \
         start with --accept-clock, and new commits follow right behind that time until the clock has reached it"
    )]
    ClockBehind { newest: Version, ahead_seconds: u64 },
    #[error("a thread of the database could not be started: {0}")]
    Thread(#[from] std::io::Error),
}

/// A document, or that there is none.
#[derive(Clone, Debug, PartialEq)]
pub struct GetAnswer {
    /// The version that was read.
    pub version: Version,
    /// The document.
    pub document: Option<Arc<Document>>,
}

/// A place of a collection: a document, or that one is missing which has others below it.
pub type Place = (DocPath, Option<Arc<Document>>);

/// The right to take away everything.
#[derive(Clone, Copy, Debug)]
pub struct Wipe;

impl Database {
    /// Opens a database: what the log holds beyond the state is replayed into it first.
    pub(crate) fn open(opened: Opened, common: &Common) -> Result<Self, OpenError> {
        let Opened { name, number, epoch, log, archive, progress } = opened;
        let keyspace = Keyspace::new(number);
        let store = common.store.clone();
        check_clock(log.last(), common)?;
        let memtable = Arc::new(Memtable::new(keyspace, store.clone()));
        let snapshots = archive.as_ref().map(|archive| &archive.snapshots);
        let standing = rebuild::bring_up(keyspace, &memtable, &*log, snapshots, epoch, &progress)?;
        let seen = read_keys(keyspace, &*store, standing.life.floor, &common.limits)?;
        common.applier.add(&memtable);
        let shared = Arc::new(Shared::new(keyspace, memtable.clone(), &standing, common));
        shared.log_grown.store(keeper::grown(&*log, archive.as_ref(), &standing), Ordering::Release);
        let budget =
            Budget { clock: common.clock.clone(), limits: common.limits.clone(), metrics: common.metrics.clone() };
        let feed = Arc::new(Feed::new(shared.clone(), budget.clone(), common.crew.clone()));
        let (queue, asked) = mpsc::channel(common.limits.queue_commits_max);
        let (applier, limits) = (common.applier.clone(), common.limits.clone());
        let freeze = move || {
            if memtable.freeze(limits.generation_bytes_max)
                >= limits.generations_applied_min.min(limits.generations_max)
            {
                applier.wake();
            }
        };
        let crew = &common.crew;
        let writer = Writer::start(&number.to_string(), shared.clone(), seen, log, feed.clone(), asked, freeze)?;
        common.metrics.databases_open.inc();
        Ok(Self {
            inner: Arc::new(Inner {
                name,
                access: common.access,
                crew: crew.clone(),
                keeper: Keeper::new(shared.clone(), crew.clone(), archive),
                ttl: Told::default(),
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
        self.inner.keeper.stop();
        self.inner.ttl.close();
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

    /// Moves `visible` to the clock's time if anyone listens, removes history that is old enough, and has a snapshot written
    /// when one is due.
    pub(crate) fn maintain(&self) -> Result<(), StateError> {
        if self.inner.feed.has_listeners() {
            self.ask(Ask::Tick { at_least: Version::ZERO, reply: None });
        }
        let shared = &self.inner.shared;
        let old = shared.time.micros().saturating_sub(shared.limits.history.as_micros() as u64);
        history::trim(shared, Version::from_micros(old), || self.inner.feed.told.version())?;
        self.keep();
        Ok(())
    }

    /// Whether somebody holds the registry of listeners.
    pub(crate) fn is_telling(&self) -> bool {
        self.inner.feed.is_busy()
    }

    /// Whether somebody keeps the applier away, or is it.
    pub(crate) fn is_applying(&self) -> bool {
        self.inner.shared.memtable.is_paused()
    }

    /// An outbox without listeners, bounded as this database is.
    pub(crate) fn outbox(&self) -> Outbox {
        let shared = &self.inner.shared;
        Outbox::bounded(shared.limits.outbox_bytes_max, shared.metrics.clone())
    }

    /// Has the keeper go its round.
    fn keep(&self) {
        let queue =
            self.inner.queue.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(mpsc::Sender::downgrade);
        self.inner.keeper.begin_round(self.inner.name.project(), move || {
            // The log is the writer's: it lets go of what the round has found needless.
            if let Some(queue) = queue.as_ref().and_then(mpsc::WeakSender::upgrade) {
                let _ = queue.try_send(Ask::Nudge);
            }
        });
    }

    /// Writes a snapshot now, due or not, and answers its version; none where nothing is kept on disk. Blocks.
    pub fn snapshot(&self) -> Result<Option<Version>, SnapshotFailure> {
        let written = self.inner.keeper.snapshot_now()?;
        self.ask(Ask::Nudge);
        Ok(written.map(|(version, _)| version))
    }

    fn ask(&self, ask: Ask) {
        // A full queue moves everything by itself.
        if let Some(queue) = &*self.inner.queue.lock().unwrap_or_else(PoisonError::into_inner) {
            let _ = queue.try_send(ask);
        }
    }

    pub(crate) fn downgrade(&self) -> WeakDatabase {
        WeakDatabase(Arc::downgrade(&self.inner))
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.inner.shared
    }

    pub(crate) fn ttl(&self) -> &Told {
        &self.inner.ttl
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
        self.inner.shared.lives.now().epoch
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

    /// Asks whether a caller may wipe the database.
    pub fn authorize_wipe(&self, caller: &Caller) -> Result<Authorized<Wipe>, Denied> {
        self.inner.access.authorize(caller, Act::Administer, Wipe)
    }

    /// Asks whether a caller may copy everything.
    pub fn authorize_backup(&self, caller: &Caller) -> Result<Authorized<BackupAccess>, Denied> {
        self.inner.access.authorize(caller, Act::Administer, BackupAccess)
    }

    /// Asks whether a caller may do what only the owner of the server may.
    pub(crate) fn authorize_administration<T>(&self, caller: &Caller, subject: T) -> Result<Authorized<T>, Denied> {
        self.inner.access.authorize(caller, Act::Administer, subject)
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

    /// The places of a collection behind `after`, at most so many, by name: its documents, and those that are missing and
    /// have others below them. Of the query only the collection counts; other sources have no places.
    pub async fn places(
        &self,
        query: &Authorized<Arc<Query>>,
        after: Option<&DocPath>,
        places_max: usize,
        at: Option<Version>,
    ) -> Result<Vec<Place>, ReadError> {
        let Source::Collection(collection) = query.source().clone() else { return Ok(Vec::new()) };
        let view = self.view(at).await?;
        let after = after.cloned();
        self.blocking(move || Ok(places::of(&view, &collection, after.as_ref(), places_max)?)).await
    }

    /// What has changed in a result since a token.
    pub async fn since(&self, query: &Authorized<Arc<Query>>, token: &Token) -> Result<Opening, ReadError> {
        let opening = self.since_in_parts(query, token).await?;
        self.whole(opening).await
    }

    /// The same, in parts.
    pub async fn since_in_parts(
        &self,
        query: &Authorized<Arc<Query>>,
        token: &Token,
    ) -> Result<Opening<Difference>, ReadError> {
        let (query, token, feed) = (Arc::clone(query), *token, self.inner.feed.clone());
        self.blocking(move || feed.since(&query, &token)).await
    }

    /// The next part of a difference, and the difference again where it has others.
    pub async fn part(&self, mut difference: Difference) -> Result<(Part, Option<Difference>), ReadError> {
        if let Some(part) = difference.take_ready() {
            return Ok((part, difference.rest()));
        }
        let feed = self.inner.feed.clone();
        self.blocking(move || Ok((feed.read_part(&mut difference)?, difference.rest()))).await
    }

    /// An opening whose difference is in one.
    async fn whole(&self, opening: Opening<Difference>) -> Result<Opening, ReadError> {
        match opening {
            Opening::Whole { answer, reset } => Ok(Opening::Whole { answer, reset }),
            Opening::Since(difference) if difference.is_read() => {
                self.part(difference).await.map(|(part, _)| Opening::Since(part.event))
            }
            Opening::Since(difference) => {
                let feed = self.inner.feed.clone();
                self.blocking(move || feed.read_whole(difference)).await.map(Opening::Since)
            }
        }
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
            if at.micros() > shared.time.micros() {
                return Err(ReadError::NotYet { at, visible: self.visible() });
            }
            // Time has passed and nothing was committed: say so in the log, so that no later commit undercuts the read.
            let said = self.write(|reply| Ask::Tick { at_least: at, reply: Some(reply) }).await;
            said.map_err(|cause| ReadError::NotReached { at, cause: cause.to_string().into() })?;
        }
        let view = self.inner.feed.view_at(at);
        // Pinned first and looked at then: from here on nothing of it is removed.
        match self.history_start() {
            oldest if at < oldest => Err(ReadError::Forgotten { at, oldest }),
            _ => Ok(view),
        }
    }

    /// Runs what may take long on a thread for it, a bounded number at one time.
    pub(crate) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, ReadError> {
        let permit = self.inner.queries.clone().acquire_owned().await.map_err(|_| ReadError::Closed)?;
        let (done, answer) = oneshot::channel();
        self.inner.crew.job(Box::new(move || {
            let result = work();
            drop(permit);
            // Whoever asked may have gone.
            let _ = done.send(result);
        }));
        answer.await.map_err(|_| ReadError::Closed)?
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
        let opening = self.listen_in_parts(query, outbox, target, since).await?;
        self.whole_or_end(opening, outbox, target).await
    }

    /// The same, with differences in parts. The outbox tells what changes later when the last part has been read.
    pub async fn listen_in_parts(
        &self,
        query: Authorized<Arc<Query>>,
        outbox: &Outbox,
        target: TargetId,
        since: Option<&Token>,
    ) -> Result<Opening<Difference>, ReadError> {
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
        let opening = self.catch_up_in_parts(outbox, target).await?;
        self.whole_or_end(opening, outbox, target).await
    }

    /// An opening whose difference is in one; where that cannot be read, the listener ends.
    async fn whole_or_end(
        &self,
        opening: Opening<Difference>,
        outbox: &Outbox,
        target: TargetId,
    ) -> Result<Opening, ReadError> {
        let whole = self.whole(opening).await;
        if whole.is_err() {
            self.unlisten(outbox, target);
        }
        whole
    }

    /// The same, with differences in parts, as [`Database::listen_in_parts`].
    pub async fn catch_up_in_parts(&self, outbox: &Outbox, target: TargetId) -> Result<Opening<Difference>, ReadError> {
        let (feed, inbox) = (self.inner.feed.clone(), outbox.inbox().clone());
        self.blocking(move || feed.catch_up(&inbox, target)).await
    }

    /// Ends a listener. Nothing of it is delivered after this returns.
    pub fn unlisten(&self, outbox: &Outbox, target: TargetId) {
        outbox.deregister(target);
        self.inner.feed.unlisten(outbox.inbox(), target);
    }

    /// Returns when every outbox holds what it is to tell of commits up to `version`, but for what is being worked out
    /// still, see [`Outbox::settled`].
    pub async fn passed(&self, version: Version) {
        if let Some(before) = version.micros().checked_sub(1) {
            self.inner.feed.told.above(Version::from_micros(before)).await;
        }
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
        let scope = caller.scope().as_str().into();
        self.write(|reply| Ask::Commit { scope, request, reply }).await
    }

    /// Commits what nobody has asked for.
    pub(crate) async fn commit_as_engine(&self, request: CommitRequest) -> Result<(), CommitError> {
        let scope = Caller::Admin.scope().as_str().into();
        self.write(|reply| Ask::Commit { scope, request, reply }).await.map(drop)
    }

    /// Asks the writer for a change and waits for its verdict.
    async fn write(&self, ask: impl FnOnce(Reply) -> Ask) -> Result<Committed, CommitError> {
        let (reply, answer) = oneshot::channel();
        let queue = self.inner.queue.lock().unwrap_or_else(PoisonError::into_inner).clone();
        queue.ok_or(CommitError::Closed)?.try_send(ask(reply)).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => CommitError::Overloaded { retry_after_ms: RETRY_AFTER_MS },
            mpsc::error::TrySendError::Closed(_) => CommitError::Closed,
        })?;
        // A writer that ends without an answer may have written.
        let lost = || CommitError::Unknown { cause: "the writer has stopped".into() };
        answer.await.unwrap_or_else(|_| Err(lost()))
    }

    /// Takes away all documents and idempotency keys and begins a new epoch. Takes no longer however much there is; the
    /// space is freed in the background. Listeners begin anew, and tokens given before lead to a reset. Answers the version
    /// at which nothing is left, when that is durable.
    pub async fn wipe(&self, _wipe: &Authorized<Wipe>) -> Result<Version, CommitError> {
        let epoch = u64::from_be_bytes(ids::random());
        let committed = self.write(|reply| Ask::Wipe { epoch, reply }).await?;
        self.keep();
        Ok(committed.version)
    }

    // ---- backups

    /// Up to where everything can be copied, and what there is to copy. It stays what it is while commits go on.
    pub async fn backup_point(&self, _access: &Authorized<BackupAccess>) -> Result<BackupPoint, BackupError> {
        let shared = &self.inner.shared;
        let archive = self.inner.keeper.archive().ok_or(BackupError::InMemory)?;
        // An entry of this very moment: whatever is committed later bears a higher version, so that the copy holds all that
        // there was up to now. A log that takes nothing more is copied as far as it goes.
        let now = Version::from_micros(shared.time.micros());
        if self.read_only().is_none() && self.visible() < now {
            let _ = self.write(|reply| Ask::Tick { at_least: now, reply: Some(reply) }).await;
        }
        let version = self.visible();
        let snapshots = tokio::task::spawn_blocking(move || archive.whole().map(|whole| (archive.database, whole)));
        let (id, mut snapshots) = snapshots.await.map_err(|_| BackupError::Closed)??;
        snapshots.retain(|(at, _)| *at <= version);
        Ok(BackupPoint { id, version, snapshots })
    }

    /// A snapshot that [`Database::backup_point`] has told of, as a file that stays readable even when it is removed. Blocks.
    pub fn backup_snapshot(
        &self,
        _access: &Authorized<BackupAccess>,
        version: Version,
    ) -> Result<SnapshotFile, BackupError> {
        let archive = self.inner.keeper.archive().ok_or(BackupError::InMemory)?;
        SnapshotFile::open(&archive.snapshots.path(version), version)
    }

    /// A part of the log up to a version that [`Database::backup_point`] has told of. Blocks.
    pub fn backup_log(&self, _access: &Authorized<BackupAccess>, part: LogPart) -> Result<LogCopy, BackupError> {
        let archive = self.inner.keeper.archive().ok_or(BackupError::InMemory)?;
        let visible = self.visible();
        if part.upto > visible || part.after > part.upto || part.segment == 0 {
            return Err(BackupError::NoSuchPart { part, visible });
        }
        Ok(LogCopy::open(&archive.log, archive.database, part)?)
    }
}

/// What tests of the engine look at.
#[cfg(test)]
impl Database {
    /// Waits until the keeper's round is over and the log has let go of what it may.
    pub(crate) fn settle(&self) {
        self.inner.keeper.wait();
    }

    pub(crate) fn pin(&self) -> View {
        self.inner.shared.view()
    }

    pub(crate) fn seen_by(&self, view: &View, path: &DocPath) -> Option<Version> {
        view.document(path).unwrap().map(|document| document.updated)
    }

    pub(crate) fn store(&self) -> Arc<dyn Store> {
        self.inner.shared.memtable.store().clone()
    }

    pub(crate) fn apply_all(&self) {
        self.try_apply().unwrap();
    }

    pub(crate) fn try_apply(&self) -> Result<(), hearth_store::StoreError> {
        self.inner.shared.memtable.freeze(1);
        self.inner.shared.memtable.apply_frozen()
    }

    pub(crate) fn superseded_bytes(&self) -> u64 {
        crate::memtable::number(&*self.store(), &self.inner.shared.keyspace.superseded()).unwrap()
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

/// Refuses a log whose newest commit lies so far ahead of the clock that one of the two must be wrong.
fn check_clock(newest: Version, common: &Common) -> Result<(), OpenError> {
    let ahead = Duration::from_micros(newest.micros().saturating_sub(common.time.micros()));
    if ahead <= common.limits.clock_ahead_max {
        return Ok(());
    }
    Err(OpenError::ClockBehind { newest, ahead_seconds: ahead.as_secs() })
}

fn read_keys(keyspace: Keyspace, store: &dyn Store, floor: Version, limits: &Limits) -> Result<KeysSeen, StateError> {
    let mut seen = KeysSeen::default();
    let mut range = keyspace.requests(floor, Version::MAX);
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
