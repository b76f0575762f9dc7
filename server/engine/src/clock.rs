//! Time, as an argument: the wall clock that versions follow, and one that never goes back.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Where the engine takes its time from.
pub trait Clock: Send + Sync + 'static {
    /// Microseconds since 1970-01-01 UTC. May jump; versions never go back with it.
    fn micros(&self) -> u64;

    /// Time since some fixed moment of this process. Never goes back.
    fn elapsed(&self) -> Duration;

    /// The same with the time that the machine has slept, where the system tells it: what a leap of the wall clock is
    /// told by.
    fn boot(&self) -> Duration {
        self.elapsed()
    }
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

    #[cfg(target_os = "linux")]
    fn boot(&self) -> Duration {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        // The clock of the boot begins at zero and only rises.
        Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
    }
}

/// A clock that is moved by hand, for tests.
#[derive(Debug, Default)]
pub struct ManualClock {
    /// Time that has passed.
    micros: AtomicU64,
    /// How far the wall clock was moved beside that; wraps around.
    apart: AtomicU64,
}

impl ManualClock {
    /// A clock that shows `micros`.
    pub fn at(micros: u64) -> Self {
        Self { micros: AtomicU64::new(micros), apart: AtomicU64::new(0) }
    }

    /// Sets the time, as if as much had passed; or back.
    pub fn set(&self, micros: u64) {
        self.micros.store(micros, Ordering::SeqCst);
        self.apart.store(0, Ordering::SeqCst);
    }

    /// Lets time pass.
    pub fn pass(&self, time: Duration) {
        self.micros.fetch_add(time.as_micros() as u64, Ordering::SeqCst);
    }

    /// Moves the wall clock without any time passing.
    pub fn leap_to(&self, micros: u64) {
        self.apart.store(micros.wrapping_sub(self.micros.load(Ordering::SeqCst)), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn micros(&self) -> u64 {
        self.micros.load(Ordering::SeqCst).wrapping_add(self.apart.load(Ordering::SeqCst))
    }

    fn elapsed(&self) -> Duration {
        Duration::from_micros(self.micros.load(Ordering::SeqCst))
    }
}
