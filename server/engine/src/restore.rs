//! Bringing a database back: from a snapshot and parts of its log, as a backup has copied them, up to a version.
//!
//! What is restored is another database, with an id of its own and a new epoch: what the old one did after that version
//! never happened here, so tokens of its life must not be taken for tokens of this one, nor its log be appended to the
//! copies that were made of the old.

use std::path::PathBuf;

use hearth_core::Version;
use hearth_core::codec::DecodeError;
use hearth_store::{
    AppendError, CommitLog, DatabaseId, Entry, FileLog, Home, HomeError, LogError, LogOptions, ReplayError,
    SnapshotError, SnapshotHead, Snapshots,
};

use crate::admin::{self, AdminEntry};
use crate::ids;

/// Bytes of the entries that are written as one group.
const GROUP_BYTES: usize = 4 << 20;

/// What of a backup a database is restored from.
#[derive(Clone, Debug)]
pub struct Restoring {
    /// The project it belongs to.
    pub project: String,
    /// Its name within the project.
    pub database: String,
    /// Which database was backed up.
    pub id: DatabaseId,
    /// The folder of a snapshot of it, and the snapshot's version; none where the log begins at zero.
    pub base: Option<(PathBuf, Version)>,
    /// A folder with segments of its log, which reach from the base, or below, to `at` or beyond; none where the base is
    /// all that is wanted.
    pub log: Option<PathBuf>,
    /// What came later is left out.
    pub at: Version,
}

/// What was restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restored {
    /// The last version that was restored.
    pub version: Version,
    /// Records of the snapshot.
    pub records: u64,
    /// Entries of the log.
    pub entries: u64,
}

/// Why a database was not restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    #[error(transparent)]
    Home(#[from] HomeError),
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Replay(#[from] ReplayError),
    #[error(transparent)]
    Append(#[from] AppendError),
    #[error("an entry by which the database was administered makes no sense: {0}")]
    Entry(#[from] DecodeError),
}

/// Restores one database into a data directory that [`Home::begin_restore`] has made.
pub fn restore(home: &Home, from: &Restoring) -> Result<Restored, RestoreError> {
    let (id, epoch) = (DatabaseId(ids::random()), u64::from_be_bytes(ids::random()));
    let begins = from.base.as_ref().map_or(Version::ZERO, |(_, version)| *version);
    let mut records = 0;
    let fill = |snapshots: &Snapshots| -> Result<(), RestoreError> {
        let Some((folder, version)) = &from.base else { return Ok(()) };
        let mut reader = Snapshots::new(folder.clone(), from.id).read(*version)?;
        let mut writer = snapshots.begin(SnapshotHead { database: id, epoch, ..reader.head() })?;
        while let Some(record) = reader.next_record()? {
            writer.put(record.section, &record.key, &record.value)?;
        }
        records = writer.finish()?.records;
        Ok(())
    };
    let record = home.create_database_behind(&from.project, &from.database, id, epoch, begins, fill)?;
    let mut restored = Restored { version: begins, records, entries: 0 };
    let Some(folder) = &from.log else { return Ok(restored) };

    let covered = LogOptions { covered: begins, ..LogOptions::default() };
    let (old, _) = FileLog::open_to_read(folder, from.id, begins, covered.clone())?;
    let (mut new, _) = home.open_log(record.number, begins, covered)?;
    let (mut group, mut bytes) = (Vec::new(), 0);
    old.replay(begins, &mut |mut entry| {
        if entry.version > from.at {
            return Ok(());
        }
        if entry.kind == admin::KIND {
            // What it does stays; the epoch that begins with it is that of another life.
            let AdminEntry::Wipe { .. } = AdminEntry::decode(&entry.body)?;
            entry.body = AdminEntry::Wipe { epoch: u64::from_be_bytes(ids::random()) }.encode();
        }
        restored.version = entry.version;
        restored.entries += 1;
        bytes += Entry::EXTRA_BYTES + entry.body.len();
        group.push(entry);
        if bytes >= GROUP_BYTES {
            new.append(&group)?;
            (group, bytes) = (Vec::new(), 0);
        }
        Ok(())
    })?;
    new.append(&group)?;
    new.close();
    Ok(restored)
}
