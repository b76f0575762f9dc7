//! History: superseded versions are kept for a while, then removed in the background.
//!
//! The start of history moves first and removal follows, so that nobody who may still read finds a hole. It never
//! passes a version that a reader holds, nor what the state has applied.

use std::collections::BTreeSet;

use hearth_core::codec::Record;
use hearth_core::{Version, keys};
use hearth_store::{Batch, Blob, Direction, KeyRange};

use crate::keyspace::{Keyspace, VERSION_BYTES};
use crate::view::StateError;
use crate::writer::Shared;

/// Changes that are looked at for one batch of removals.
const CHANGES_PER_BATCH: usize = 1_000;
/// Versions of one document that are removed at once; more are left to the next round.
const VERSIONS_PER_DOCUMENT: usize = 10_000;

/// Moves the start of history up to `until`, or as far as readers allow, and removes what that supersedes.
///
/// Returns the new start.
pub(crate) fn trim(shared: &Shared, until: Version) -> Result<Version, StateError> {
    // The applier is kept away meanwhile: an entry of a group's index that a new commit adds must not be lost to a
    // removal that was decided before it.
    let _alone = shared.memtable.pause();
    loop {
        let start = shared.history_start();
        let store = shared.memtable.store();
        let applied = store.get(&shared.keyspace.applied())?.and_then(|bytes| version_of(&bytes)).unwrap_or_default();
        let until = shared.pins.oldest().map_or(until, |pinned| until.min(pinned)).min(applied);
        if until <= start {
            return Ok(start);
        }
        let page = store.scan(&shared.keyspace.changes(start, until), Direction::Forward, CHANGES_PER_BATCH)?;
        let last = match page.last() {
            Some((key, _)) if page.len() == CHANGES_PER_BATCH => {
                // A commit may be cut by the page's end: go only as far as is whole, unless it is larger than a page.
                let last = Keyspace::change_version(key).unwrap_or(until);
                let whole = page.iter().rev().filter_map(|(key, _)| Keyspace::change_version(key)).find(|v| *v < last);
                match whole {
                    Some(version) => version,
                    None => return trim_commit(shared, last).map(|()| last),
                }
            }
            _ => until,
        };
        let changes = page.into_iter().filter(|(key, _)| Keyspace::change_version(key).is_some_and(|v| v <= last));
        remove(shared, last, changes.collect())?;
    }
}

/// Moves over one commit of any size.
fn trim_commit(shared: &Shared, version: Version) -> Result<(), StateError> {
    let before = Version::from_micros(version.micros() - 1);
    let range = shared.keyspace.changes(before, version);
    let changes = shared.memtable.store().scan(&range, Direction::Forward, usize::MAX)?;
    remove(shared, version, changes)
}

fn remove(shared: &Shared, start: Version, changes: Vec<(Vec<u8>, Blob)>) -> Result<(), StateError> {
    let keyspace = shared.keyspace;
    shared.set_history_start(start);
    let mut batch = Batch::new();
    batch.put(keyspace.history_start(), Blob::from(start.micros().to_be_bytes()));
    let doc_keys: BTreeSet<Blob> = changes.iter().map(|(_, doc_key)| doc_key.clone()).collect();
    let mut removed = 0;
    for doc_key in doc_keys {
        removed += remove_versions(shared, start, &doc_key, &mut batch)?;
    }
    changes.into_iter().for_each(|(key, _)| batch.delete(key));
    shared.memtable.store().apply(batch)?;
    shared.metrics.versions_removed.inc_by(removed);
    Ok(())
}

/// Removes the versions of a document that are superseded at `start`; its tombstone too, where nothing lies under it any
/// more.
fn remove_versions(shared: &Shared, start: Version, doc_key: &[u8], batch: &mut Batch) -> Result<u64, StateError> {
    let keyspace = shared.keyspace;
    let mut range = keyspace.document_since(doc_key, start);
    let versions = shared.memtable.store().scan(&range, Direction::Forward, VERSIONS_PER_DOCUMENT)?;
    let Some((newest, record)) = versions.first() else { return Ok(0) };
    let deleted = Record::read(record)? == Record::Tombstone;
    let mut removed = 0;
    for (key, _) in versions.iter().skip(usize::from(!deleted)) {
        batch.delete(key.clone());
        removed += 1;
    }
    if deleted {
        // Newer versions sort before: is there one, applied or not yet?
        range = KeyRange { from: newest[..newest.len() - VERSION_BYTES].to_vec(), to: newest.clone() };
        let applied = shared.memtable.store().scan(&range, Direction::Forward, 1)?;
        let waiting =
            shared.memtable.generations().iter().any(|one| !one.scan(&range, Direction::Forward, 1).is_empty());
        if applied.is_empty() && !waiting {
            batch.delete(keyspace.group_entry(&keys::decode_doc(doc_key)?));
        }
    }
    Ok(removed)
}

/// A version as the state keeps it under a name.
pub(crate) fn version_of(bytes: &[u8]) -> Option<Version> {
    Some(Version::from_micros(u64::from_be_bytes(bytes.try_into().ok()?)))
}
