//! Versions: when a commit happened and where it stands in the order, in one number.

use std::fmt;

/// The number of a commit: its time in microseconds since 1970-01-01 UTC, strictly rising within one database.
///
/// Commit time, update time, read time and order are all this one number. Zero stands before every commit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(u64);

impl Version {
    /// Before every commit: an empty database.
    pub const ZERO: Self = Self(0);
    /// Behind every commit. Only for bounds; never handed out.
    pub const MAX: Self = Self(u64::MAX);

    /// A version from microseconds since 1970.
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Microseconds since 1970.
    pub const fn micros(self) -> u64 {
        self.0
    }

    /// The version for a commit at `clock_micros`: the clock, or one more than `self` where the clock lags.
    #[must_use]
    pub fn next(self, clock_micros: u64) -> Self {
        Self(clock_micros.max(self.0.saturating_add(1)))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_version_follows_the_clock_and_never_stands_still() {
        let last = Version::from_micros(100);
        assert_eq!(last.next(250).micros(), 250);
        assert_eq!(last.next(100).micros(), 101);
        assert_eq!(last.next(7).micros(), 101);
    }
}
