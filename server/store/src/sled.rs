//! The state on disk, in sled: one tree, one sled batch for each of ours.
//!
//! Not trusted with durability: sled does not sync its files as a power loss would need, so nothing here is worth
//! more than the log from which it can be rebuilt. A folder that sled cannot open is set aside, and a fresh one opened; so is
//! one at which sled has failed in an earlier life.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::{OnceLock, PoisonError, RwLock, mpsc};
use std::thread;
use std::time::Duration;

use ::sled::IVec;

use crate::durable;
use crate::store::{Batch, Blob, Direction, KeyRange, Store, StoreError};

/// How sled is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SledOptions {
    /// Memory for pages that are kept at hand, for the whole process.
    pub cache_bytes_max: u64,
    /// Bytes that are left free on the disk: with fewer, nothing is changed. A write of sled's that fails for lack of space ends
    /// it for good, for readers too.
    pub free_bytes_min: u64,
}

impl Default for SledOptions {
    fn default() -> Self {
        Self { cache_bytes_max: 48 << 20, free_bytes_min: 0 }
    }
}

/// Keeps the state in a folder, by sled.
pub struct Sled {
    path: PathBuf,
    free_bytes_min: u64,
    // Read-held for one page or one batch, write-held only to close.
    open: RwLock<Option<::sled::Db>>,
    // How sled failed first. What it says after that is not believed: once it did not find a document that it holds.
    failed: OnceLock<String>,
}

/// An opened state.
#[derive(Debug)]
pub struct SledOpened {
    /// The state; empty when another was set aside.
    pub store: Sled,
    /// The state that could not be opened, if there was one. All of it must be rebuilt from the log.
    pub set_aside: Option<SetAside>,
}

/// A state that could not be opened and was moved out of the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetAside {
    /// Where it is now. Nothing in it is needed any more.
    pub path: PathBuf,
    /// Why it could not be opened.
    pub cause: String,
}

/// Why no state could be opened, not even a fresh one. The commit log is not touched by it.
#[derive(Debug, thiserror::Error)]
pub enum SledError {
    /// Something holds sled's own lock.
    #[error(
        "the state in {} is in use by another process; it was left alone: stop that process, then start again",
        path.display()
    )]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// The folder cannot be used by this process, however whole it may be.
    #[error(
        "the state in {} could not be opened: {cause}; \
         it was left as it is and every commit is safe in the log: make space or give access, then start again",
        path.display()
    )]
    Unusable {
        /// The folder.
        path: PathBuf,
        /// What sled said.
        cause: String,
    },
    /// The folder is damaged and could not be moved away.
    #[error(
        "the state in {} is damaged ({cause}) and could not be moved to {}: {move_cause}; \
         every commit is safe in the log: move the folder away by hand, then start again",
        path.display(), to.display()
    )]
    NotMoved {
        /// The folder.
        path: PathBuf,
        /// Where it should have gone.
        to: PathBuf,
        /// Why it could not be opened.
        cause: String,
        /// Why it could not be moved.
        move_cause: io::Error,
    },
}

/// Below so many times what is to be left free, nothing is held back in memory.
const SHORT_TIMES: u64 = 4;

/// A file in the folder that says that sled has failed at it, and how.
const FAILED: &str = "FAILED";

impl Sled {
    /// How many broken states are kept for whoever wants to look at them; with one more, the oldest is removed.
    pub const BROKEN_KEPT_MAX: usize = 3;

    /// How long closing waits for sled to let go of its files. It takes milliseconds.
    const CLOSE_WAIT_MAX: Duration = Duration::from_secs(10);

