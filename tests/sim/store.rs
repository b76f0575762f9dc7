//! The state of the simulation: sorted keys in memory that lose what was applied last when the process ends.
//!
//! As sled does without a flush of its own: a process that is killed leaves a beginning of its batches, each of them
//! whole.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard};

use hearth_store::{Batch, Blob, Direction, KeyRange, Store, StoreError};
use hearth_tests::Random;

use crate::points::Point;
use crate::scheduler::Scheduler;

/// Batches after which the first of them are surely on disk.
const BATCHES_UNFLUSHED_MAX: usize = 24;

pub(crate) struct SimStore {
    scheduler: Arc<Scheduler>,
    // Held for one call, never while anybody else has a turn.
    inside: Mutex<Inside>,
}

#[derive(Default)]
struct Inside {
    seen: BTreeMap<Vec<u8>, Blob>,
    flushed: BTreeMap<Vec<u8>, Blob>,
    unflushed: Vec<Batch>,
}

impl SimStore {
    pub(crate) fn new(scheduler: &Arc<Scheduler>) -> Self {
        Self { scheduler: scheduler.clone(), inside: Mutex::default() }
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap()
    }

    /// The process was killed.
    pub(crate) fn lose_some(&self, random: &mut Random) {
        let mut inside = self.inside();
        let kept = random.index(inside.unflushed.len() + 1);
        inside.flush(kept);
        inside.unflushed.clear();
        inside.seen = inside.flushed.clone();
    }

    /// The state cannot be trusted, as after a power loss, and is removed.
    pub(crate) fn lose_all(&self) {
        *self.inside() = Inside::default();
    }

    /// The process ended as it should.
    pub(crate) fn keep_all(&self) {
        let mut inside = self.inside();
        let all = inside.unflushed.len();
        inside.flush(all);
    }

    fn point(&self, point: Point, act: &'static str) -> Result<(), StoreError> {
        let failed = |fault| StoreError::Failed { act, cause: format!("{fault:?}") };
        self.scheduler.before(point).map_err(failed)
    }
}

impl Inside {
    fn flush(&mut self, batches: usize) {
        for batch in self.unflushed.drain(..batches) {
            put(&mut self.flushed, &batch);
        }
    }
}

fn put(values: &mut BTreeMap<Vec<u8>, Blob>, batch: &Batch) {
    for (key, value) in batch.changes() {
        match value {
            Some(value) => drop(values.insert(key.clone(), value.clone())),
            None => drop(values.remove(key)),
        }
    }
}

impl Store for SimStore {
    fn get(&self, key: &[u8]) -> Result<Option<Blob>, StoreError> {
        self.point(Point::Read(self.scheduler.who()), "read")?;
        Ok(self.inside().seen.get(key).cloned())
    }

    fn scan(
        &self,
        range: &KeyRange,
        direction: Direction,
        keys_max: usize,
    ) -> Result<Vec<(Vec<u8>, Blob)>, StoreError> {
        self.point(Point::Read(self.scheduler.who()), "read")?;
        if range.is_empty() {
            return Ok(Vec::new());
        }
        let inside = self.inside();
        let bounds = (Bound::Included(range.from.as_slice()), Bound::Excluded(range.to.as_slice()));
        let pairs = inside.seen.range::<[u8], _>(bounds).map(|(key, value)| (key.clone(), value.clone()));
        Ok(match direction {
            Direction::Forward => pairs.take(keys_max).collect(),
            Direction::Backward => pairs.rev().take(keys_max).collect(),
        })
    }

    fn apply(&self, batch: Batch) -> Result<(), StoreError> {
        let point = Point::Apply(self.scheduler.who());
        self.point(point, "changed")?;
        {
            let mut inside = self.inside();
            put(&mut inside.seen, &batch);
            inside.unflushed.push(batch);
            if inside.unflushed.len() > BATCHES_UNFLUSHED_MAX {
                inside.flush(BATCHES_UNFLUSHED_MAX / 2);
            }
        }
        self.scheduler.after(point).map_err(|fault| StoreError::Failed { act: "changed", cause: format!("{fault:?}") })
    }

    fn size_bytes(&self) -> Result<u64, StoreError> {
        Ok(self.inside().seen.iter().map(|(key, value)| (key.len() + value.len()) as u64).sum())
    }

    fn close(&self) -> Result<(), StoreError> {
        Ok(())
    }
}
