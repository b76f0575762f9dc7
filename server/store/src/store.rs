//! What keeps the state: sorted keys with values, read in pages and changed in atomic batches.
//!
//! The state is disposable: whatever it holds can be rebuilt from the commit log. So a store promises atomicity and
//! order, and no durability at all.

use std::sync::Arc;

/// A value as it is stored, cheap to clone.
pub type Blob = Arc<[u8]>;

/// Sorted keys with values. Keys are compared byte by byte.
///
/// Shared by every reader and by the one applier. A batch shows entirely or not at all to a single `get`; **a scan is
/// not a snapshot**: a batch that lands while the pages of a scan are being read may show in some of them. Readers pin
/// a version, and versions are in the keys, so they see past what is newer.
pub trait Store: Send + Sync + 'static {
    /// The value at `key`.
    fn get(&self, key: &[u8]) -> Result<Option<Blob>, StoreError>;

    /// At most `keys_max` pairs of `range`, from its start (forward) or from its end (backward).
    ///
    /// One page: fewer pairs than `keys_max` mean that the range is read to its end. [`KeyRange::rest`] is the range
    /// of the next page, and to seek is to scan from another start.
    fn scan(&self, range: &KeyRange, direction: Direction, keys_max: usize)
    -> Result<Vec<(Vec<u8>, Blob)>, StoreError>;

    /// Applies the whole batch or, with an error, none of it. Of two changes of one key, the later holds.
    fn apply(&self, batch: Batch) -> Result<(), StoreError>;

    /// What the state takes up: bytes on disk (what is still buffered is not among them), or of keys and values where
    /// it is kept in memory.
    fn size_bytes(&self) -> Result<u64, StoreError>;

    /// Writes out what is buffered and lets go of files. Every later call answers [`StoreError::Closed`], but closing
    /// once more does nothing.
    fn close(&self) -> Result<(), StoreError>;
}

/// Which end of a range is read first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the smallest key up.
    Forward,
    /// From the greatest key down.
    Backward,
}

/// The keys from `from` (inclusive) to `to` (exclusive). Empty when `from` does not stand before `to`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRange {
    /// The smallest key that may be in the range.
    pub from: Vec<u8>,
    /// The smallest key behind the range.
    pub to: Vec<u8>,
}

impl KeyRange {
    /// All keys that begin with `prefix`.
    ///
    /// # Panics
    /// When no byte of `prefix` is below 0xff: such a range has no end that is a key. Ours begin with small numbers.
    pub fn prefix(prefix: &[u8]) -> Self {
        let mut to = prefix.to_vec();
        while to.last() == Some(&0xff) {
            to.pop();
        }
        let last = to.last_mut().expect("a prefix of a range holds a byte below 0xff");
        *last += 1;
        Self { from: prefix.to_vec(), to }
    }

    /// Whether no key can be in the range.
    pub fn is_empty(&self) -> bool {
        self.from >= self.to
    }

    /// Whether `key` is in the range.
    pub fn contains(&self, key: &[u8]) -> bool {
        self.from.as_slice() <= key && key < self.to.as_slice()
    }

    /// What is left of the range when it has been read in `direction` up to and with `key_last`.
    #[must_use]
    pub fn rest(&self, direction: Direction, key_last: &[u8]) -> Self {
        match direction {
            // The smallest key behind another is that key with a zero byte added.
            Direction::Forward => Self { from: [key_last, &[0]].concat(), to: self.to.clone() },
            Direction::Backward => Self { from: self.from.clone(), to: key_last.to_vec() },
        }
    }
}

/// Changes that are applied together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    changes: Vec<(Vec<u8>, Option<Blob>)>,
    bytes: usize,
}

impl Batch {
    /// A batch without changes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts `value` at `key`, over what is there.
    pub fn put(&mut self, key: impl Into<Vec<u8>>, value: impl Into<Blob>) {
        self.change(key.into(), Some(value.into()));
    }

    /// Removes `key`, if it is there.
    pub fn delete(&mut self, key: impl Into<Vec<u8>>) {
        self.change(key.into(), None);
    }

    /// Puts (`Some`) or removes (`None`).
    pub fn change(&mut self, key: Vec<u8>, value: Option<Blob>) {
        self.bytes += key.len() + value.as_ref().map_or(0, |value| value.len());
        self.changes.push((key, value));
    }

    /// How many changes there are.
    pub fn len(&self) -> usize {
        self.changes.len()
    }

    /// Whether nothing would change.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Bytes of all keys and values: what a bound on a batch counts.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The changes in the order in which they were added.
    pub fn changes(&self) -> &[(Vec<u8>, Option<Blob>)] {
        &self.changes
    }

    pub(crate) fn into_changes(self) -> Vec<(Vec<u8>, Option<Blob>)> {
        self.changes
    }
}

impl FromIterator<(Vec<u8>, Option<Blob>)> for Batch {
    fn from_iter<I: IntoIterator<Item = (Vec<u8>, Option<Blob>)>>(changes: I) -> Self {
        let mut batch = Self::new();
        for (key, value) in changes {
            batch.change(key, value);
        }
        batch
    }
}

/// Why the state could not be read or changed. The commit log is never touched by it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The store was closed.
    #[error("the state is closed")]
    Closed,
    /// The disk has too little room left: nothing was changed, and the store is as it was. The same succeeds when there is room.
    #[error(
        "the disk has {free} bytes free, and the state leaves {least} of them: make space; every commit is safe in the log"
    )]
    NoSpace {
        /// What is free.
        free: u64,
        /// What is to be left.
        least: u64,
    },
    /// The engine underneath refused, or found its files damaged.
    #[error(
        "the state could not be {act}: {cause}; every commit is safe in the log, \
         and the state is made anew from it when hearth is started again"
    )]
    Failed {
        /// What was tried, as in "read".
        act: &'static str,
        /// What the engine underneath said.
        cause: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_before_the_next_key_that_lacks_it() {
        assert_eq!(KeyRange::prefix(b"ab").to, b"ac");
        assert_eq!(KeyRange::prefix(&[1, 0xff, 0xff]).to, [2]);
        let range = KeyRange::prefix(&[1, 0xff]);
        assert!(range.contains(&[1, 0xff, 0xff, 0xff]));
        assert!(!range.contains(&[2]));
        assert!(!range.contains(&[1, 0xfe, 0xff]));
    }
}
