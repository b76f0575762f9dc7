//! The keeper: what a database does beside its work, in rounds of a worker of its own: it takes away what was wiped, writes
//! snapshots when the log has grown, and says which part of the log is needed no more.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use hearth_core::Version;
use hearth_store::{CommitLog, DatabaseId, SnapshotHead, SnapshotSize, Snapshots};

use crate::crew::{Crew, Hired, Pace, Turn, Worker};
use crate::history;
use crate::rebuild::Standing;
use crate::snapshot::{self, SnapshotFailure};
use crate::writer::Shared;

/// Whole snapshots that are kept. Should the newest prove damaged, the one before it and the log still have everything.
const SNAPSHOTS_KEPT: usize = 2;

/// The keeper of one database.
pub(crate) struct Keeper {
    shared: Arc<Shared>,
    crew: Arc<dyn Crew>,
    /// None where nothing is on disk.
    archive: Option<Arc<Archive>>,
    // Held to look whether a round is going on, or to begin one.
    round: Mutex<Option<Box<dyn Hired>>>,
    /// Told to a round that the database is closing.
    stop: Arc<AtomicBool>,
}

/// What a database has on disk beside the state.
pub(crate) struct Archive {
    pub(crate) snapshots: Snapshots,
    /// Where its log is.
    pub(crate) log: PathBuf,
    pub(crate) database: DatabaseId,
    /// Which snapshots were read and found whole, or not, in the life of this process.
    // Held to look one up or to note one; never while one is read.
    verified: Mutex<HashMap<Version, bool>>,
}

impl Keeper {
    pub(crate) fn new(shared: Arc<Shared>, crew: Arc<dyn Crew>, archive: Option<Archive>) -> Self {
        Self { shared, crew, archive: archive.map(Arc::new), round: Mutex::default(), stop: Arc::default() }
    }

    /// Begins a round, unless one is going on or there is nothing to do. `then` is called when it is over.
    pub(crate) fn begin_round(&self, name: &str, then: impl FnOnce() + Send + 'static) {
        let mut round = self.round.lock().unwrap_or_else(PoisonError::into_inner);
        if round.as_ref().is_some_and(|round| !round.is_over()) || self.stop.load(Ordering::Acquire) {
            return;
        }
        if let Some(over) = round.take() {
            over.join();
        }
        let (shared, archive, stop) = (self.shared.clone(), self.archive.clone(), self.stop.clone());
        let next = Round { shared, archive, stop, then: Some(Box::new(then)) };
        match self.crew.hire(format!("keep {name}"), Box::new(next)) {
            Ok(hired) => *round = Some(hired),
            Err(error) => tracing::warn!(%error, "no thread for snapshots; they are tried again later"),
        }
    }

    /// What is on disk; none where nothing is.
    pub(crate) fn archive(&self) -> Option<Arc<Archive>> {
        self.archive.clone()
    }

    /// Waits until the round that is going on is over.
    #[cfg(test)]
    pub(crate) fn wait(&self) {
        if let Some(round) = self.round.lock().unwrap_or_else(PoisonError::into_inner).take() {
            assert!(round.join());
        }
    }

    /// Ends the round that is going on, if one is, and lets no other begin. A snapshot that is being written is given up.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        if let Some(round) = self.round.lock().unwrap_or_else(PoisonError::into_inner).take()
            && !round.join()
        {
            tracing::error!("the keeper of a database ended in a panic; its message is above");
        }
    }

    /// Writes a snapshot now, due or not. None where nothing is kept on disk.
    pub(crate) fn snapshot_now(&self) -> Result<Option<(Version, SnapshotSize)>, SnapshotFailure> {
        // Rounds take turns with it: two would write the same file.
        let mut round = self.round.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(going_on) = round.take() {
            going_on.join();
        }
        let Some(archive) = &self.archive else { return Ok(None) };
        let written = write(&self.shared, archive, &self.stop)?;
        self.shared.log_needless.store(prune(&self.shared, archive)?.micros(), Ordering::Release);
        Ok(Some(written))
    }
}

/// By how much the log of a database that is being opened goes beyond its last snapshot.
pub(crate) fn grown(log: &dyn CommitLog, archive: Option<&Archive>, standing: &Standing) -> u64 {
    let snapshots = archive.and_then(|archive| archive.sized().ok()).unwrap_or_default();
    match snapshots.last() {
        // What is missing of the log must not hang on the state alone.
        _ if standing.lacks_snapshot => u64::MAX / 2,
        None if log.start() > Version::ZERO => u64::MAX / 2,
        last => log.bytes_above(last.map_or(Version::ZERO, |(version, _)| *version)),
    }
}

/// One round.
struct Round {
    shared: Arc<Shared>,
    archive: Option<Arc<Archive>>,
    stop: Arc<AtomicBool>,
    /// Called when it is over.
    then: Option<Box<dyn FnOnce() + Send>>,
}

impl Worker for Round {
    fn step(&mut self, _: Pace) -> Turn {
        run(&self.shared, self.archive.as_deref(), &self.stop);
        if let Some(then) = self.then.take() {
            then();
        }
        Turn::Over
    }
}

