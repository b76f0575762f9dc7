//! The state in memory, for tests and `--ephemeral`: a sorted map behind a lock.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::store::{Batch, Blob, Direction, KeyRange, Store, StoreError};

/// Keeps the state in memory, and forgets it when it is closed.
#[derive(Debug)]
pub struct Memory {
    // Held for one page or one batch; never across anything that waits.
    held: RwLock<Option<Held>>,
}

#[derive(Debug, Default)]
struct Held {
    values: BTreeMap<Vec<u8>, Blob>,
    bytes: u64,
}

impl Memory {
    /// An empty state.
    pub fn new() -> Self {
        Self { held: RwLock::new(Some(Held::default())) }
    }

    fn read(&self) -> RwLockReadGuard<'_, Option<Held>> {
        self.held.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Option<Held>> {
        self.held.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

impl Held {
    fn change(&mut self, key: Vec<u8>, value: Option<Blob>) {
        let key_bytes = key.len();
        let before = match value {
            Some(value) => {
                self.bytes += (key_bytes + value.len()) as u64;
                self.values.insert(key, value)
            }
            None => self.values.remove(&key),
        };
        if let Some(before) = before {
            self.bytes -= (key_bytes + before.len()) as u64;
        }
    }
}

impl Store for Memory {
    fn get(&self, key: &[u8]) -> Result<Option<Blob>, StoreError> {
        let held = self.read();
        let held = held.as_ref().ok_or(StoreError::Closed)?;
        Ok(held.values.get(key).cloned())
    }

    fn scan(
        &self,
        range: &KeyRange,
        direction: Direction,
        keys_max: usize,
    ) -> Result<Vec<(Vec<u8>, Blob)>, StoreError> {
        let held = self.read();
        let held = held.as_ref().ok_or(StoreError::Closed)?;
        if range.is_empty() {
            return Ok(Vec::new());
        }
        let bounds = (Bound::Included(range.from.as_slice()), Bound::Excluded(range.to.as_slice()));
        let pairs = held.values.range::<[u8], _>(bounds);
        let owned = |(key, value): (&Vec<u8>, &Blob)| (key.clone(), value.clone());
        Ok(match direction {
            Direction::Forward => pairs.take(keys_max).map(owned).collect(),
            Direction::Backward => pairs.rev().take(keys_max).map(owned).collect(),
        })
    }

    fn apply(&self, batch: Batch) -> Result<(), StoreError> {
        let mut held = self.write();
        let held = held.as_mut().ok_or(StoreError::Closed)?;
        for (key, value) in batch.into_changes() {
            held.change(key, value);
        }
        Ok(())
    }

    fn size_bytes(&self) -> Result<u64, StoreError> {
        let held = self.read();
        Ok(held.as_ref().ok_or(StoreError::Closed)?.bytes)
    }

    fn close(&self) -> Result<(), StoreError> {
        *self.write() = None;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_is_that_of_the_keys_and_values_there_now() {
        let memory = Memory::new();
        let mut batch = Batch::new();
        batch.put(b"aa", vec![0; 10]);
        batch.put(b"b", vec![0; 5]);
        batch.put(b"b", vec![0; 7]);
        batch.delete(b"aa");
        batch.delete(b"never");
        memory.apply(batch).unwrap();
        assert_eq!(memory.size_bytes(), Ok(8));
    }
}