    /// Opens the state in the folder `path`, or an empty one where there is none.
    ///
    /// Where sled fails or panics over the files, or has done so in an earlier life, the folder is renamed to `<path>.broken-N` and a fresh one is
    /// opened; [`SledOpened::set_aside`] tells. A folder that is in use, full or forbidden is left alone and refused.
    pub fn open(path: &Path, options: &SledOptions) -> Result<SledOpened, SledError> {
        let failed_before = fs::read_to_string(path.join(FAILED)).ok();
        let opened = match failed_before {
            Some(cause) => Err(OpenFailure::Earlier(cause)),
            None => try_open(path, options),
        };
        let cause = match opened {
            Ok(db) => return Ok(SledOpened::new(path, options, db, None)),
            Err(failure) => failure.damage(path)?,
        };
        if let Err(full) = leave_free(path, options.free_bytes_min) {
            // What sled makes of a full disk looks like damage.
            return Err(SledError::Unusable { path: path.into(), cause: format!("{cause}; {full}") });
        }
        let to = broken_path(path);
        if let Err(move_cause) = fs::rename(path, &to) {
            return Err(SledError::NotMoved { path: path.into(), to, cause, move_cause });
        }
        match try_open(path, options) {
            Ok(db) => Ok(SledOpened::new(path, options, db, Some(SetAside { path: to, cause }))),
            Err(failure) => Err(SledError::Unusable { path: path.into(), cause: failure.damage(path)? }),
        }
    }

    /// Runs `act` on the open database. A panic inside sled, which it has for damage found while reading, becomes an
    /// error of this call and of every later one.
    fn with<T>(&self, act: &'static str, run: impl FnOnce(&::sled::Db) -> ::sled::Result<T>) -> Result<T, StoreError> {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        let db = open.as_ref().ok_or(StoreError::Closed)?;
        if let Some(cause) = self.failed.get() {
            return Err(StoreError::Failed { act, cause: cause.clone() });
        }
        let cause = match panic::catch_unwind(AssertUnwindSafe(|| run(db))) {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => error.to_string(),
            Err(payload) => panic_text(payload.as_ref()),
        };
        // For the next start. Where not even that can be written, the state is tried again then.
        let _ = fs::write(self.path.join(FAILED), &cause);
        let cause = self.failed.get_or_init(|| cause).clone();
        Err(StoreError::Failed { act, cause })
    }
}

impl SledOpened {
    fn new(path: &Path, options: &SledOptions, db: ::sled::Db, set_aside: Option<SetAside>) -> Self {
        let (path, free_bytes_min) = (path.to_path_buf(), options.free_bytes_min);
        let store = Sled { path, free_bytes_min, open: RwLock::new(Some(db)), failed: OnceLock::new() };
        Self { store, set_aside }
    }
}

impl fmt::Debug for Sled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sled").finish_non_exhaustive()
    }
}

impl Store for Sled {
    fn get(&self, key: &[u8]) -> Result<Option<Blob>, StoreError> {
        self.with("read", |db| Ok(db.get(key)?.map(blob)))
    }

    fn scan(
        &self,
        range: &KeyRange,
        direction: Direction,
        keys_max: usize,
    ) -> Result<Vec<(Vec<u8>, Blob)>, StoreError> {
        self.with("read", |db| {
            if range.is_empty() {
                return Ok(Vec::new());
            }
            let pairs = db.range(range.from.as_slice()..range.to.as_slice());
            let owned = |pair: ::sled::Result<(IVec, IVec)>| pair.map(|(key, value)| (key.to_vec(), blob(value)));
            match direction {
                Direction::Forward => pairs.take(keys_max).map(owned).collect(),
                Direction::Backward => pairs.rev().take(keys_max).map(owned).collect(),
            }
        })
    }

    fn apply(&self, batch: Batch) -> Result<(), StoreError> {
        leave_free(&self.path, self.free_bytes_min)?;
        let mut changes = ::sled::Batch::default();
        for (key, value) in batch.into_changes() {
            match value {
                Some(value) => changes.insert(key, IVec::from(&value[..])),
                None => changes.remove(key),
            }
        }
        let is_short = is_short(&self.path, self.free_bytes_min);
        self.with("changed", |db| {
            db.apply_batch(changes)?;
            // What sled holds back it would write when it is read, and then there may be no space for it.
            if is_short { db.flush().map(drop) } else { Ok(()) }
        })
    }

    fn size_bytes(&self) -> Result<u64, StoreError> {
        self.with("measured", |db| db.size_on_disk())
    }

