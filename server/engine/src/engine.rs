//! The engine: many databases in one process, opened when they are first asked for.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use hearth_core::{DatabaseName, Id, Version};
use hearth_store::{
    Batch, Blob, Check, DatabaseId, Home, HomeError, LogOptions, Memory, NoLog, Sled, SledOptions, SnapshotError,
    Snapshots, Store, StoreError,
};
use tokio::sync::Semaphore;

use crate::applier::Applier;
use crate::authorize::Access;
use crate::clock::Clock;
use crate::crew::{Crew, Threads};
use crate::database::{Common, Database, OpenError, Opened};
use crate::history::version_of;
use crate::ids;
use crate::keeper::Archive;
use crate::keyspace::Keyspace;
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::rebuild::{Progress, ProgressNow};
use crate::time::Time;
use crate::ttl::{self, TtlError, TtlPolicy};

/// Where databases are kept.
pub enum Backing {
    /// In a data directory.
    Disk(Box<Home>),
    /// In memory: gone when the process ends.
    Memory,
}

/// Which projects exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Projects {
    /// Any that is named: it is made by being written to.
    Any,
    /// These, and those that are on disk already.
    Known(Vec<String>),
}

/// How an engine is set up.
#[derive(Clone, Debug)]
pub struct Options {
    /// Every limit.
    pub limits: Limits,
    /// What callers may do.
    pub access: Access,
    /// Which projects exist.
    pub projects: Projects,
    /// The project that is meant where none is named; goes before one that is remembered on disk.
    pub default_project: Option<String>,
}

/// Why an engine could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Home(#[from] HomeError),
    #[error(transparent)]
    State(#[from] hearth_store::SledError),
    #[error(transparent)]
    Store(#[from] hearth_store::StoreError),
    #[error(
        "the state in {} is that of another data directory; nothing was changed: \
         move it away, then start hearth, which rebuilds it from snapshots and log",
        path.display()
    )]
    ForeignState { path: PathBuf },
    #[error("a thread could not be started: {0}")]
    Thread(#[from] std::io::Error),
}

/// Why a database cannot be had.
#[derive(Clone, Debug, thiserror::Error)]
pub enum DatabaseError {
    #[error(
        "there is no project {project:?} here; the server knows it when it is named in hearth.toml or by --project"
    )]
    UnknownProject { project: String },
    #[error("{limit} databases are open and in use; try again when one is idle")]
    TooMany { limit: usize },
    #[error("the server is stopping")]
    Closed,
    #[error("the database is being rebuilt from its snapshot and log, {percent} % are done; try again in a while")]
    Opening { percent: u8 },
    #[error(
        "the newest commit of this database is {ahead_seconds} s ahead of this machine's clock (version {newest}); \
         nothing was changed and all data is safe: if the clock is wrong, set it and start again; if it is right, \
         start with --accept-clock, and new commits follow right behind that time until the clock has reached it"
    )]
    ClockBehind { newest: Version, ahead_seconds: u64 },
    #[error("the database cannot be served: {cause}")]
    Damaged { cause: Arc<str> },
}

impl From<OpenError> for DatabaseError {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::ClockBehind { newest, ahead_seconds } => Self::ClockBehind { newest, ahead_seconds },
            OpenError::State(_) | OpenError::Rebuild(_) | OpenError::Thread(_) => {
                Self::Damaged { cause: error.to_string().into() }
            }
        }
    }
}

impl From<HomeError> for DatabaseError {
    fn from(error: HomeError) -> Self {
        Self::Damaged { cause: error.to_string().into() }
    }
}

/// All databases of a process. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

struct Inner {
    options: Options,
    backing: Backing,
    common: Common,
    /// Where what expires is swept.
    runtime: tokio::runtime::Handle,
    // Held to look a database up; opening one holds only its own slot.
    slots: Mutex<HashMap<DatabaseName, Arc<Slot>>>,
    remembered: Mutex<Remembered>,
}

#[derive(Default)]
struct Slot {
    state: Mutex<SlotState>,
    /// How far its opening is, while that goes on.
    progress: Arc<Progress>,
}

#[derive(Default)]
struct SlotState {
    database: Option<Database>,
    used: Duration,
}

#[derive(Default)]
struct Remembered {
    default_project: Option<String>,
    /// Numbers and epochs of databases in memory.
    in_memory: HashMap<DatabaseName, (u32, u64)>,
    /// What expires in databases in memory.
    ttl_in_memory: HashMap<DatabaseName, Vec<TtlPolicy>>,
    closed: bool,
}

