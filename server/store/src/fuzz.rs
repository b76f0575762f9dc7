//! What fuzzing needs of this crate (`tests/fuzz`): files whose checksums are right around contents that are not.
//!
//! A fuzzer does not guess a checksum, so what stands behind one is only reached by sealing it here.

use hearth_core::Version;

use crate::log::{DatabaseId, seal_segment};
use crate::snapshot::{SnapshotHead, seal_snapshot};

/// The database that both files say they belong to.
pub const DATABASE: DatabaseId = DatabaseId([7; 16]);
/// The version that the snapshot is of.
pub const VERSION: Version = Version::from_micros(1_700_000_000_000_000);
/// The name of the file in the folder of a log.
pub const SEGMENT_NAME: &str = "0000000001.seg";

/// The first segment of a log with one frame around `payload`, which says that it has `entries` entries.
pub fn segment(payload: &[u8], entries: u32) -> Vec<u8> {
    seal_segment(DATABASE, payload, entries)
}

/// A snapshot with one block of that section around `plain`, which says that it has `records` records.
pub fn snapshot(section: u8, plain: &[u8], records: u32) -> Vec<u8> {
    let head = SnapshotHead { database: DATABASE, epoch: 1, version: VERSION, history_start: VERSION };
    seal_snapshot(&head, section, plain, records)
}