    fn close(&self) -> Result<(), StoreError> {
        let flushed = match self.with("written out", |db| db.flush()) {
            Ok(_) | Err(StoreError::Closed) => Ok(()),
            Err(error) => Err(error),
        };
        let Some(db) = self.open.write().unwrap_or_else(PoisonError::into_inner).take() else {
            return Ok(());
        };
        if let Err(error) = flushed {
            // Dropped, it would try to write once more, and where that fails it was seen to wait for ever. What it holds is let
            // go of when the process ends.
            std::mem::forget(db);
            return Err(error);
        }
        let dropped = panic::catch_unwind(AssertUnwindSafe(|| drop(db)));
        let failed = |cause| StoreError::Failed { act: "closed", cause };
        dropped.map_err(|payload| failed(panic_text(payload.as_ref())))?;
        wait_until_let_go(&self.path).map_err(|error| failed(error.to_string()))
    }
}

/// Waits until sled's threads, which outlive the database, have let go of the files under `path`: only then is nothing
/// written any more, and only then can they be opened again.
fn wait_until_let_go(path: &Path) -> io::Result<()> {
    let file = File::open(path.join("db"))?;
    let (done, wait) = mpsc::channel();
    // sled holds a lock on this file. Waiting for it has no time limit of its own, hence the thread: should sled have lost
    // track of the file in a panic, this thread is left waiting until the process ends, and nobody else is.
    thread::Builder::new().name("sled-close".into()).spawn(move || {
        let locked = file.lock();
        // Our own lock goes before anyone hears of it. That nobody waits any more is no matter.
        drop(file);
        let _ = done.send(locked);
    })?;
    match wait.recv_timeout(Sled::CLOSE_WAIT_MAX) {
        Ok(locked) => locked,
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "sled still holds its files")),
    }
}

/// Refuses a change where too little of the disk is free. Where the system does not tell, sled will.
fn leave_free(path: &Path, least: u64) -> Result<(), StoreError> {
    if least == 0 {
        return Ok(());
    }
    match durable::free_bytes(path) {
        Some(free) if free < least => Err(StoreError::NoSpace { free, least }),
        Some(_) | None => Ok(()),
    }
}

/// Whether the disk comes near to being too full.
fn is_short(path: &Path, least: u64) -> bool {
    least > 0 && durable::free_bytes(path).is_some_and(|free| free < least.saturating_mul(SHORT_TIMES))
}

fn blob(value: IVec) -> Blob {
    Blob::from(&value[..])
}

enum OpenFailure {
    Refused(::sled::Error),
    Panicked(String),
    /// It was not tried.
    Earlier(String),
}

impl OpenFailure {
    /// What is damaged, or the error where nothing is: another folder would fare no better then.
    fn damage(self, path: &Path) -> Result<String, SledError> {
        use io::ErrorKind as Kind;
        let path = path.to_path_buf();
        match self {
            Self::Panicked(cause) | Self::Earlier(cause) => Ok(cause),
            Self::Refused(::sled::Error::Io(error)) => match error.kind() {
                // sled has no kind of its own for this.
                Kind::Other if error.to_string().contains("could not acquire lock") => Err(SledError::InUse { path }),
                Kind::PermissionDenied
                | Kind::StorageFull
                | Kind::QuotaExceeded
                | Kind::ReadOnlyFilesystem
                | Kind::OutOfMemory
                | Kind::WouldBlock => Err(SledError::Unusable { path, cause: error.to_string() }),
                _ => Ok(error.to_string()),
            },
            Self::Refused(error) => Ok(error.to_string()),
        }
    }
}

fn try_open(path: &Path, options: &SledOptions) -> Result<::sled::Db, OpenFailure> {
    let config = ::sled::Config::new()
        .path(path)
        .cache_capacity(options.cache_bytes_max)
        .flush_every_ms(None)
        .mode(::sled::Mode::HighThroughput);
    match panic::catch_unwind(AssertUnwindSafe(|| config.open())) {
        Ok(Ok(db)) => Ok(db),
        Ok(Err(error)) => Err(OpenFailure::Refused(error)),
        Err(payload) => Err(OpenFailure::Panicked(panic_text(payload.as_ref()))),
    }
}