/// Under which key the state says of which data directory it is. No database has number zero.
const STATE_OWNER: &[u8; 8] = b"\0\0\0\0home";

/// Says in the state which data directory it is of, and refuses one that is of another.
fn claim_state(store: &Sled, home: &Home) -> Result<(), StartError> {
    match store.get(STATE_OWNER)? {
        Some(owner) if owner[..] != home.id() => Err(StartError::ForeignState { path: home.state_dir() }),
        Some(_) => Ok(()),
        None => {
            let mut batch = Batch::new();
            batch.put(*STATE_OWNER, Blob::from(home.id()));
            Ok(store.apply(batch)?)
        }
    }
}

/// Reads what opening the databases begins with.
fn probe(store: &Sled, home: &Home) -> Result<(), StoreError> {
    for record in home.databases() {
        store.get(&crate::keyspace::Keyspace::new(record.number).applied())?;
    }
    store.get(STATE_OWNER).map(drop)
}

/// What is read within this many bytes is worth waiting for when a database is opened.
const WAITED_BYTES_MAX: u64 = 8 << 20;

/// The version of the newest snapshot whose head is whole; zero where there is none.
fn last_snapshot(snapshots: &Snapshots) -> Result<Version, SnapshotError> {
    let is_whole = |version: &Version| match snapshots.head(*version) {
        Ok(_) => true,
        Err(error) => {
            tracing::error!(%error, "a snapshot cannot be read; it is left where it is and not used");
            false
        }
    };
    Ok(snapshots.list()?.into_iter().rev().find(is_whole).unwrap_or_default())
}

/// With what the log of a database is opened, by what else of it is there. What the options say is covered was durable.
pub(crate) fn log_options(
    store: &dyn Store,
    number: u32,
    snapshots: &Snapshots,
    limits: &Limits,
) -> Result<LogOptions, SnapshotError> {
    let bytes = store.get(&Keyspace::new(number).applied()).ok().flatten();
    let applied = bytes.and_then(|bytes| version_of(&bytes)).unwrap_or_default();
    // When the state holds everything but the tail, only the tail is read again.
    let check = if applied == Version::ZERO { Check::Whole } else { Check::Tail };
    // What a snapshot holds was durable in the log; and either it or the state stands for what the log has dropped.
    let covered = applied.max(last_snapshot(snapshots)?);
    Ok(LogOptions { check, covered, free_bytes_min: limits.disk_free_bytes_min, ..LogOptions::default() })
}

/// What starting found.
#[derive(Clone, Debug, Default)]
pub struct Started {
    /// What a person should know, a sentence each.
    pub notices: Vec<String>,
}

impl Engine {
    /// Starts an engine. Must be called within a tokio runtime, whose blocking threads run queries.
    pub fn start(backing: Backing, options: Options, clock: Arc<dyn Clock>) -> Result<(Self, Started), StartError> {
        let mut started = Started::default();
        let store: Arc<dyn Store> = match &backing {
            Backing::Memory => Arc::new(Memory::new()),
            Backing::Disk(home) => {
                // Half of what the log leaves free: by the time the state lacks space, no commit adds to it any more.
                let free_bytes_min = options.limits.disk_free_bytes_min / 2;
                let sled = SledOptions { free_bytes_min, cache_bytes_max: options.limits.cache_bytes_max };
                let mut opened = Sled::open(&home.state_dir(), &sled)?;
                if let Err(StoreError::Failed { .. }) = probe(&opened.store, home) {
                    // What cannot even be asked how far it reaches is set aside by opening it again.
                    let _ = opened.store.close();
                    opened = Sled::open(&home.state_dir(), &sled)?;
                }
                if let Some(aside) = &opened.set_aside {
                    let (cause, path) = (&aside.cause, aside.path.display());
                    started.notices.push(format!(
                        "the state could not be opened ({cause}); it is rebuilt from the log, and {path} may be deleted"
                    ));
                }
                claim_state(&opened.store, home)?;
                Arc::new(opened.store)
            }
        };
        let runtime = tokio::runtime::Handle::current();
        let jobs = runtime.clone();
        let crew: Arc<dyn Crew> = Arc::new(Threads::new(move |job| drop(jobs.spawn_blocking(job))));
        let limits = Arc::new(options.limits.clone());
        let metrics: Arc<Metrics> = Arc::default();
        let common = Common {
            store,
            time: Arc::new(Time::new(clock.clone(), limits.clock_leap_max, metrics.clone())),
            clock,
            queries: Arc::new(Semaphore::new(limits.queries_running_max)),
            limits,
            metrics,
            access: options.access,
            applier: Applier::start(&*crew)?,
            crew,
        };
        let on_disk = match &backing {
            Backing::Disk(home) => home.default_project(),
            Backing::Memory => None,
        };
        let default_project = options.default_project.clone().or(on_disk);
        let remembered = Mutex::new(Remembered { default_project, ..Remembered::default() });
        let inner = Inner { options, backing, common, runtime, slots: Mutex::default(), remembered };
        Ok((Self { inner: Arc::new(inner) }, started))
    }

