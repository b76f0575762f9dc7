//! The lives of a database: a wipe ends one and begins the next, at a version and under a new epoch.

use std::sync::{PoisonError, RwLock};

use hearth_core::Version;

/// One life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Life {
    /// The wipe that it began with; zero for the first. What lies at or below it is not there any more.
    pub(crate) floor: Version,
    /// Part of tokens: one of another life leads to a reset.
    pub(crate) epoch: u64,
}

/// The present life and the one before it, which readers that began earlier still see.
#[derive(Debug)]
pub(crate) struct Lives {
    // Held to copy a few numbers.
    held: RwLock<(Life, Life)>,
}

impl Lives {
    pub(crate) fn new(life: Life) -> Self {
        Self { held: RwLock::new((life, life)) }
    }

    pub(crate) fn now(&self) -> Life {
        self.held.read().unwrap_or_else(PoisonError::into_inner).1
    }

    /// The life that a version belongs to.
    pub(crate) fn at(&self, version: Version) -> Life {
        let (before, now) = *self.held.read().unwrap_or_else(PoisonError::into_inner);
        if version < now.floor { before } else { now }
    }

    /// Begins a life. Its floor is not visible yet.
    pub(crate) fn begin(&self, life: Life) {
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        *held = (held.1, life);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_belongs_to_the_life_that_its_wipe_began() {
        let life = |floor, epoch| Life { floor: Version::from_micros(floor), epoch };
        let lives = Lives::new(life(0, 7));
        lives.begin(life(10, 8));
        let epochs = [0, 9, 10, 11].map(|version| lives.at(Version::from_micros(version)).epoch);
        assert_eq!(epochs, [7, 7, 8, 8]);
        lives.begin(life(20, 9));
        assert_eq!((lives.at(Version::from_micros(19)).epoch, lives.now().epoch), (8, 9));
    }
}
