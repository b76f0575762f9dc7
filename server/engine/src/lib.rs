//! In which order: one writer orders everything, one feed tells everybody, and every request passes one gate.
//!
//! Knows no protocol. Doors translate into [`CommitRequest`]s and queries, and translate back.

mod admin;
mod applier;
pub mod authorize;
pub mod backup;
pub mod check;
pub mod clock;
pub mod crew;
pub mod database;
pub mod difference;
pub mod engine;
mod feed;
mod history;
pub mod ids;
mod index;
mod keeper;
mod keys_seen;
mod keyspace;
pub mod limits;
pub mod listen;
mod lives;
mod memtable;
pub mod metrics;
pub mod outbox;
mod places;
pub mod read;
mod rebuild;
mod recent;
pub mod request;
pub mod restore;
mod single;
mod snapshot;
#[cfg(test)]
mod tests;
mod time;
pub mod token;
pub mod ttl;
mod view;
mod visible;
mod writer;

pub use authorize::{Access, Authorized, Denied, SignedIn};
pub use backup::{BackupAccess, BackupError, BackupPoint, SnapshotFile};
pub use check::{CheckOptions, CheckReport, DatabaseChecked, Finding, check};
pub use clock::{Clock, ManualClock, SystemClock};
pub use crew::{Crew, Hired, Job, Pace, Turn, Worker};
pub use database::{
    Cost, Database, Deleted, FeedAccess, FeedPage, GetAnswer, NotDeleted, OpenError, Pages, Subtree, SubtreeError, Wipe,
};
pub use difference::{Difference, Part};
pub use engine::{Backing, DatabaseError, Engine, Options, Projects, StartError, Started};
pub use hearth_store::{CopyError, LogCopy, LogPart};
pub use limits::{Limits, PartLimits};
pub use listen::Opening;
pub use metrics::{Format, Metrics};
pub use outbox::{Delivery, Outbox, SharedEvent, TargetId};
pub use read::{Answer, ReadError};
pub use rebuild::{ProgressNow, RebuildError};
pub use request::{CommitError, CommitRequest, Committed, QueryRead};
pub use restore::{RestoreError, Restored, Restoring, restore};
pub use single::{Parts, Place, Single, SingleError};
pub use snapshot::SnapshotFailure;
pub use token::{Token, TokenError};
pub use ttl::{TTL_POLICIES_MAX, TtlAccess, TtlChange, TtlError, TtlPolicy};
pub use view::StateError;