    fn remembered(&self) -> MutexGuard<'_, Remembered> {
        self.inner.remembered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn slots(&self) -> MutexGuard<'_, HashMap<DatabaseName, Arc<Slot>>> {
        self.inner.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The database of this name; opened, and made where it may be. Blocks on files unless [`Engine::is_open`].
    pub fn database(&self, name: &DatabaseName) -> Result<Database, DatabaseError> {
        if self.remembered().closed {
            return Err(DatabaseError::Closed);
        }
        if !self.may_exist(name) {
            return Err(DatabaseError::UnknownProject { project: name.project().into() });
        }
        let slot = self.slots().entry(name.clone()).or_default().clone();
        let mut state = match slot.state.try_lock() {
            Ok(state) => state,
            Err(TryLockError::Poisoned(error)) => error.into_inner(),
            Err(TryLockError::WouldBlock) => match slot.progress.now() {
                // Being opened, and that takes its time.
                now if now.bytes_total > WAITED_BYTES_MAX => {
                    return Err(DatabaseError::Opening { percent: now.percent() });
                }
                _ => slot.state.lock().unwrap_or_else(PoisonError::into_inner),
            },
        };
        state.used = self.inner.common.clock.elapsed();
        if let Some(database) = &state.database {
            return Ok(database.clone());
        }
        self.make_room(name)?;
        let opened = self.open(name, slot.progress.clone());
        slot.progress.end();
        let database = opened.inspect_err(|error| tracing::error!(%name, %error, "a database could not be opened"))?;
        state.database = Some(database.clone());
        Ok(database)
    }

    fn may_exist(&self, name: &DatabaseName) -> bool {
        match &self.inner.options.projects {
            Projects::Any => true,
            Projects::Known(known) => {
                known.iter().any(|project| project == name.project())
                    || self.default_project().as_deref() == Some(name.project())
                    || self.database_names().iter().any(|held| held.project() == name.project())
            }
        }
    }

    /// Closes the databases that were idle the longest, so that one more may be opened.
    fn make_room(&self, wanted: &DatabaseName) -> Result<(), DatabaseError> {
        let limit = self.inner.common.limits.databases_open_max;
        let others: Vec<Arc<Slot>> =
            self.slots().iter().filter(|(name, _)| *name != wanted).map(|(_, slot)| slot.clone()).collect();
        let mut open = 0;
        let mut idle = Vec::new();
        for slot in others {
            // One that is being opened or closed right now counts as open.
            let Ok(state) = slot.state.try_lock() else {
                open += 1;
                continue;
            };
            let Some(database) = &state.database else { continue };
            open += 1;
            if database.is_idle() {
                let used = state.used;
                drop(state);
                idle.push((used, slot));
            }
        }
        idle.sort_by_key(|(used, _)| *used);
        for (_, slot) in idle {
            if open < limit {
                break;
            }
            let Ok(mut state) = slot.state.try_lock() else { continue };
            if state.database.as_ref().is_some_and(Database::is_idle)
                && let Some(database) = state.database.take()
            {
                database.close();
                open -= 1;
            }
        }
        if open < limit { Ok(()) } else { Err(DatabaseError::TooMany { limit }) }
    }

    fn open(&self, name: &DatabaseName, progress: Arc<Progress>) -> Result<Database, DatabaseError> {
        let opened = match &self.inner.backing {
            Backing::Memory => {
                let mut remembered = self.remembered();
                let fresh = (remembered.in_memory.len() as u32 + 1, u64::from_be_bytes(ids::random()));
                let (number, epoch) = *remembered.in_memory.entry(name.clone()).or_insert(fresh);
                Opened { name: name.clone(), number, epoch, log: Box::new(NoLog::new()), archive: None, progress }
            }
            Backing::Disk(home) => self.open_on_disk(home, name, progress)?,
        };
        let (number, epoch) = (opened.number, opened.epoch);
        let database = Database::open(opened, &self.inner.common)?;
        // The log says when a wipe has begun a new epoch; the catalog follows.
        if let Backing::Disk(home) = &self.inner.backing
            && database.epoch() != epoch
            && let Err(error) = home.set_epoch(number, database.epoch())
        {
            tracing::warn!(%name, %error, "the new epoch could not be noted in the catalog; the log has it");
        }
        if let Err(error) = self.begin_ttl(&database) {
            database.close();
            return Err(error.into());
        }
        Ok(database)
    }

