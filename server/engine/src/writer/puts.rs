//! What a commit adds to the state, and how much history grows by it.

use hearth_core::change::Commit;
use hearth_core::entry::CommitEntry;
use hearth_core::{Version, codec, keys};
use hearth_store::Blob;

use crate::keys_seen;
use crate::keyspace::Keyspace;
use crate::lives::Life;
use crate::memtable::Puts;

/// Adds the keys of the state that a commit adds; `records` are those of its entry. Replaying the log adds the same.
pub(crate) fn puts(
    keyspace: Keyspace,
    version: Version,
    entry: &CommitEntry,
    records: Vec<Blob>,
    puts: &mut Vec<(Vec<u8>, Blob)>,
) {
    puts.reserve(entry.images.len() * 3 + 1);
    for (n, ((path, image), record)) in (0_u32..).zip(entry.images.iter().zip(records)) {
        let doc_key = keys::doc(path);
        puts.push((keyspace.document(&doc_key, version), record));
        if image.as_ref().is_some_and(|document| document.created == version) {
            puts.push((keyspace.group_entry(path.collection_id(), &doc_key), Blob::from([])));
        }
        puts.push((keyspace.change(version, n), doc_key.into()));
    }
    if let Some(key) = &entry.key {
        puts.push((keyspace.request(version), keys_seen::encode(&entry.scope, key, &entry.results).into()));
    }
}

/// The keys of the state that a wipe adds. Replaying the log adds the same.
pub(crate) fn wipe_puts(keyspace: Keyspace, life: Life) -> Puts {
    let floor = Blob::from(life.floor.micros().to_be_bytes());
    let entries = vec![
        (keyspace.floor(), floor.clone()),
        (keyspace.history_start(), floor),
        (keyspace.epoch(), Blob::from(life.epoch.to_be_bytes())),
    ];
    Puts { entries, superseded: 0, wiped: true }
}

/// Bytes that history grows by with a commit: what it supersedes, its tombstones, and the list of what it changed. Each
/// key is counted once in its life, and taken off when it is removed.
pub(super) fn superseded(commit: &Commit) -> u64 {
    let of = |change: &hearth_core::Change| {
        let key_bytes = keys::doc(&change.path).len();
        let record = |document| Keyspace::document_bytes(key_bytes, codec::encode_record(document).len());
        let before = change.before.as_deref().map_or(0, |before| record(Some(before)));
        let tombstone = if change.after.is_none() { record(None) } else { 0 };
        Keyspace::change_bytes(key_bytes) + before + tombstone
    };
    commit.changes.iter().map(of).sum::<usize>() as u64
}
