//! The memtable: what is durable in the log and not yet in the state.
//!
//! It holds exactly the keys that the state will hold, so a reader sees the union of both. Generations are filled one
//! after the other; a full one is frozen, applied in steps and dropped. A reader that took a generation keeps it
//! alive, so it may scan the state afterwards and miss nothing.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock, TryLockError};

use hearth_core::Version;
use hearth_store::{Batch, Blob, Direction, KeyRange, Store, StoreError};

use crate::crew::Pace;
use crate::keyspace::Keyspace;
use crate::request::CommitError;

/// Keys that are applied to the state at once.
pub(crate) const STEP_KEYS_MAX: usize = 256;
/// Bytes that are applied to the state at once.
pub(crate) const STEP_BYTES_MAX: usize = 1 << 20;

/// One generation of keys. Keys are only ever added; readers look past versions above theirs.
#[derive(Debug, Default)]
pub(crate) struct Generation {
    inside: RwLock<Inside>,
}

#[derive(Debug, Default)]
struct Inside {
    entries: BTreeMap<Vec<u8>, Blob>,
    bytes: usize,
    last: Version,
    /// Bytes of versions that these entries supersede.
    superseded: u64,
    /// Whether a wipe is among them: then what was superseded before counts no more.
    wiped: bool,
}

/// What a group of commits brings into the state.
#[derive(Debug, Default)]
pub(crate) struct Puts {
    /// Keys with their values.
    pub(crate) entries: Vec<(Vec<u8>, Blob)>,
    /// Bytes of versions that it supersedes.
    pub(crate) superseded: u64,
    /// Whether it is a wipe.
    pub(crate) wiped: bool,
}

impl Generation {
    /// A page of a range, like [`Store::scan`].
    pub(crate) fn scan(&self, range: &KeyRange, direction: Direction, keys_max: usize) -> Vec<(Vec<u8>, Blob)> {
        if range.is_empty() {
            return Vec::new();
        }
        let inside = self.inside.read().unwrap_or_else(PoisonError::into_inner);
        let bounds = (Bound::Included(range.from.as_slice()), Bound::Excluded(range.to.as_slice()));
        let pairs = inside.entries.range::<[u8], _>(bounds).map(|(key, value)| (key.clone(), value.clone()));
        match direction {
            Direction::Forward => pairs.take(keys_max).collect(),
            Direction::Backward => pairs.rev().take(keys_max).collect(),
        }
    }

    /// The value of the first key of a range.
    pub(crate) fn first(&self, range: &KeyRange) -> Option<Blob> {
        if range.is_empty() {
            return None;
        }
        let inside = self.inside.read().unwrap_or_else(PoisonError::into_inner);
        let bounds = (Bound::Included(range.from.as_slice()), Bound::Excluded(range.to.as_slice()));
        inside.entries.range::<[u8], _>(bounds).next().map(|(_, value)| value.clone())
    }

    fn bytes(&self) -> usize {
        self.inside.read().unwrap_or_else(PoisonError::into_inner).bytes
    }
}

/// The generations of one database.
pub(crate) struct Memtable {
    keyspace: Keyspace,
    store: Arc<dyn Store>,
    // Held for a few pointer moves; whoever waits for room gives it up meanwhile.
    levels: Mutex<Levels>,
    room: Condvar,
    // One applier at a time, so that generations reach the state in their order.
    applying: Mutex<()>,
    // Set once, when the state refused a batch.
    failure: Mutex<Option<Arc<str>>>,
}

struct Levels {
    active: Arc<Generation>,
    /// Oldest first.
    frozen: VecDeque<Arc<Generation>>,
    /// Why the last try to apply one was put off.
    starved: Option<Arc<str>>,
}

impl Memtable {
    pub(crate) fn new(keyspace: Keyspace, store: Arc<dyn Store>) -> Self {
        let levels = Levels { active: Arc::default(), frozen: VecDeque::new(), starved: None };
        Self {
            keyspace,
            store,
            levels: Mutex::new(levels),
            room: Condvar::new(),
            applying: Mutex::new(()),
            failure: Mutex::new(None),
        }
    }

    fn levels(&self) -> MutexGuard<'_, Levels> {
        self.levels.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state underneath.
    pub(crate) fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Adds what a group of commits changed. `last` is the last of their versions.
    pub(crate) fn insert(&self, puts: Puts, last: Version) {
        let active = self.levels().active.clone();
        let mut inside = active.inside.write().unwrap_or_else(PoisonError::into_inner);
        inside.bytes += puts.entries.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>();
        inside.entries.extend(puts.entries);
        inside.last = inside.last.max(last);
        if puts.wiped {
            inside.superseded = 0;
            inside.wiped = true;
        }
        inside.superseded += puts.superseded;
    }

