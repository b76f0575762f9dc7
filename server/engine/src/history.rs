//! History: superseded versions are kept for a while, then removed in the background.
//!
//! The start of history moves first and removal follows, so that nobody who may still read finds a hole. It never
//! passes a version that a reader holds, nor what the state has applied.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use hearth_core::codec::Record;
use hearth_core::{Version, keys};
use hearth_store::{Batch, Blob, Direction, KeyRange};

use crate::keyspace::{Keyspace, VERSION_BYTES};
use crate::memtable::{STEP_KEYS_MAX, number};
use crate::view::StateError;
use crate::writer::Shared;

/// Changes that are looked at for one batch of removals.
const CHANGES_PER_BATCH: usize = 1_000;
/// Versions of one document that are removed at once; more are left to the next round.
const VERSIONS_PER_DOCUMENT: usize = 10_000;

/// Moves the start of history up to `until`, and on as long as more bytes than allowed are kept; but only as far as readers
/// let it, and not over what the feed, which is at `told`, has still to read. Removes what that supersedes.
pub(crate) fn trim(shared: &Shared, until: Version, told: impl Fn() -> Version) -> Result<(), StateError> {
    // The applier is kept away meanwhile: an entry of a group's index that a new commit adds must not be lost to a
    // removal that was decided before it.
    let _alone = shared.memtable.pause();
    loop {
        let start = shared.history_start();
        let store = shared.memtable.store();
        let applied = store.get(&shared.keyspace.applied())?.and_then(|bytes| version_of(&bytes)).unwrap_or_default();
        let (bytes, bytes_max) = (number(&**store, &shared.keyspace.superseded())?, shared.limits.history_bytes_max);
        let excess = bytes.saturating_sub(bytes_max);
        let until = if excess > 0 { applied } else { until.min(applied) };
        let until = shared.pins.oldest().map_or(until, |pinned| until.min(pinned)).min(told());
        if until <= start {
            return Ok(());
        }
        let mut changes_max = CHANGES_PER_BATCH;
        let mut page = store.scan(&shared.keyspace.changes(start, until), Direction::Forward, changes_max)?;
        if page.is_empty() {
            // Nothing is superseded up to there, so nothing goes and everything can still be read.
            return Ok(());
        }
        if excess > 0 {
            // Only a part that is likely to do, so that no more goes than has to.
            let part = page.len() as u128 * u128::from(excess) / u128::from(bytes);
            changes_max = usize::try_from(part).unwrap_or(page.len()).max(1);
            page.truncate(changes_max);
        }
        let last = match page.last() {
            Some((key, _)) if page.len() == changes_max => {
                // A commit may be cut by the page's end: go only as far as is whole, unless it is larger than a page.
                let last = Keyspace::change_version(key).unwrap_or(until);
                let whole = page.iter().rev().filter_map(|(key, _)| Keyspace::change_version(key)).find(|v| *v < last);
                match whole {
                    Some(version) => version,
                    None => {
                        trim_commit(shared, last)?;
                        continue;
                    }
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

/// Moves the start of history, and removes what that supersedes, unless a reader of what goes has come meanwhile.
fn remove(shared: &Shared, start: Version, changes: Vec<(Vec<u8>, Blob)>) -> Result<(), StateError> {
    let keyspace = shared.keyspace;
    if !shared.forget_before(start) {
        return Ok(());
    }
    let mut batch = Batch::new();
    batch.put(keyspace.history_start(), Blob::from(start.micros().to_be_bytes()));
    let doc_keys: BTreeSet<Blob> = changes.iter().map(|(_, doc_key)| doc_key.clone()).collect();
    let mut removed = Removed::default();
    for doc_key in doc_keys {
        remove_versions(shared, start, &doc_key, &mut batch, &mut removed)?;
    }
    for (key, doc_key) in changes {
        removed.bytes += (key.len() + doc_key.len()) as u64;
        batch.delete(key);
    }
    let store = shared.memtable.store();
    let left = number(&**store, &keyspace.superseded())?.saturating_sub(removed.bytes);
    batch.put(keyspace.superseded(), Blob::from(left.to_be_bytes()));
    store.apply(batch)?;
    shared.metrics.versions_removed.inc_by(removed.versions);
    Ok(())
}

/// What removal comes to.
#[derive(Default)]
struct Removed {
    versions: u64,
    bytes: u64,
}

/// Removes the versions of a document that are superseded at `start`; its tombstone too, where nothing lies under it any
/// more.
fn remove_versions(
    shared: &Shared,
    start: Version,
    doc_key: &[u8],
    batch: &mut Batch,
    removed: &mut Removed,
) -> Result<(), StateError> {
    let floor = shared.lives.now().floor;
    let keyspace = shared.keyspace;
    let mut range = keyspace.document_since(doc_key, start);
    let versions = shared.memtable.store().scan(&range, Direction::Forward, VERSIONS_PER_DOCUMENT)?;
    let Some((newest, record)) = versions.first() else { return Ok(()) };
    let deleted = Record::read(record)? == Record::Tombstone;
    for (key, record) in versions.iter().skip(usize::from(!deleted)) {
        batch.delete(key.clone());
        removed.versions += 1;
        // What was wiped is not counted any more.
        if Keyspace::split_document(key).is_some_and(|(_, version)| version > floor) {
            removed.bytes += (key.len() + record.len()) as u64;
        }
    }
    if deleted {
        // Newer versions sort before: is there one, applied or not yet?
        range = KeyRange { from: newest[..newest.len() - VERSION_BYTES].to_vec(), to: newest.clone() };
        if is_empty(shared, &range)? {
            batch.delete(keyspace.group_entry(keys::decode_doc(doc_key)?.collection_id(), doc_key));
        }
    }
    Ok(())
}

/// Whether there is no key in a range, applied or not yet.
fn is_empty(shared: &Shared, range: &KeyRange) -> Result<bool, StateError> {
    let waits = |one: &std::sync::Arc<crate::memtable::Generation>| !one.scan(range, Direction::Forward, 1).is_empty();
    Ok(!shared.memtable.generations().iter().any(waits)
        && shared.memtable.store().scan(range, Direction::Forward, 1)?.is_empty())
}

/// Removes what the last wipe has taken away, unless that is done, or a reader still holds it.
pub(crate) fn sweep(shared: &Shared, stop: &AtomicBool) -> Result<(), StateError> {
    let (keyspace, store) = (shared.keyspace, shared.memtable.store());
    let floor = shared.lives.now().floor;
    // The wipe itself may wait to be applied.
    shared.memtable.freeze(1);
    shared.memtable.apply_frozen()?;
    let swept = Version::from_micros(number(&**store, &keyspace.swept())?);
    let applied = Version::from_micros(number(&**store, &keyspace.applied())?);
    // The feed still reads for commits before the wipe until it has told of it.
    let told = shared.wipe_told.load(Ordering::Acquire);
    if swept >= floor
        || applied < floor
        || told < floor.micros()
        || shared.pins.oldest().is_some_and(|pinned| pinned < floor)
    {
        return Ok(());
    }
    for range in [keyspace.changes(Version::ZERO, floor), keyspace.requests(Version::ZERO, floor)] {
        loop {
            let page = store.scan(&range, Direction::Forward, STEP_KEYS_MAX)?;
            if page.is_empty() {
                break;
            }
            store.apply(page.into_iter().map(|(key, _)| (key, None)).collect())?;
        }
    }
    let mut range = keyspace.all_documents();
    loop {
        if stop.load(Ordering::Acquire) {
            return Ok(());
        }
        // One page at a time: the applier is kept away meanwhile, see `trim`.
        let _alone = shared.memtable.pause();
        let page = store.scan(&range, Direction::Forward, STEP_KEYS_MAX)?;
        let Some((last, _)) = page.last() else { break };
        range = range.rest(Direction::Forward, last);
        let mut batch = Batch::new();
        for (key, _) in &page {
            let Some((doc_key, version)) = Keyspace::split_document(key) else { continue };
            if version > floor {
                continue;
            }
            batch.delete(key.clone());
            shared.metrics.versions_removed.inc();
            if is_empty(shared, &keyspace.document_between(doc_key, floor, Version::MAX))? {
                batch.delete(keyspace.group_entry(keys::decode_doc(doc_key)?.collection_id(), doc_key));
            }
        }
        store.apply(batch)?;
    }
    let mut done = Batch::new();
    done.put(keyspace.swept(), Blob::from(floor.micros().to_be_bytes()));
    store.apply(done)?;
    Ok(())
}

/// Removes idempotency records that are too old to be asked for.
pub(crate) fn trim_requests(shared: &Shared) -> Result<(), StateError> {
    let life = shared.limits.request_key_life.as_micros() as u64;
    let old = Version::from_micros(shared.visible.version().micros().saturating_sub(life));
    let store = shared.memtable.store();
    let range = shared.keyspace.requests(Version::ZERO, old);
    loop {
        // A snapshot that is being written may read them no more: it takes only younger ones.
        let page = store.scan(&range, Direction::Forward, STEP_KEYS_MAX)?;
        if page.is_empty() {
            return Ok(());
        }
        store.apply(page.into_iter().map(|(key, _)| (key, None)).collect())?;
    }
}

/// A version as the state keeps it under a name.
pub(crate) fn version_of(bytes: &[u8]) -> Option<Version> {
    Some(Version::from_micros(u64::from_be_bytes(bytes.try_into().ok()?)))
}
