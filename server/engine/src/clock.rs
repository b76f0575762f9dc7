//! Time, as an argument: the wall clock that versions follow, and one that never goes back.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Where the engine takes its time from.
pub trait Clock: Send + Sync + 'static {
    /// Microseconds since 1970-01-01 UTC. May jump; versions never go back with it.
    fn micros(&self) -> u64;

    /// Time since some fixed moment of this process. Never goes back.
    fn elapsed(&self) -> Duration;
}

/// The clock of the machine.
#[derive(Debug)]
pub struct SystemClock {
    start: Instant,
}

impl Default for SystemClock {
    fn default() -> Self {
        Self { start: Instant::now() }
    }
}

impl Clock for SystemClock {
    fn micros(&self) -> u64 {
        // A clock set before 1970 counts as 1970: versions go on from the last one anyway.
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64)
    }

    fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }
}

/// A clock that is moved by hand, for tests.
#[derive(Debug, Default)]
pub struct ManualClock {
    micros: AtomicU64,
}

impl ManualClock {
    /// A clock that shows `micros`.
    pub fn at(micros: u64) -> Self {
        Self { micros: AtomicU64::new(micros) }
    }

    /// Sets the time, forward or back.
    pub fn set(&self, micros: u64) {
        self.micros.store(micros, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn micros(&self) -> u64 {
        self.micros.load(Ordering::SeqCst)
    }

    fn elapsed(&self) -> Duration {
        Duration::from_micros(self.micros())
    }
}