    /// The generations, newest first. To be taken before the state is scanned.
    pub(crate) fn generations(&self) -> Vec<Arc<Generation>> {
        let levels = self.levels();
        std::iter::once(&levels.active).chain(levels.frozen.iter().rev()).cloned().collect()
    }

    /// Freezes the active generation when it holds at least `bytes_min`, and says how many wait to be applied.
    pub(crate) fn freeze(&self, bytes_min: usize) -> usize {
        let mut levels = self.levels();
        if levels.active.bytes() >= bytes_min.max(1) {
            let full = std::mem::take(&mut levels.active);
            levels.frozen.push_back(full);
        }
        levels.frozen.len()
    }

    /// Whether fewer than `generations_max` are waiting to be applied; may wait until it is so. The error is for whoever wants
    /// to add to them: it never will be, or not before there is space on the disk.
    pub(crate) fn room(&self, generations_max: usize, pace: Pace) -> Result<bool, CommitError> {
        let mut levels = self.levels();
        while levels.frozen.len() >= generations_max {
            if let Some(cause) = self.failure() {
                return Err(CommitError::ReadOnly { cause });
            }
            if let Some(cause) = levels.starved.clone() {
                return Err(CommitError::NotApplied { cause });
            }
            if pace == Pace::Try {
                return Ok(false);
            }
            levels = self.room.wait(levels).unwrap_or_else(PoisonError::into_inner);
        }
        Ok(true)
    }

    /// Why the state takes nothing more, if that is so.
    pub(crate) fn failure(&self) -> Option<Arc<str>> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Keeps the applier away for as long as the guard is held.
    pub(crate) fn pause(&self) -> MutexGuard<'_, ()> {
        self.applying.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether somebody applies, or keeps the applier away.
    pub(crate) fn is_paused(&self) -> bool {
        matches!(self.applying.try_lock(), Err(TryLockError::WouldBlock))
    }

    /// Applies the frozen generations, oldest first. [`StoreError::NoSpace`] puts it off: all is as it was, and it may be tried
    /// again. Any other error is for good.
    pub(crate) fn apply_frozen(&self) -> Result<(), StoreError> {
        let _one = self.pause();
        loop {
            let Some(oldest) = self.levels().frozen.front().cloned() else { return Ok(()) };
            if let Err(error) = self.apply(&oldest) {
                if matches!(error, StoreError::NoSpace { .. }) {
                    if self.levels().starved.replace(error.to_string().into()).is_none() {
                        tracing::error!(%error, "nothing is brought into the state until then; it is tried every second");
                    }
                    self.room.notify_all();
                    return Err(error);
                }
                *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_string().into());
                self.room.notify_all();
                return Err(error);
            }
            {
                let mut levels = self.levels();
                levels.frozen.pop_front();
                levels.starved = None;
            }
            self.room.notify_all();
        }
    }

    /// Applies a generation in steps, the note of how far the state reaches in the last of them.
    ///
    /// A crash in between leaves keys that replaying puts again. In one batch, sled would keep every version of every page
    /// that the batch touches until its end: 1.4 GB where these steps stay within its cache (docs/decisions/0007).
    fn apply(&self, generation: &Generation) -> Result<(), StoreError> {
        // Frozen: nobody waits to write to it.
        let inside = generation.inside.read().unwrap_or_else(PoisonError::into_inner);
        let mut batch = Batch::new();
        for (key, value) in &inside.entries {
            if batch.len() >= STEP_KEYS_MAX || batch.bytes() >= STEP_BYTES_MAX {
                self.store.apply(std::mem::take(&mut batch))?;
            }
            batch.put(key.clone(), value.clone());
        }
        let before = if inside.wiped { 0 } else { number(&*self.store, &self.keyspace.superseded())? };
        batch.put(self.keyspace.superseded(), Blob::from((before + inside.superseded).to_be_bytes()));
        batch.put(self.keyspace.applied(), Blob::from(inside.last.micros().to_be_bytes()));
        self.store.apply(batch)
    }
}

/// A number as the state keeps it under a name; zero where there is none.
pub(crate) fn number(store: &dyn Store, key: &[u8]) -> Result<u64, StoreError> {
    let bytes = store.get(key)?;
    Ok(bytes.and_then(|bytes| Some(u64::from_be_bytes(bytes[..].try_into().ok()?))).unwrap_or_default())
}
