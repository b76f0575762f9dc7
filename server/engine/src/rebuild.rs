//! Bringing the state up to the log: by replaying what it lacks or, where it lacks too much, from a snapshot.
//!
//! The log is the truth, a snapshot stands for its beginning, and the state is only what both come to. A snapshot that is
//! damaged is left where it is and told of, and an older one, or the whole log, is taken.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hearth_core::entry::{CommitEntry, kind};
use hearth_core::{Version, codec, keys};
use hearth_store::{CommitLog, Entry, ReplayError, Snapshots, Store, StoreError};

use crate::admin::{self, AdminEntry};
use crate::keyspace::Keyspace;
use crate::lives::Life;
use crate::memtable::{Memtable, Puts, number};
use crate::snapshot::{self, SnapshotFailure};
use crate::view::{Pins, StateError, View};
use crate::writer;

/// Bytes of replayed changes that are applied to the state at once.
const REPLAY_BYTES: usize = 4 << 20;

/// How far the opening of a database has come.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    bytes_done: AtomicU64,
    bytes_total: AtomicU64,
    documents: AtomicU64,
}

/// How far the opening of a database has come, at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProgressNow {
    /// Bytes of snapshot and log that were read.
    pub bytes_done: u64,
    /// Bytes of snapshot and log that are to be read; zero where it is not known yet.
    pub bytes_total: u64,
    /// Documents that were brought into the state.
    pub documents: u64,
}

impl ProgressNow {
    /// Parts of a hundred; 100 only where nothing is left.
    pub fn percent(&self) -> u8 {
        (self.bytes_done * 100).checked_div(self.bytes_total).map_or(0, |percent| percent.min(100) as u8)
    }
}

impl Progress {
    /// How far it is.
    pub(crate) fn now(&self) -> ProgressNow {
        let total = self.bytes_total.load(Ordering::Relaxed);
        ProgressNow {
            bytes_done: self.bytes_done.load(Ordering::Relaxed).min(total),
            bytes_total: total,
            documents: self.documents.load(Ordering::Relaxed),
        }
    }

    /// Nothing is being opened any more.
    pub(crate) fn end(&self) {
        self.begin(0);
    }

    pub(crate) fn begin(&self, bytes_total: u64) {
        self.bytes_done.store(0, Ordering::Relaxed);
        self.documents.store(0, Ordering::Relaxed);
        self.bytes_total.store(bytes_total, Ordering::Relaxed);
    }

    pub(crate) fn pass(&self, bytes: u64) {
        self.bytes_done.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn document(&self) {
        self.documents.fetch_add(1, Ordering::Relaxed);
    }
}

/// Why the state could not be brought up to the log. Log and snapshots were not changed.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    Replay(#[from] ReplayError),
    #[error("the snapshot of version {version} could not be loaded: {cause}; log and snapshots were not changed")]
    Load { version: Version, cause: SnapshotFailure },
    #[error("the snapshots could not be read: {cause}; nothing was changed: see to the cause and start again")]
    Snapshots { cause: hearth_store::SnapshotError },
    #[error(
        "the state has to be rebuilt, the log begins only behind version {begins}, and no snapshot can be used: {found}; \
         nothing was changed and all that was written after version {begins} is safe in the log: \
         bring back a whole snapshot, or restore a backup into another directory with `hearth restore BACKUP --data DIR`"
    )]
    NoSnapshot { begins: Version, found: String },
}

impl From<StoreError> for RebuildError {
    fn from(error: StoreError) -> Self {
        Self::State(error.into())
    }
}