/// A free name for a broken state beside `path`, after making room among those that are there.
fn broken_path(path: &Path) -> PathBuf {
    let stem = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let start = format!("{stem}.broken-");
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut numbers: Vec<u64> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.strip_prefix(&start)?.parse().ok())
        .collect();
    numbers.sort_unstable();
    let next = numbers.last().map_or(1, |last| last.saturating_add(1));
    let surplus = (numbers.len() + 1).saturating_sub(Sled::BROKEN_KEPT_MAX);
    for number in numbers.iter().take(surplus) {
        // One that cannot be removed is only in nobody's way.
        let _ = fs::remove_dir_all(folder.join(format!("{start}{number}")));
    }
    folder.join(format!("{start}{next}"))
}

fn panic_text(payload: &(dyn std::any::Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().copied().or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    format!("sled panicked: {}", text.unwrap_or("no reason given"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(path: &Path) -> SledOpened {
        Sled::open(path, &SledOptions::default()).unwrap()
    }

    fn put(store: &Sled, key: &[u8]) {
        let mut batch = Batch::new();
        batch.put(key, vec![1, 2, 3]);
        store.apply(batch).unwrap();
    }

    #[test]
    fn what_was_applied_is_there_after_closing_and_opening_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        for round in 0..20u8 {
            let opened = open(&path);
            assert_eq!(opened.set_aside, None);
            for earlier in 0..round {
                assert!(opened.store.get(&[earlier]).unwrap().is_some());
            }
            put(&opened.store, &[round]);
            opened.store.close().unwrap();
        }
        assert!(open(&path).store.size_bytes().unwrap() > 0);
    }

    #[test]
    fn a_state_that_cannot_be_opened_is_set_aside_and_the_oldest_of_those_go() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        for round in 1..=5 {
            let opened = open(&path);
            put(&opened.store, b"k");
            opened.store.close().unwrap();
            fs::write(path.join("conf"), b"this is no configuration").unwrap();
            let opened = open(&path);
            let aside = opened.set_aside.unwrap();
            assert_eq!(aside.path, folder.path().join(format!("state.broken-{round}")));
            assert!(!aside.cause.is_empty());
            assert_eq!(opened.store.get(b"k").unwrap(), None);
            opened.store.close().unwrap();
        }
        let mut left: Vec<_> = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        assert_eq!(left, ["state", "state.broken-3", "state.broken-4", "state.broken-5"]);
    }

    #[test]
    fn a_disk_that_is_too_full_takes_no_change_and_is_read_as_before() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        let store = open(&path).store;
        put(&store, b"k");
        store.close().unwrap();
        let full = SledOptions { free_bytes_min: u64::MAX, ..SledOptions::default() };
        let store = Sled::open(&path, &full).unwrap().store;
        let mut batch = Batch::new();
        batch.put(*b"more", vec![4]);
        let refused = store.apply(batch.clone()).unwrap_err();
        assert!(matches!(refused, StoreError::NoSpace { least: u64::MAX, .. }), "{refused}");
        assert!(store.get(b"k").unwrap().is_some() && store.get(b"more").unwrap().is_none());
        store.close().unwrap();
        let store = open(&path).store;
        store.apply(batch).unwrap();
        assert!(store.get(b"more").unwrap().is_some());
    }

    #[test]
    fn a_state_in_use_is_refused_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        let first = open(&path);
        put(&first.store, b"k");
        let error = Sled::open(&path, &SledOptions::default()).unwrap_err();
        assert!(matches!(error, SledError::InUse { .. }), "{error}");
        assert!(first.store.get(b"k").unwrap().is_some());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn after_a_panic_inside_nothing_is_believed_until_it_is_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(&folder.path().join("state")).store;
        put(&store, b"k");
        let answer = store.with("read", |_| -> ::sled::Result<()> { panic!("page torn") });
        let want = StoreError::Failed { act: "read", cause: "sled panicked: page torn".into() };
        assert_eq!(answer, Err(want.clone()));
        assert_eq!(store.get(b"k").unwrap_err(), want);
        let mut batch = Batch::new();
        batch.put(b"l", vec![1]);
        assert!(store.apply(batch).is_err());
        // Whoever opens it next does not go on with it. Closing it says that it was not written out, and lets go of it.
        assert!(store.close().is_err());
        let opened = open(&folder.path().join("state"));
        assert_eq!(opened.set_aside.unwrap().cause, "sled panicked: page torn");
        assert_eq!(opened.store.get(b"k").unwrap(), None);
    }
}