    pub(crate) fn runtime(&self) -> &tokio::runtime::Handle {
        &self.inner.runtime
    }

    /// What expires in a database, as it was kept.
    pub(crate) fn kept_ttl(&self, name: &DatabaseName) -> Result<Vec<TtlPolicy>, HomeError> {
        match &self.inner.backing {
            Backing::Memory => Ok(self.remembered().ttl_in_memory.get(name).cloned().unwrap_or_default()),
            Backing::Disk(home) => match home.database(name.project(), name.database()) {
                Some(record) => Ok(ttl::from_lines(name, home.ttl_policies(record.number)?)),
                None => Ok(Vec::new()),
            },
        }
    }

    /// Keeps what expires in a database. Durable on return.
    pub(crate) fn keep_ttl(&self, name: &DatabaseName, policies: &[TtlPolicy]) -> Result<(), TtlError> {
        match &self.inner.backing {
            Backing::Memory => {
                self.remembered().ttl_in_memory.insert(name.clone(), policies.to_vec());
            }
            // An open database has its record.
            Backing::Disk(home) => {
                if let Some(record) = home.database(name.project(), name.database()) {
                    home.set_ttl_policies(record.number, &ttl::to_lines(policies))?;
                }
            }
        }
        Ok(())
    }

    fn open_on_disk(&self, home: &Home, name: &DatabaseName, progress: Arc<Progress>) -> Result<Opened, HomeError> {
        let record = match home.database(name.project(), name.database()) {
            Some(record) => record,
            None => {
                let (id, epoch) = (DatabaseId(ids::random()), u64::from_be_bytes(ids::random()));
                home.create_database(name.project(), name.database(), id, epoch)?
            }
        };
        let limits = &self.inner.common.limits;
        let snapshots = home.snapshots(record.number)?.leaving_free(limits.disk_free_bytes_min);
        let options = log_options(&*self.inner.common.store, record.number, &snapshots, limits);
        let options = options.map_err(HomeError::Snapshots)?;
        let (log, recovered) = home.open_log(record.number, options.covered, options)?;
        if recovered.cut_bytes > 0 {
            let bytes = recovered.cut_bytes;
            tracing::warn!(%name, bytes, "cut a group that is not whole off the end of the log: a crash tears the last one before anyone is told of it");
        }
        let (number, epoch, database) = (record.number, record.epoch, record.id);
        let archive = Some(Archive::new(snapshots, home.log_dir(number)?, database));
        Ok(Opened { name: name.clone(), number, epoch, log: Box::new(log), archive, progress })
    }

    /// Opens the databases that are there, as many as may be open: so that what has to be rebuilt is under way before it is
    /// asked for. Answers those that could not be opened, and why; whoever asks for one is told the same. Blocks.
    pub fn open_all(&self) -> Vec<(DatabaseName, DatabaseError)> {
        let names = self.database_names().into_iter().take(self.inner.common.limits.databases_open_max);
        names.filter_map(|name| self.database(&name).err().map(|error| (name, error))).collect()
    }

    /// Bytes that may still be written on the disk of the data directory; none in memory, and where the system does not tell.
    pub fn disk_free_bytes(&self) -> Option<u64> {
        match &self.inner.backing {
            Backing::Disk(home) => home.free_bytes(),
            Backing::Memory => None,
        }
    }

    /// How far the databases are that are being opened right now.
    pub fn opening(&self) -> Vec<(DatabaseName, ProgressNow)> {
        let slots = self.slots();
        let under_way = slots.iter().map(|(name, slot)| (name.clone(), slot.progress.now()));
        under_way.filter(|(_, now)| now.bytes_total > 0).collect()
    }

    /// Whether the wall clock has leapt ahead and is not followed.
    pub fn is_clock_held(&self) -> bool {
        self.inner.common.time.is_held()
    }

    /// Whether a database is open, so that asking for it does not block.
    pub fn is_open(&self, name: &DatabaseName) -> bool {
        let slot = self.slots().get(name).cloned();
        slot.is_some_and(|slot| slot.state.try_lock().is_ok_and(|state| state.database.is_some()))
    }

