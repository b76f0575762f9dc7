//! One database on a disk, a state, a clock and a crew that are given: what a simulation opens.
//!
//! The code is that of every database; what is left out is the data directory around it, with its lock, its catalog
//! and its judgement of the state, and the other databases beside it.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use hearth_core::{DatabaseName, Version};
use hearth_store::{CommitLog, DatabaseId, Disk, FileLog, LogError, LogOptions, SnapshotError, Snapshots, Store};
use tokio::sync::Semaphore;

use crate::applier::Applier;
use crate::authorize::Access;
use crate::clock::Clock;
use crate::crew::Crew;
use crate::database::{Common, Database, OpenError, Opened};
use crate::engine;
use crate::keeper::Archive;
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::outbox::Outbox;
use crate::time::Time;
use crate::view::StateError;

/// What a database is made of that its own code is not.
#[derive(Clone)]
pub struct Parts {
    /// Where its log and its snapshots are kept.
    pub disk: Arc<dyn Disk>,
    /// Where its state is kept.
    pub store: Arc<dyn Store>,
    /// Where it takes its time from.
    pub clock: Arc<dyn Clock>,
    /// Who works for it.
    pub crew: Arc<dyn Crew>,
    /// Every limit.
    pub limits: Limits,
    /// Size of the first segment of its log, see [`LogOptions`].
    pub segment_bytes_first: u64,
    /// Size of the largest.
    pub segment_bytes_max: u64,
}

/// Which database it is, and where on the disk.
#[derive(Clone, Debug)]
pub struct Place {
    /// Its name.
    pub name: DatabaseName,
    /// Names it in the state.
    pub number: u32,
    /// Names it for good.
    pub id: DatabaseId,
    /// Which life of it this is, unless a wipe has begun another.
    pub epoch: u64,
    /// The folder of its log, which was created.
    pub log: PathBuf,
    /// The folder of its snapshots.
    pub snapshots: PathBuf,
}

/// Why a database cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum SingleError {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Snapshots(#[from] SnapshotError),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("a worker could not be hired: {0}")]
    Crew(#[from] io::Error),
}

/// A database that is open, and what else who drives its crew has to know.
pub struct Single {
    database: Database,
}

impl Single {
    /// Opens a database. `tap` may put something between it and its log.
    pub fn open(
        parts: &Parts,
        place: &Place,
        tap: impl FnOnce(FileLog) -> Box<dyn CommitLog>,
    ) -> Result<Self, SingleError> {
        let Parts { disk, store, clock, crew, limits, segment_bytes_first, segment_bytes_max } = parts.clone();
        let snapshots = Snapshots::on(disk.clone(), place.snapshots.clone(), place.id);
        let options = engine::log_options(&*store, place.number, &snapshots, &limits)?;
        let options = LogOptions { segment_bytes_first, segment_bytes_max, ..options };
        let (log, _) = FileLog::open_on(disk, &place.log, place.id, options.covered, options)?;
        let (limits, metrics) = (Arc::new(limits), Arc::<Metrics>::default());
        let common = Common {
            store,
            time: Arc::new(Time::new(clock.clone(), limits.clock_leap_max, metrics.clone())),
            clock,
            queries: Arc::new(Semaphore::new(limits.queries_running_max)),
            limits,
            metrics,
            access: Access::Open,
            applier: Applier::start(&*crew)?,
            crew,
        };
        let opened = Opened {
            name: place.name.clone(),
            number: place.number,
            epoch: place.epoch,
            log: tap(log),
            archive: Some(Archive::new(snapshots, place.log.clone(), place.id)),
            progress: Arc::default(),
        };
        Ok(Self { database: Database::open(opened, &common)? })
    }

    /// The database.
    pub fn database(&self) -> &Database {
        &self.database
    }

    /// What is to be done every half a minute. Blocks.
    pub fn maintain(&self) -> Result<(), StateError> {
        self.database.maintain()
    }

    /// Stops: listeners are told, what was asked is answered, everything is applied. Blocks.
    pub fn close(&self) -> Version {
        self.database.close()
    }

    /// An outbox without listeners.
    pub fn outbox(&self) -> Outbox {
        self.database.outbox()
    }

    /// Whether somebody is telling listeners, so that others who want to would wait.
    pub fn is_telling(&self) -> bool {
        self.database.is_telling()
    }

    /// Whether somebody is changing the state in a way that keeps others away from it.
    pub fn is_applying(&self) -> bool {
        self.database.is_applying()
    }
}