/// An entry that replay cannot take.
#[derive(Debug, thiserror::Error)]
enum EntryError {
    #[error("it is of kind {kind}, which this hearth does not know: use the hearth that wrote it, or a newer one")]
    Kind { kind: u8 },
    #[error(transparent)]
    Damaged(#[from] codec::DecodeError),
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What an entry of the log does.
pub(crate) enum Act {
    Commit(CommitEntry),
    Tick,
    Wipe { epoch: u64 },
}

impl Act {
    /// Reads an entry. What this hearth does not know stops it: leaving it out could lose data.
    pub(crate) fn read(entry: &Entry) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        match entry.kind {
            kind::COMMIT => Ok(Self::Commit(CommitEntry::decode(&entry.body)?)),
            kind::TICK => Ok(Self::Tick),
            admin::KIND => {
                let AdminEntry::Wipe { epoch } = AdminEntry::decode(&entry.body)?;
                Ok(Self::Wipe { epoch })
            }
            kind => Err(EntryError::Kind { kind }.into()),
        }
    }
}

/// Where a database stands when it is opened.
pub(crate) struct Standing {
    pub(crate) visible: Version,
    pub(crate) history_start: Version,
    pub(crate) life: Life,
    /// Whether a snapshot was to be had and could not be used: time for a new one.
    pub(crate) lacks_snapshot: bool,
}

/// Brings the state up to the log. `epoch` is that of a database that was never wiped.
pub(crate) fn bring_up(
    keyspace: Keyspace,
    memtable: &Memtable,
    log: &dyn CommitLog,
    snapshots: Option<&Snapshots>,
    epoch: u64,
    progress: &Progress,
) -> Result<Standing, RebuildError> {
    let store = &**memtable.store();
    let version = |key: Vec<u8>| number(store, &key).map(Version::from_micros);
    let mut applied = version(keyspace.applied())?;
    let mut lacks_snapshot = false;
    let is_foreign =
        applied > Version::ZERO && applied >= log.start() && !log.holds(applied).map_err(ReplayError::from)?;
    if is_foreign {
        tracing::error!(%applied, "the state is not that of this log; it is rebuilt");
    }
    if applied == Version::ZERO || applied < log.start() || is_foreign {
        lacks_snapshot = rebuild(keyspace, store, log, snapshots, progress)?;
        applied = version(keyspace.applied())?;
    }
    let life = || -> Result<Life, StoreError> {
        let held = store.get(&keyspace.epoch())?.is_some();
        let epoch = if held { number(store, &keyspace.epoch())? } else { epoch };
        Ok(Life { floor: version(keyspace.floor())?, epoch })
    };
    replay(log, applied, keyspace, memtable, life()?, progress)?;
    Ok(Standing {
        visible: log.last().max(applied),
        history_start: version(keyspace.history_start())?,
        life: life()?,
        lacks_snapshot,
    })
}

/// Empties the state and loads the newest snapshot that is whole. Says whether one was found that is not.
fn rebuild(
    keyspace: Keyspace,
    store: &dyn Store,
    log: &dyn CommitLog,
    snapshots: Option<&Snapshots>,
    progress: &Progress,
) -> Result<bool, RebuildError> {
    let begins = log.start();
    let mut found = Vec::new();
    let mut usable = None;
    if let Some(snapshots) = snapshots {
        let versions = snapshots.list().map_err(|cause| RebuildError::Snapshots { cause })?;
        for version in versions.into_iter().rev() {
            match snapshots.verify(version) {
                Ok(_) if version < begins => found.push(format!("that of version {version} ends too early")),
                Ok((_, size)) => {
                    usable = Some((snapshots, version, size));
                    break;
                }
                Err(error) => {
                    tracing::error!(%error, "a snapshot is damaged; an older one, or the whole log, is taken instead");
                    found.push(error.to_string());
                }
            }
        }
    }
    if usable.is_none() && begins > Version::ZERO {
        if found.is_empty() {
            found.push("there is none".into());
        }
        return Err(RebuildError::NoSnapshot { begins, found: found.join(", ") });
    }
    // Something may be left of a rebuild that was cut short.
    snapshot::clear(keyspace, store)?;
    if let Some((snapshots, version, size)) = usable {
        let failed = |cause| RebuildError::Load { version, cause };
        tracing::info!(%version, bytes = size.bytes, "rebuilding the state from a snapshot");
        progress.begin(size.bytes + log.bytes_above(version));
        let reader = snapshots.read(version).map_err(|error| failed(error.into()))?;
        snapshot::load(reader, keyspace, store, progress).map_err(failed)?;
    } else {
        progress.begin(log.bytes_above(Version::ZERO));
    }
    Ok(!found.is_empty())
}

/// Takes the log's entries above `applied` into the state.
fn replay(
    log: &dyn CommitLog,
    applied: Version,
    keyspace: Keyspace,
    memtable: &Memtable,
    mut life: Life,
    progress: &Progress,
) -> Result<(), RebuildError> {
    if progress.now().bytes_total == 0 {
        progress.begin(log.bytes_above(applied));
    }
    let pins = Arc::new(Pins::default());
    log.replay(applied, &mut |entry| {
        let version = entry.version;
        let puts = match Act::read(&entry)? {
            Act::Commit(commit) => {
                // Right before it: what a crash has left of this very entry may be there already.
                let just_before = Version::from_micros(version.micros().saturating_sub(1));
                let before = View::open(just_before, life.floor, keyspace, memtable, &pins);
                let superseded = superseded(&commit, version, &before).map_err(EntryError::from)?;
                commit.images.iter().for_each(|_| progress.document());
                let mut entries = Vec::new();
                writer::puts(keyspace, version, &commit, commit.records(), &mut entries);
                Puts { entries, superseded, wiped: false }
            }
            Act::Tick => Puts::default(),
            Act::Wipe { epoch } => {
                life = Life { floor: version, epoch };
                writer::wipe_puts(keyspace, life)
            }
        };
        progress.pass((Entry::EXTRA_BYTES + entry.body.len()) as u64);
        memtable.insert(puts, version);
        if memtable.freeze(REPLAY_BYTES) > 0 {
            memtable.apply_frozen().map_err(EntryError::from)?;
        }
        Ok(())
    })?;
    memtable.freeze(1);
    memtable.apply_frozen()?;
    Ok(())
}

/// What [`writer`] counts for a commit, found out on the state, since an entry does not say what was there before.
fn superseded(commit: &CommitEntry, version: Version, before: &View) -> Result<u64, StateError> {
    let mut bytes = 0;
    for (path, image) in &commit.images {
        let doc_key = keys::doc(path);
        bytes += Keyspace::change_bytes(doc_key.len());
        match image {
            Some(image) if image.created == version => continue,
            Some(_) => {}
            None => bytes += Keyspace::document_bytes(doc_key.len(), codec::encode_record(None).len()),
        }
        if let Some(record) = before.live_record(&doc_key)? {
            bytes += Keyspace::document_bytes(doc_key.len(), record.len());
        }
    }
    Ok(bytes as u64)
}