fn run(shared: &Shared, archive: Option<&Archive>, stop: &AtomicBool) {
    if let Err(error) = history::sweep(shared, stop) {
        tracing::error!(%error, "what was wiped could not be removed from the state; it is tried again");
    }
    if let Err(error) = history::trim_requests(shared) {
        tracing::error!(%error, "old idempotency records could not be removed; it is tried again");
    }
    let Some(archive) = archive else { return };
    let done = match is_due(shared, archive) {
        Ok(true) => write(shared, archive, stop).map(drop),
        Ok(false) => Ok(()),
        Err(error) => Err(error),
    };
    match done.and_then(|()| prune(shared, archive)) {
        Ok(needless) => shared.log_needless.store(needless.micros(), Ordering::Release),
        Err(SnapshotFailure::Stopped) => {}
        Err(error) => {
            shared.metrics.snapshot_failures.inc();
            tracing::error!(%error, "no snapshot could be written; the log is kept whole, and it is tried again");
        }
    }
}

/// Whether the log has grown by half of the last snapshot, or those that are there hold what was wiped, or are damaged.
fn is_due(shared: &Shared, archive: &Archive) -> Result<bool, SnapshotFailure> {
    let grown = shared.log_grown.load(Ordering::Acquire);
    let visible = shared.visible.version();
    let (found, whole) = (archive.sized()?, archive.whole()?);
    let Some((last, bytes)) = whole.last().copied() else {
        return Ok(!found.is_empty() || grown >= shared.limits.snapshot_log_bytes_min);
    };
    // What was wiped goes with the last snapshot of its life: soon, but never so that all hangs on a single one.
    let floor = shared.lives.now().floor;
    let holds_wiped = whole.iter().rev().take(SNAPSHOTS_KEPT).any(|(version, _)| *version < floor);
    if holds_wiped || whole.len() < found.len().min(SNAPSHOTS_KEPT) {
        return Ok(visible > last);
    }
    Ok(visible > last && grown >= (bytes / 2).max(shared.limits.snapshot_log_bytes_min))
}

fn write(shared: &Shared, archive: &Archive, stop: &AtomicBool) -> Result<(Version, SnapshotSize), SnapshotFailure> {
    archive.snapshots.remove_unfinished()?;
    let grown = shared.log_grown.load(Ordering::Acquire);
    let view = shared.view();
    let version = view.version();
    let head = SnapshotHead {
        database: archive.database,
        epoch: shared.lives.at(version).epoch,
        version,
        history_start: shared.history_start(),
    };
    let life = shared.limits.request_key_life.as_micros() as u64;
    let requests_after = Version::from_micros(version.micros().saturating_sub(life));
    let size = snapshot::write(&view, head, requests_after, &archive.snapshots, stop)?;
    drop(view);
    // Before anything is let go for it.
    archive.snapshots.verify(version)?;
    archive.note(version, true);
    shared.log_grown.fetch_sub(grown.min(shared.log_grown.load(Ordering::Acquire)), Ordering::AcqRel);
    shared.metrics.snapshots.inc();
    tracing::info!(%version, records = size.records, bytes = size.bytes, "wrote a snapshot");
    Ok((version, size))
}

/// Removes snapshots that are not needed, and says up to which version the log is not.
fn prune(shared: &Shared, archive: &Archive) -> Result<Version, SnapshotFailure> {
    let whole = archive.whole()?;
    let Some((oldest, _)) = whole.iter().rev().nth(SNAPSHOTS_KEPT - 1) else { return Ok(Version::ZERO) };
    for version in archive.snapshots.list()?.into_iter().filter(|version| version < oldest) {
        archive.snapshots.remove(version)?;
    }
    Ok((*oldest).min(shared.history_start()))
}

impl Archive {
    pub(crate) fn new(snapshots: Snapshots, log: PathBuf, database: DatabaseId) -> Self {
        Self { snapshots, log, database, verified: Mutex::default() }
    }

    fn note(&self, version: Version, is_whole: bool) {
        self.verified.lock().unwrap_or_else(PoisonError::into_inner).insert(version, is_whole);
    }

    /// Whether all of a snapshot is as it was written. Read once in the life of a process.
    fn is_whole(&self, version: Version) -> bool {
        if let Some(known) = self.verified.lock().unwrap_or_else(PoisonError::into_inner).get(&version) {
            return *known;
        }
        let verified = self.snapshots.verify(version);
        if let Err(error) = &verified {
            tracing::error!(%error, "a snapshot is damaged; it is left where it is, and another is written");
        }
        self.note(version, verified.is_ok());
        verified.is_ok()
    }

    /// The snapshots that are whole, with the sizes of their files, oldest first.
    pub(crate) fn whole(&self) -> Result<Vec<(Version, u64)>, SnapshotFailure> {
        Ok(self.sized()?.into_iter().filter(|(version, _)| self.is_whole(*version)).collect())
    }

    /// The snapshots whose heads are whole, with the sizes of their files, oldest first.
    fn sized(&self) -> Result<Vec<(Version, u64)>, SnapshotFailure> {
        let versions = self.snapshots.list()?;
        let sized = |version: Version| {
            self.snapshots.head(version).ok()?;
            Some((version, self.snapshots.file_bytes(version).ok()?))
        };
        Ok(versions.into_iter().filter_map(sized).collect())
    }
}