    /// The databases that exist.
    pub fn database_names(&self) -> Vec<DatabaseName> {
        let mut names: Vec<DatabaseName> = match &self.inner.backing {
            Backing::Memory => self.remembered().in_memory.keys().cloned().collect(),
            Backing::Disk(home) => {
                let named =
                    |record: &hearth_store::DatabaseRecord| DatabaseName::parse(&record.project, &record.database).ok();
                home.databases().iter().filter_map(named).collect()
            }
        };
        names.sort();
        names
    }

    /// The project that is meant where none is named.
    pub fn default_project(&self) -> Option<String> {
        self.remembered().default_project.clone()
    }

    /// Makes `project` the one that is meant where none is named, unless there is one. Returns the one in force.
    pub fn claim_default_project(&self, project: &str) -> String {
        let mut remembered = self.remembered();
        if let Some(held) = &remembered.default_project {
            return held.clone();
        }
        if let Backing::Disk(home) = &self.inner.backing
            && let Err(error) = home.set_default_project(project)
        {
            tracing::warn!(%error, "the default project could not be remembered");
        }
        remembered.default_project = Some(project.into());
        project.into()
    }

    /// Every limit.
    pub fn limits(&self) -> &Limits {
        &self.inner.common.limits
    }

    /// All counters.
    pub fn metrics(&self) -> &Metrics {
        &self.inner.common.metrics
    }

    pub(crate) fn metrics_shared(&self) -> Arc<Metrics> {
        self.inner.common.metrics.clone()
    }

    /// How long superseded versions are kept at least, unless their bytes become too many.
    pub fn history(&self) -> Duration {
        self.inner.common.limits.history
    }

    /// The time.
    pub fn clock(&self) -> &dyn Clock {
        &*self.inner.common.clock
    }

    /// A fresh id for a document.
    pub fn fresh_id(&self) -> Id {
        ids::fresh_id()
    }

    /// What callers may do.
    pub fn access(&self) -> Access {
        self.inner.options.access
    }

    fn open_databases(&self) -> Vec<Database> {
        let slots: Vec<Arc<Slot>> = self.slots().values().cloned().collect();
        let open = slots.iter().filter_map(|slot| {
            let state = slot.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.database.clone()
        });
        open.collect()
    }

    /// What is to be done every half a minute: times move on, old history goes. Blocks.
    pub fn maintain(&self) {
        if let Ok(bytes) = self.inner.common.store.size_bytes() {
            self.inner.common.metrics.state_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
        }
        for database in self.open_databases() {
            if let Err(error) = database.maintain() {
                tracing::error!(name = %database.name(), %error, "old history could not be removed");
            }
        }
    }

    /// Why databases take no writes any more, by name. Waits for none that is being opened or closed.
    pub fn read_only(&self) -> Vec<(DatabaseName, Arc<str>)> {
        let slots: Vec<Arc<Slot>> = self.slots().values().cloned().collect();
        let open = slots.iter().filter_map(|slot| slot.state.try_lock().ok()?.database.clone());
        open.filter_map(|database| Some((database.name().clone(), database.read_only()?))).collect()
    }

    /// Holds the place of a database as its opening does, for as long as `work` takes.
    #[cfg(test)]
    pub(crate) fn while_opening(&self, name: &DatabaseName, work: impl FnOnce()) {
        let slot = self.slots().entry(name.clone()).or_default().clone();
        let _opening = slot.state.lock().unwrap();
        slot.progress.begin(1_000);
        work();
        slot.progress.end();
    }

    /// Takes no more writes and opens no more databases: listeners are told, what was asked is answered. What is open can still be
    /// read through handles that are held. Blocks.
    pub fn end_writes(&self) {
        self.remembered().closed = true;
        for database in self.open_databases() {
            database.close();
        }
    }

    /// Stops: listeners are told, what was asked is answered, everything is applied and noted as clean. Blocks.
    pub fn close(&self) {
        self.remembered().closed = true;
        let mut lasts = Vec::new();
        for database in self.open_databases() {
            let last = database.close();
            if let Backing::Disk(home) = &self.inner.backing
                && let Some(record) = home.database(database.name().project(), database.name().database())
            {
                lasts.push((record.number, last));
            }
        }
        if let Err(error) = self.inner.common.store.close() {
            tracing::error!(%error, "the state could not be closed");
            return;
        }
        if let Backing::Disk(home) = &self.inner.backing
            && let Err(error) = home.mark_clean(&lasts)
        {
            tracing::error!(%error, "the clean stop could not be noted; the next start checks more");
        }
    }
}
