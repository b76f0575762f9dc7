//! What a backup copies of a running database: a snapshot, which never changes, and the log behind it, which only grows.
//!
//! Nothing waits for it and it waits for nobody: the copying reads files that are durable. What becomes of the copies is
//! not known here.

use std::fs::File;
use std::path::Path;

use hearth_core::Version;
use hearth_store::{CopyError, DatabaseId, LogPart};

use crate::snapshot::SnapshotFailure;

/// The right to copy everything.
#[derive(Clone, Copy, Debug)]
pub struct BackupAccess;

/// Up to where a database can be copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupPoint {
    /// Names the database for good: copies of another one do not go with these.
    pub id: DatabaseId,
    /// Everything up to this version is durable, and nothing will be committed at or below it.
    pub version: Version,
    /// The whole snapshots up to there, oldest first, and how many bytes each has.
    pub snapshots: Vec<(Version, u64)>,
}

/// A snapshot as a file.
#[derive(Debug)]
pub struct SnapshotFile {
    /// The file, open at its beginning.
    pub file: File,
    /// How many bytes it has.
    pub bytes: u64,
}

impl SnapshotFile {
    pub(crate) fn open(path: &Path, version: Version) -> Result<Self, BackupError> {
        let gone = |cause| BackupError::NoSnapshot { version, cause };
        let file = File::open(path).map_err(gone)?;
        let bytes = file.metadata().map_err(gone)?.len();
        Ok(Self { file, bytes })
    }
}

/// Why something cannot be copied.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error(
        "everything is kept in memory (--ephemeral), so there are no files to back up; hearth export writes documents out"
    )]
    InMemory,
    #[error("there is no snapshot of version {version} any more: {cause}")]
    NoSnapshot { version: Version, cause: std::io::Error },
    #[error("{part:?} is no part of a log that reaches version {visible}")]
    NoSuchPart { part: LogPart, visible: Version },
    #[error(transparent)]
    Log(#[from] CopyError),
    #[error(transparent)]
    Snapshots(#[from] SnapshotFailure),
    #[error("the server is stopping")]
    Closed,
}
