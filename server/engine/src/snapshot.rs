//! Snapshots of a database: writing one of a view while everything goes on, and loading one into an empty state.

use std::sync::atomic::{AtomicBool, Ordering};

use hearth_core::Version;
use hearth_core::codec::{DecodeError, Record};
use hearth_core::keys::{self, KeyError};
use hearth_store::{
    Batch, Blob, Direction, SnapshotError, SnapshotHead, SnapshotReader, SnapshotSize, Snapshots, Store, StoreError,
};

use crate::keyspace::Keyspace;
use crate::memtable::{STEP_BYTES_MAX, STEP_KEYS_MAX};
use crate::rebuild::Progress;
use crate::view::{StateError, View};

/// What the sections of a snapshot hold. Numbers 3 to 8 are kept for rules, indexes, schemas, sessions and accounts.
pub(crate) mod section {
    /// `doc key → record`: what is live, in the order of keys.
    pub(crate) const DOCUMENTS: u8 = 1;
    /// `version → idempotency record`, oldest first.
    pub(crate) const REQUESTS: u8 = 2;
}

/// Why a snapshot was not written, or not loaded.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotFailure {
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    #[error(transparent)]
    State(#[from] StateError),
    #[error(
        "the snapshot holds section {section}, which this hearth does not know: use the hearth that wrote it, or a newer one"
    )]
    Section { section: u8 },
    #[error("a record of the snapshot makes no sense: {0}")]
    Record(String),
    #[error("the database is closing")]
    Stopped,
}

impl From<StoreError> for SnapshotFailure {
    fn from(error: StoreError) -> Self {
        Self::State(error.into())
    }
}

impl From<DecodeError> for SnapshotFailure {
    fn from(error: DecodeError) -> Self {
        Self::Record(error.to_string())
    }
}

impl From<KeyError> for SnapshotFailure {
    fn from(error: KeyError) -> Self {
        Self::Record(error.to_string())
    }
}

/// Writes what is live in a view, and the idempotency records of commits above `requests_after`. Memory does not grow with
/// the database.
pub(crate) fn write(
    view: &View,
    head: SnapshotHead,
    requests_after: Version,
    snapshots: &Snapshots,
    stop: &AtomicBool,
) -> Result<SnapshotSize, SnapshotFailure> {
    let mut writer = snapshots.begin(head)?;
    let go_on = || if stop.load(Ordering::Acquire) { Err(SnapshotFailure::Stopped) } else { Ok(()) };
    let mut documents = view.scan(&[], &[0xff], None);
    while let Some((doc_key, record)) = documents.next()? {
        go_on()?;
        writer.put(section::DOCUMENTS, &doc_key, &record)?;
    }
    let mut requests = view.request_entries(requests_after);
    while let Some((key, record)) = requests.next()? {
        go_on()?;
        let version = Keyspace::change_version(&key).unwrap_or_default();
        writer.put(section::REQUESTS, &version.micros().to_be_bytes(), &record)?;
    }
    go_on()?;
    Ok(writer.finish()?)
}

/// Takes everything of a database out of the state. A crash leaves a state that says of itself that it holds nothing.
pub(crate) fn clear(keyspace: Keyspace, store: &dyn Store) -> Result<(), StoreError> {
    let mut applied = Batch::new();
    applied.delete(keyspace.applied());
    store.apply(applied)?;
    loop {
        let page = store.scan(&keyspace.all(), Direction::Forward, STEP_KEYS_MAX)?;
        if page.is_empty() {
            return Ok(());
        }
        store.apply(page.into_iter().map(|(key, _)| (key, None)).collect())?;
    }
}

/// Loads a snapshot, which was verified, into a state that holds nothing of the database. What says that it is there comes
/// with the last batch.
pub(crate) fn load(
    mut reader: SnapshotReader,
    keyspace: Keyspace,
    store: &dyn Store,
    progress: &Progress,
) -> Result<(), SnapshotFailure> {
    let head = reader.head();
    let mut batch = Batch::new();
    let mut told = 0;
    while let Some(record) = reader.next_record()? {
        match record.section {
            section::DOCUMENTS => {
                let path = keys::decode_doc(&record.key)?;
                let Record::Document(encoded) = Record::read(&record.value)? else {
                    return Err(SnapshotFailure::Record(format!("{path} is deleted")));
                };
                let updated = encoded.updated();
                batch.put(keyspace.document(&record.key, updated), record.value);
                batch.put(keyspace.group_entry(path.collection_id(), &record.key), Blob::from([]));
                progress.document();
            }
            section::REQUESTS => {
                let version = crate::history::version_of(&record.key);
                let version =
                    version.ok_or_else(|| SnapshotFailure::Record("a version has other than 8 bytes".into()))?;
                batch.put(keyspace.request(version), record.value);
            }
            section => return Err(SnapshotFailure::Section { section }),
        }
        if batch.len() >= STEP_KEYS_MAX || batch.bytes() >= STEP_BYTES_MAX {
            store.apply(std::mem::take(&mut batch))?;
            let bytes = reader.size().bytes;
            progress.pass(bytes - told);
            told = bytes;
        }
    }
    let start = Blob::from(head.version.micros().to_be_bytes());
    batch.put(keyspace.history_start(), start.clone());
    batch.put(keyspace.epoch(), Blob::from(head.epoch.to_be_bytes()));
    batch.put(keyspace.applied(), start);
    store.apply(batch)?;
    progress.pass(reader.size().bytes - told);
    Ok(())
}
