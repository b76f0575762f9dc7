//! What lasts: the state (sorted keys), the commit log (the truth), and the data directory that holds both.
//!
//! Everything here deals in bytes and versions; what the bytes mean is the engine's matter. All calls block and
//! belong on the writer's or a reader's thread. No clock, no randomness: ids and epochs are arguments.

mod store;

mod memory;
mod sled;

mod disk;

mod log;
mod snapshot;

mod home;

mod durable;
mod note;

pub mod fuzz;

pub use crate::disk::{Disk, DiskFile, DiskReader, RealDisk};
pub use crate::home::{DatabaseRecord, Home, HomeError, HomeOptions, HomeView, StateFound};
pub use crate::log::{
    AppendError, Check, CommitLog, CopyError, Damage, DatabaseId, Entry, Fault, FileLog, GROUP_BYTES_MAX, LogCopy,
    LogError, LogIoError, LogOptions, LogPart, NoLog, Recovered, ReplayError,
};
pub use crate::memory::Memory;
pub use crate::sled::{SetAside, Sled, SledError, SledOpened, SledOptions};
pub use crate::snapshot::{
    SnapshotError, SnapshotFault, SnapshotHead, SnapshotReader, SnapshotRecord, SnapshotSize, SnapshotWriter, Snapshots,
};
pub use crate::store::{Batch, Blob, Direction, KeyRange, Store, StoreError};
