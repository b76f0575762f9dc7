//! Between the database and its log: the model hears what is written, and what becomes of it.

use std::error::Error;
use std::sync::Arc;

use hearth_core::Version;
use hearth_store::{AppendError, CommitLog, Entry, FileLog, LogError, ReplayError};

use crate::world::World;

pub(crate) struct Tap {
    log: FileLog,
    world: Arc<World>,
}

impl Tap {
    /// Listens in on a log that was just opened: all that it holds was there before.
    pub(crate) fn new(log: FileLog, world: &Arc<World>) -> Self {
        let mut found = Vec::new();
        let read = log.replay(log.start(), &mut |entry| {
            found.push(entry);
            Ok(())
        });
        if !world.scheduler.is_crashed() {
            read.unwrap();
            world.model().found(log.start(), &found);
        }
        Self { log, world: world.clone() }
    }
}

impl CommitLog for Tap {
    fn append(&mut self, group: &[Entry]) -> Result<(), AppendError> {
        let appended = self.log.append(group);
        let mut model = self.world.model();
        match &appended {
            // Whatever the log says then, nobody hears it.
            _ if self.world.scheduler.is_crashed() => model.doubt(group),
            Ok(()) => model.lasts(group),
            Err(AppendError::Unknown { .. }) => model.doubt(group),
            Err(_) => {}
        }
        appended
    }

    fn replay(
        &self,
        after: Version,
        each: &mut dyn FnMut(Entry) -> Result<(), Box<dyn Error + Send + Sync>>,
    ) -> Result<(), ReplayError> {
        self.log.replay(after, each)
    }

    fn start(&self) -> Version {
        self.log.start()
    }

    fn last(&self) -> Version {
        self.log.last()
    }

    fn size_bytes(&self) -> u64 {
        self.log.size_bytes()
    }

    fn holds(&self, version: Version) -> Result<bool, LogError> {
        self.log.holds(version)
    }

    fn bytes_above(&self, version: Version) -> u64 {
        self.log.bytes_above(version)
    }

    fn read_only(&self) -> Option<Arc<str>> {
        self.log.read_only()
    }

    fn drop_before(&mut self, version: Version) -> Result<u64, LogError> {
        self.log.drop_before(version)
    }

    fn close(&mut self) {
        self.log.close();
    }
}
